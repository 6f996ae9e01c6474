//! The reader of JSON beside `serde_json`: tables, and texts that were damaged at random.

use std::borrow::Cow;

use feedgate_sdk::json::{self, Item, Number, Object};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Debug, Deserialize, PartialEq)]
struct Message<'a> {
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Data<'a>,
    ok: Option<bool>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Data<'a> {
    #[serde(rename = "E")]
    time: i64,
    #[serde(borrow, rename = "s")]
    symbol: Cow<'a, str>,
    #[serde(borrow, rename = "c")]
    last: Option<Number<'a>>,
    #[serde(borrow, default)]
    all: Vec<Number<'a>>,
    code: Option<u8>,
}

const SEEDS: [&str; 4] = [
    r#"{"stream":"btcusdt@miniTicker","data":{"e":"24hrMiniTicker","E":1763700000251,"s":"BTCUSDT","c":"91250.10","o":[1,{"x":"]}"}]},"ok":true}"#,
    r#" { "data" : { "s" : "A\u0042\"C", "\u0063" : -1.5e-7, "E" : -12 , "all" : [ 1 , "2" , 0.50 ] , "code":255 } , "z" : null } "#,
    r#"{"ok":null,"data":{"all":[],"E":0,"s":"","c":null,"q":{"a":[[],{}],"b":"\\"},"r":[true,false,-0.0]},"stream":"é"}"#,
    r#"{"data":{"E":9223372036854775807,"s":"x","c":"\u0031","y":"{[","w":"long enough for several windows \" of eight"}}"#,
];

