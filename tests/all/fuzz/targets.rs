//! What is fuzzed, and what must hold of it whatever the input.

use std::path::Path;
use std::time::Duration;

use feedgate::builds::{recording, replay};
use feedgate::config::Config;
use feedgate::contract::codec::{
    CodecError, Context, HttpCodec, Incoming, OpenCodec, Response, Subscription, WebSocketCodec,
};
use feedgate::contract::limits::PluginLimits;
use feedgate::contract::observation::Key;
use feedgate::contract::origin::{Grants, Origin};
use feedgate::plugin::{Engine, Plugin, PluginInstance};
use serde_json::Value as Json;

use super::{Chance, Fuzz};
use crate::hostile::forge::Forge;
use crate::support::{bytes_of, compiler, plugin, root};

const CONTEXT: Context = Context { now_ms: 1_763_700_000_000, nonce: 7 };

/// Words of JSON that readers stumble over.
const JSON: &[&str] = &[
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "-0",
    "1e999",
    "0.00000000000000000000000000001",
    "NaN",
    "\\ud800",
    "\\u0000",
    "99999999999999999999999999999999999999999999",
    "-1",
    "{\"",
    "[[[[[[[[[[[[[[[[",
    "\u{feff}",
    "\"e\":",
    "\"data\":",
];

/// The fixtures of a plugin, as texts.
fn fixtures(name: &str) -> Vec<String> {
    let directory = root().join("plugins").join(name).join("fixtures");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).expect("readable").flatten().map(|entry| entry.path()).collect();
    files.retain(|file| !file.to_string_lossy().contains(".expected."));
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).expect("readable")).collect()
}

/// What came over the wire in a plugin's fixtures, of one kind of record; and the ids they are about.
fn payloads(name: &str, kind: &str) -> (Vec<Vec<u8>>, Vec<Subscription>) {
    let (mut payloads, mut ids) = (Vec::new(), Vec::<String>::new());
    for line in fixtures(name).iter().flat_map(|text| text.lines()) {
        let Ok(record) = serde_json::from_str::<Json>(line) else { continue };
        if let Some(named) = record["ids"].as_array() {
            ids.extend(named.iter().filter_map(|id| id.as_str().map(str::to_owned)));
        }
        if let (Some(data), true) = (record["data"].as_str(), record["t"] == kind) {
            payloads.push(data.into());
        }
    }
    ids.sort();
    ids.dedup();
    let ids = ids.into_iter().zip(0..).map(|(id, key)| Subscription { key: Key(key), id: id.into() });
    (payloads, ids.collect())
}

/// Every plugin's functions are synchronous here.
fn wait<T>(future: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(future).expect("nothing in it waits")
}

/// A file is loaded, or refused in words; as a daemon does it, in a process that may die of it. (Of one file in the corpus
/// it does: packages that need each other send the parser of `wit-parser` round in a circle.)
#[test]
fn loading_whatever_bytes_ends_in_words() {
    let limits =
        PluginLimits { init: Duration::from_millis(300), max_memory_bytes: 4 << 20, ..PluginLimits::default() };
    let engine = Engine::new(limits, compiler(), None).expect("this machine runs WebAssembly");
    let seeds = vec![Forge::new().component(), Forge::new().typed_module()];
    let words =
        &["\0asm", "\x01\0\0\0", "\x0d\0\x01\0", "\x7f", "\u{80}\u{80}\u{80}", "component-type", "cabi_realloc"];
    Fuzz { target: "loading", seeds, words, count: 200 }.run(|bytes| {
        if let Err(error) = engine.load_blocking(bytes) {
            assert!(!error.to_string().is_empty());
        }
    });
    engine.load_blocking(&Forge::new().component()).expect("and a good one is loaded");
}

/// A plugin that is not told to hurry: the machine may be busy.
fn unhurried(name: &str) -> Plugin {
    let long = Duration::from_secs(20);
    let limits = PluginLimits { init: long, build: long, parse: long, ..PluginLimits::default() };
    // What is held here is compiled already.
    let _held = plugin(name);
    let engine = Engine::new(limits, compiler(), None).expect("this machine runs WebAssembly");
    engine.load_blocking(&bytes_of(name)).expect("a good plugin")
}

fn codec(plugin: &Plugin, ids: &[Subscription]) -> PluginInstance {
    let open = plugin.configured("fuzz".into(), "{}".to_owned());
    let (mut codec, _) = wait(open.open()).expect("it opens");
    let _ = wait(codec.connect(CONTEXT, ids, None));
    let _ = wait(codec.subscribe(CONTEXT, ids));
    codec
}

/// No plugin of the source tree dies of what a venue sends, and an observation that comes of it can be stored or is told.
fn frames(target: &'static str, name: &str) {
    let (seeds, ids) = payloads(name, "recv");
    let plugin = unhurried(name);
    let mut live = codec(&plugin, &ids);
    let mut age = 0;
    Fuzz { target, seeds, words: JSON, count: 3_000 }.run(|bytes| {
        // States of a connection are part of what is tried; none lives for ever.
        age += 1;
        if age % 500 == 0 {
            live = codec(&plugin, &ids);
        }
        let text = String::from_utf8_lossy(bytes);
        let frames = [Incoming::Text(&text), Incoming::Binary(bytes)];
        match wait(live.handle_messages(CONTEXT, &frames)) {
            Ok(_) | Err(CodecError::Refused(_)) => {}
            Err(CodecError::Dead(death)) => panic!("{name} died: {death}"),
        }
    });
}

#[test]
fn no_plugin_dies_of_a_frame() {
    frames("frames-binance", "binance");
    frames("frames-bitfinex", "bitfinex");
    frames("frames-coinbase", "coinbase");
    frames("frames-kraken", "kraken");
    frames("frames-kucoin", "kucoin");
}

#[test]
fn no_plugin_dies_of_an_answer() {
    for (target, name) in [("answers-coingecko", "coingecko"), ("answers-evm-pool", "evm-pool")] {
        let (seeds, ids) = payloads(name, "http");
        let keys: Vec<Key> = ids.iter().map(|id| id.key).collect();
        let open = unhurried(name).configured("fuzz".into(), "{}".to_owned());
        let (mut live, _) = wait(open.open()).expect("it opens");
        let _ = wait(live.create_requests(CONTEXT, &ids));
        Fuzz { target, seeds, words: JSON, count: 3_000 }.run(|bytes| {
            let response = Response { status: 200, headers: Vec::new(), body: bytes.to_vec() };
            if let Err(CodecError::Dead(death)) = wait(live.parse_response(CONTEXT, &keys, &response)) {
                panic!("{name} died: {death}");
            }
        });
    }
}

#[test]
fn a_configuration_is_good_or_refused_by_its_file_in_words() {
    const WORDS: &[&str] = &[
        "[provider.a]\n",
        "[[",
        "]",
        " = ",
        "{",
        "}",
        "\"",
        "'''",
        "-1",
        "0",
        "18446744073709551616",
        "1e9",
        "inf",
        "true",
        "secrets.key.env = ",
        "redirect_origins",
        "https://",
        "ids = []",
        "plugin = \"..\"",
        "\\u0000",
        "1979-05-27",
    ];
    let path = Path::new("some.toml");
    let seeds = vec![include_bytes!("../../fuzz/corpus/config/everything.toml").to_vec()];
    Fuzz { target: "config", seeds, words: WORDS, count: 20_000 }.run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Err(error) = Config::parse(&text, path) {
            assert!(error.path == path && !error.why.is_empty(), "{error:?}");
            assert!(error.line.is_none_or(|line| line >= 1 && line <= text.lines().count().max(1) + 1), "{error:?}");
        }
    });
}

#[test]
fn a_recording_is_replayed_or_refused_by_its_line_in_words() {
    for (target, name) in [("recordings", "kraken"), ("recordings-polled", "coingecko")] {
        let seeds = fixtures(name).into_iter().map(String::into_bytes).collect();
        let plugin = plugin(name);
        let ids = ["BTC/USD".to_owned()];
        Fuzz { target, seeds, words: JSON, count: 400 }.run(|bytes| {
            let mut events = 0;
            let replayed = wait(replay::replay(&plugin, &mut &bytes[..], &ids, "{}", |_| events += 1));
            if let Err(error) = replayed {
                assert!(!error.to_string().is_empty());
            }
            let _ = recording::tapes(&plugin, &mut &bytes[..], &ids)
                .map_err(|error| assert!(!error.to_string().is_empty()));
            let _ = recording::header(&mut &bytes[..]);
        });
    }
}