/// What a type asks for is read as `serde_json` reads it.
#[test]
fn good_texts() {
    for text in SEEDS {
        assert_eq!(json::read::<Message<'_>>(text), Ok(serde_json::from_str(text).unwrap()), "{text}");
    }
}

#[test]
fn what_is_borrowed_lies_in_the_text() {
    let message: Message<'_> = json::object(SEEDS[0]).unwrap();
    assert!(matches!(message.data.symbol, Cow::Borrowed("BTCUSDT")));
}

#[test]
fn bad_texts() {
    #[track_caller]
    fn check(text: &str, words: &str) {
        let error = json::object::<Message<'_>>(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    check("", "expected an object");
    check("[]", "expected an object");
    check("{", "EOF while parsing an object");
    check("{}", "missing field `data`");
    check("{} {}", "missing field `data`");
    check(r#"{"data":[1,"x"]}"#, "invalid type: sequence, expected struct Data");
    check(r#"{"data":{"E":1,"s":"x"}} x"#, "trailing characters");
    check(r#"{"data":{"E":1,"s":"x"}"#, "EOF while parsing an object");
    check(r#"{"data":{"E":1,"s":"x","s":"y"}}"#, "duplicate field `s`");
    check(r#"{"data":{"E":1,"s":"x",}}"#, "key must be a string");
    check(r#"{"data":{"E":1 "s":"x"}}"#, "expected `,` or `}`");
    check(r#"{"data":{"E":1.5,"s":"x"}}"#, "invalid type: floating point");
    check(r#"{"data":{"E":"1","s":"x"}}"#, "invalid type: string \"1\", expected i64");
    check(
        r#"{"data":{"E":9223372036854775808,"s":"x"}}"#,
        "invalid value: integer `9223372036854775808`, expected i64",
    );
    check(r#"{"data":{"E":01,"s":"x"}}"#, "invalid number");
    check(r#"{"data":{"E":1,"s":"x","code":256}}"#, "expected u8");
    check(r#"{"data":{"E":1,"s":7}}"#, "invalid type: integer `7`, expected a string");
    check(r#"{"data":{"E":1,"s":"x\q"}}"#, "invalid escape");
    check("{\"data\":{\"E\":1,\"s\":\"a\nb\"}}", "a control character in a string");
    check(r#"{"data":{"E":1,"s":"x","c":true}}"#, "expected a number, or a string that holds one");
    check(r#"{"data":{"E":1,"s":"x","z":[}]}}"#, "a bracket that closes nothing");
    check(r#"{"data":{"E":1,"s":"x","z":[{"a":"}]}}"#, "EOF while parsing a string");
    check(r#"{"data":{"E":1,"s":"x","z":}}"#, "expected value");
    check(&format!(r#"{{"data":{{"E":1,"s":"x","z":{}}}}}"#, "[".repeat(100_000)), "a bracket that closes nothing");
}

#[test]
fn depth_is_bounded_where_it_is_read() {
    #[derive(Debug, Deserialize)]
    struct Nested {
        #[expect(dead_code, reason = "it is only read")]
        inner: Option<Box<Self>>,
    }
    let nested = |depth| format!("{}null{}", r#"{"inner":"#.repeat(depth), "}".repeat(depth));
    assert!(json::read::<Nested>(&nested(100)).is_ok());
    let error = json::read::<Nested>(&nested(100_000)).unwrap_err().to_string();
    assert!(error.contains("recursion limit exceeded"), "{error}");
    let skipped = format!(r#"{{"z":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(json::read::<Nested>(&skipped).is_ok());
}

/// What nobody asks for is only passed over.
#[test]
fn damage_in_what_is_skipped_may_pass() {
    for skipped in [r#"{"a":01,,}"#, "[1 2]", r#""\q""#, r#"["\é]"]"#, "nul"] {
        let text = format!(r#"{{"data":{{"E":1,"s":"x","z":{skipped}}}}}"#);
        assert!(serde_json::from_str::<Message<'_>>(&text).is_err());
        assert!(json::object::<Message<'_>>(&text).is_ok(), "{text}");
    }
}

#[test]
fn one_bad_item_costs_itself() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Ticker {
        price: u8,
    }
    let good = |text| {
        json::read::<Vec<Item<Ticker>>>(text)
            .map(|items| items.into_iter().map(|Item(item)| item.ok().map(|ticker| ticker.price)).collect::<Vec<_>>())
    };
    assert_eq!(
        good(r#"[{"price":1},{"price":[{"x":"]"}]},7,{},{"price":2}]"#),
        Ok(vec![Some(1), None, None, None, Some(2)])
    );
    assert_eq!(good("[]"), Ok(vec![]));
    // Where an item does not end, there is no next one.
    assert!(good(r#"[{"price":1},{"price":2"#).is_err());
    assert!(good(r#"[{"price":1},{"price":2]"#).is_err());
    let Item(nested) = json::read::<Item<Vec<Item<Ticker>>>>(r#"[{"price":300},{"price":3}]"#).unwrap();
    assert_eq!(nested.unwrap()[1], Item(Ok(Ticker { price: 3 })));
}

#[test]
fn an_array_is_read_item_by_item() {
    fn read(text: &str) -> Result<Vec<Option<u8>>, String> {
        let mut items = Vec::new();
        json::each(text, |item| items.push(item.ok())).map_err(|error| error.to_string())?;
        Ok(items)
    }
    assert_eq!(read(" [ 1 , 2 ] "), Ok(vec![Some(1), Some(2)]));
    assert_eq!(read(r#"[300,{"a":[1]},"x",[],7]"#), Ok(vec![None, None, None, None, Some(7)]));
    assert_eq!(read("[]"), Ok(Vec::new()));
    for (text, words) in
        [("{}", "expected an array"), ("[1,]", "expected value"), ("[1 2]", "`,`"), ("[1", "EOF"), ("[1]]", "trailing")]
    {
        assert!(read(text).is_err_and(|error| error.contains(words)), "{text}: {:?}", read(text));
    }
}

#[test]
fn rare_types_are_read_too() {
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Last,
        Other(u8),
    }
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(untagged)]
    enum Either {
        Number(u8),
        Text(String),
    }
    type Rare = (Kind, Kind, Either, f64, char, i128, (), Box<[Option<bool>]>, serde_json::Value);
    let text =
        r#"["last",{"other":7},"x",1.5,"c",-170141183460469231731687303715884105728,null,[true,null],{"a":[1]}]"#;
    assert_eq!(json::read::<Rare>(text), Ok(serde_json::from_str(text).unwrap()));
    assert!(json::read::<(u8, u8)>("[1,2,3]").is_err());
    assert!(json::read::<(u8, u8)>("[1]").is_err());
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }

    fn damaged(&mut self, text: &str) -> String {
        const BYTES: &[u8] = b"\"\\{}[],: \t0189-+.eEntfux\x00\x02\x1f\x7f";
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..1 + self.below(3) {
            let (at, byte) = (self.below(bytes.len()), BYTES[self.below(BYTES.len())]);
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] = byte,
                1 if !bytes.is_empty() => _ = bytes.remove(at),
                2 => bytes.truncate(at),
                3 => {
                    let piece = bytes[at..(at + self.below(20)).min(bytes.len())].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                _ => bytes.insert(at, byte),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Whatever `serde_json` accepts is read the same; what it refuses is accepted only if the damage lies in what is skipped.
#[test]
fn damaged_texts_are_read_as_serde_json_reads_them() {
    // All that lies in a text, so that nothing is skipped.
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Whole<'a> {
        #[serde(borrow)]
        a: Cow<'a, str>,
        b: Option<i64>,
        #[serde(borrow)]
        c: Vec<Option<Number<'a>>>,
        d: Option<Box<Self>>,
        e: Option<bool>,
    }
    const WHOLE: [&str; 2] = [
        r#"{"a":"x\u00e9\n","b":-17,"c":[1,"2.5",null,-0.5e-10],"d":{"a":"","c":[],"e":true}}"#,
        r#" {"c": [ 1763700000251 , "é" ] , "a" : "some more text" , "e" : false, "d" : null , "b" : 0 } "#,
    ];
    let mut chance = Chance(7);
    let (mut accepted, mut refused) = (0, 0);
    for turn in 0..40_000 {
        let text = chance.damaged(WHOLE[turn % WHOLE.len()]);
        match (serde_json::from_str::<Whole<'_>>(&text), json::object::<Whole<'_>>(&text)) {
            (Ok(one), Ok(other)) => {
                assert_eq!(one, other, "{text}");
                accepted += 1;
            }
            (Err(_), Err(_)) => refused += 1,
            (one, other) => panic!("{text}: {one:?} {other:?}"),
        }

        let text = chance.damaged(SEEDS[turn % SEEDS.len()]);
        if let Ok(read) = serde_json::from_str::<Message<'_>>(&text) {
            assert_eq!(json::object::<Message<'_>>(&text), Ok(read), "{text}");
        } else if json::object::<Message<'_>>(&text).is_ok() {
            // Then what was asked for is sound by itself.
            let names = |object: &Object<'_>| object.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
            let outer: Object<'_> = json::read(&text).unwrap_or_default();
            for name in names(&outer).iter().filter(|name| ["stream", "ok"].contains(&name.as_str())) {
                let value = outer.get(name).unwrap_or_default();
                assert!(serde_json::from_str::<&RawValue>(value).is_ok(), "{name} in {text}");
            }
        }
    }
    assert!(accepted > 2_000 && refused > 2_000, "{accepted} {refused}");
}