/// A URL as an attacker would write it: out of pieces that parsers read differently.
fn url(chance: &mut Chance) -> String {
    const PIECES: &[&str] = &[
        "https:",
        "http:",
        "wss:",
        "ws:",
        "HTTPS:",
        "file:",
        "data:",
        "//",
        "/",
        "\\",
        "\\\\",
        "///",
        ":",
        "@",
        "#",
        "?",
        "%2f",
        "%40",
        "%00",
        "%2e",
        "\t",
        "\n",
        "\r\n",
        " ",
        "\u{0}",
        "api.venue.com",
        "API.VENUE.COM",
        "ws.venue.com",
        "api.venue.com.",
        "10.0.0.1",
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        ":443",
        ":80",
        ":9443",
        ":08443",
        ":",
        "user",
        "user:pw@",
        "evil.com",
        "ａpi.venue.com",
        "api。venue.com",
        "api\u{ad}.venue.com",
        "${secret.key}",
        "..",
        ";",
        "sim.venue.com",
        "mirror.venue.com",
        "127.0.0.1:8080",
    ];
    let begins = [
        "https://api.venue.com",
        "wss://ws.venue.com:9443",
        "https://",
        "",
        "http://127.0.0.1:8080",
        "wss://sim.venue.com",
    ];
    let mut text = chance.one(&begins).to_owned();
    for _ in 0..chance.below(6) {
        let piece = chance.one(PIECES);
        let mut at = chance.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let at = if chance.below(2) == 0 { text.len() } else { at };
        text.insert_str(at, piece);
    }
    text
}

/// Whatever is admitted leads to an origin that was described, encrypted, or that the operator wrote; and those who
/// connect read the same host in it.
#[test]
fn every_url_that_is_admitted_leads_to_a_granted_origin_for_every_reader() {
    let origin = |text: &str| Origin::parse(text).expect("a good origin");
    let described = vec![
        origin("https://api.venue.com"),
        origin("wss://ws.venue.com:9443"),
        origin("https://10.0.0.1"),
        origin("http://old.venue.com"),
    ];
    let written = [origin("http://127.0.0.1:8080"), origin("ws://127.0.0.1:4000")];
    let mirror = origin("https://mirror.venue.com");
    let grants = Grants::new(
        described.clone(),
        vec![written[0].clone()],
        vec![(origin("wss://sim.venue.com"), written[1].clone())],
    )
    .with_mirrors(vec![(described[0].clone(), vec![mirror.clone()])]);
    let mut admitted_some = 0;
    let seeds = (1..200).map(|seed| url(&mut Chance(seed * 0x9e37_79b9)).into_bytes()).collect();
    let mut chance = Chance(0x1234_5678_9abc_def1);
    Fuzz { target: "urls", seeds, words: &["@", "\\", "%", ":", "/", "[", "\u{3002}"], count: 60_000 }.run(|bytes| {
        // Half of them changed as all inputs are, half of them put together anew.
        for text in [String::from_utf8_lossy(bytes).into_owned(), url(&mut chance)] {
            for place in 0..3 {
                let Ok(admitted) = grants.admit_at(&text, place) else { continue };
                admitted_some += 1;
                let url = &admitted.url;
                let at = url.host_str().expect("an origin has a host");
                let port = url.port_or_known_default().expect("and a port");
                let found = origin(&format!("{}://{at}:{port}", url.scheme()));
                if admitted.private {
                    assert!(written.contains(&found), "{text:?} leads to {found}");
                } else {
                    assert!(described.contains(&found) || mirror == found, "{text:?} leads to {found}");
                    assert!(found.scheme().is_secure(), "{text:?} is not encrypted");
                    assert!(found.host() != "10.0.0.1", "{text:?} leads inside");
                }
                assert!(url.username().is_empty() && url.password().is_none(), "{text:?} carries credentials");
                // Read again, as whoever sends the request does.
                assert_eq!(url::Url::parse(url.as_str()).as_ref(), Ok(url), "{text:?}");
                if let Ok(uri) = url.as_str().parse::<http::Uri>() {
                    let authority = uri.authority().expect("it is absolute");
                    assert!(!authority.as_str().contains('@'), "{text:?}: {authority}");
                    assert_eq!((uri.host(), uri.scheme_str()), (Some(at), Some(url.scheme())), "{text:?}");
                    assert_eq!(uri.port_u16(), url.port(), "{text:?}");
                }
            }
        }
    });
    assert!(admitted_some > 100, "only {admitted_some} were admitted: nothing was tried");
}
