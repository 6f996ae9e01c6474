//! Plugins that mean harm, in what a compiler of a decent language would not write: each ends within its limits, in
//! words, and nobody else notices. What a decent compiler would write stands in `faults`, what is no plugin in `misfits`.

use feedgate::contract::codec::{Context, HttpCodec, Incoming, OpenCodec, Response, Subscription, WebSocketCodec};
use feedgate::contract::limits::PluginLimits;
use feedgate::contract::observation::Key;
use feedgate::plugin::{Compiler, Engine};
use feedgate::store::State;
use std::time::Duration;

use self::forge::{EXPORTS, Forge, words, write};
use crate::compile::{length, section};
use crate::support::{Running, bytes_of, compiler};

mod files;
pub mod forge;
mod reach;

/// Room for everything but what a row is about.
fn roomy() -> PluginLimits {
    let long = Duration::from_secs(20);
    PluginLimits {
        init: long,
        build: long,
        parse: long,
        max_memory_bytes: 16 << 20,
        max_table_elements: 1_000,
        max_result_bytes: 64 << 10,
        ..PluginLimits::default()
    }
}

/// Loads a plugin, and calls one of its functions; what went wrong, in words.
fn outcome(bytes: &[u8], limits: PluginLimits, export: &str) -> Result<(), String> {
    let engine = Engine::new(limits, Compiler::InThisProcess, None).expect("this machine runs WebAssembly");
    let plugin = engine.load_blocking(bytes).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let opened = plugin.configured("forged".into(), "{}".to_owned()).open().await;
        let (mut codec, _) = opened.map_err(|death| death.to_string())?;
        let (context, ids) = (Context { now_ms: 1, nonce: 1 }, [Subscription { key: Key(0), id: "a".into() }]);
        let response = Response { status: 200, headers: Vec::new(), body: b"1".to_vec() };
        let called = match export {
            "create-requests" => codec.create_requests(context, &ids).await.map(drop),
            "parse-response" => codec.parse_response(context, &[Key(0)], &response).await.map(drop),
            "connect" => codec.connect(context, &ids, None).await.map(drop),
            "subscribe" => codec.subscribe(context, &ids).await.map(drop),
            "unsubscribe" => codec.unsubscribe(context, &ids).await.map(drop),
            "heartbeat" => codec.heartbeat(context).await.map(drop),
            "handle-messages" => codec.handle_messages(context, &[Incoming::Text("1")]).await.map(drop),
            _ => Ok(()),
        };
        let again = codec.heartbeat(context).await;
        assert!(called.is_ok() || again.is_err(), "{export}: an instance that died was entered again");
        called.map_err(|error| error.to_string())
    })
}

/// The function ends in these words.
#[track_caller]
fn check(forge: Forge, limits: PluginLimits, export: &str, expected: &[&str]) {
    let error = outcome(&forge.component(), limits, export).expect_err("nothing good can come of it");
    for word in expected {
        assert!(error.contains(word), "{export}: {error:?} does not say {word:?}");
    }
}

#[test]
fn what_is_made_by_hand_is_a_good_plugin_unless_told_otherwise() {
    let bytes = Forge::new().component();
    for export in EXPORTS {
        assert_eq!(outcome(&bytes, roomy(), export), Ok(()), "{export}");
    }
}

const RECURSE: &str = "(func $deep (param i64) (result i64)
    (i64.mul (call $deep (i64.add (local.get 0) (i64.const 1))) (local.get 0)))";

#[test]
fn every_export_that_goes_wrong_ends_within_its_limits() {
    for export in EXPORTS {
        let (knob, limits) = match export {
            "describe" | "configure" => ("init_ms", PluginLimits { init: Duration::from_millis(300), ..roomy() }),
            "parse-response" | "handle-messages" => {
                ("parse_ms", PluginLimits { parse: Duration::from_millis(20), ..roomy() })
            }
            _ => ("build_ms", PluginLimits { build: Duration::from_millis(20), ..roomy() }),
        };
        let endless = Forge::new().doing(export, "(loop br 0) unreachable");
        check(endless, limits.clone(), export, &["spent its time budget", knob]);
        // In a function of the host's, again and again.
        let log = "(import \"feedgate:provider/log@0.1.0\" \"log\" (func $log (param i32 i32 i32)))";
        let body = "(loop (call $log (i32.const 1) (i32.const 1024) (i32.const 1)) br 0) unreachable";
        check(Forge::new().import(log).doing(export, body), limits, export, &["spent its time budget", knob]);
        let grown = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
        check(Forge::new().doing(export, grown), roomy(), export, &["MiB of memory", "max_memory_mib"]);
        let grown =
            "(loop (br_if 0 (i32.ne (table.grow 0 (ref.null func) (i32.const 99)) (i32.const -1)))) unreachable";
        let table = Forge::new().field("(table 0 funcref)").doing(export, grown);
        check(table, roomy(), export, &["1000 table elements", "max_table_elements"]);
        let deep = Forge::new().field(RECURSE).doing(export, "(drop (call $deep (i64.const 1))) unreachable");
        check(deep, roomy(), export, &["call stack exhausted"]);
        check(Forge::new().doing(export, "unreachable"), roomy(), export, &["trap", "unreachable"]);
    }
}

#[test]
fn a_start_function_that_goes_wrong_is_a_file_that_is_refused() {
    let start = |body: &str| Forge::new().field(&format!("{RECURSE} (func $start {body}) (start $start)"));
    let short = PluginLimits { init: Duration::from_millis(100), ..roomy() };
    for (body, words) in [
        ("unreachable", &["does not describe itself", "unreachable"][..]),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", &["does not describe itself", "divide by zero"]),
        ("(drop (i32.load (i32.const -1)))", &["does not describe itself", "out of bounds"]),
        ("(drop (call $deep (i64.const 1)))", &["does not describe itself", "call stack exhausted"]),
        ("(drop (memory.grow (i32.const 9000))) unreachable", &["does not describe itself", "max_memory_mib"]),
    ] {
        check(start(body), roomy(), "describe", words);
    }
    check(start("(loop br 0)"), short, "describe", &["does not describe itself", "init_ms"]);
}

/// `ptr` and `len`, at a place of the answer.
fn answer(forge: &Forge, export: &'static str, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut answer = vec![0; forge.size(export)];
    parts.iter().for_each(|(at, bytes)| write(&mut answer, *at, bytes));
    answer
}

#[test]
fn answers_that_are_none_are_told_in_words() {
    const ALL: u32 = u32::MAX;
    let bad = |export: &'static str, parts: &[(usize, &[u8])], expected: &[&str]| {
        let forge = Forge::new();
        let answer = answer(&forge, export, parts);
        check(forge.answering(export, &answer), roomy(), export, expected);
    };
    let broken = "broke the contract";
    // Lists and strings that claim to be longer than any memory, and one beyond its end.
    bad("handle-messages", &[(0, &words(&[1024, ALL]))], &[broken, "out of bounds"]);
    bad("handle-messages", &[(0, &words(&[ALL - 7, 1]))], &[broken, "out of bounds"]);
    bad("handle-messages", &[(0, &words(&[1025, 1]))], &[broken, "aligned"]);
    bad("heartbeat", &[(0, &words(&[1 << 30, 1]))], &[broken, "out of bounds"]);
    bad("parse-response", &[(4, &words(&[1024, ALL]))], &[broken, "out of bounds"]);
    bad("create-requests", &[(4, &words(&[1024, ALL]))], &[broken, "out of bounds"]);
    bad("subscribe", &[(0, &[1]), (4, &[1]), (8, &words(&[1024, ALL]))], &[broken, "out of bounds"]);
    bad("connect", &[(4, &[1]), (8, &words(&[1024, ALL]))], &[broken, "out of bounds"]);
    bad("describe", &[(0, &words(&[1024, ALL]))], &["does not describe itself", broken, "out of bounds"]);
    // Cases that are not there.
    bad("configure", &[(0, &[2])], &[broken, "discriminant"]);
    bad("configure", &[(4, &[200])], &[broken, "discriminant"]);
    bad("connect", &[(4, &[9])], &[broken, "discriminant"]);
    bad("unsubscribe", &[(0, &[255])], &[broken, "discriminant"]);
    bad("subscribe", &[(0, &[1]), (4, &[77])], &[broken, "discriminant"]);
    // The answer itself does not lie in memory.
    check(Forge::new().doing("heartbeat", "(i32.const -8)"), roomy(), "heartbeat", &[broken, "out of bounds"]);
    check(Forge::new().doing("heartbeat", "(i32.const 1025)"), roomy(), "heartbeat", &[broken, "not aligned"]);
}

#[test]
fn text_that_is_none_and_events_that_are_none_are_told_in_words() {
    let list = |element: &[u8], expected: &[&str]| {
        let mut forge = Forge::new();
        let at = forge.list(&[element.to_vec()]);
        check(forge.answering("handle-messages", &words(&at)), roomy(), "handle-messages", expected);
    };
    let broken = "broke the contract";
    // An event that is none; an observation whose value is none; a reply that is no frame.
    list(&[&[250][..], &[0; 79]].concat(), &[broken, "discriminant"]);
    let frame = |text: &[u8]| {
        let mut forge = Forge::new();
        let at = forge.place(text);
        let frame = [words(&[0]), words(&[at, u32::try_from(text.len()).expect("short")])].concat();
        let list = forge.list(&[frame]);
        check(forge.answering("heartbeat", &words(&list)), roomy(), "heartbeat", &[broken, "utf-8"]);
    };
    // Never a character, cut off, a surrogate, too long a form, beyond the last.
    for bytes in [&[0xff_u8][..], b"1.5\xe2\x82", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"] {
        frame(bytes);
    }
    let text = Forge::new();
    let settings = answer(&text, "configure", &[(0, &[1]), (4, &words(&[1024, 1 << 31]))]);
    check(text.answering("configure", &settings), roomy(), "configure", &[broken, "out of bounds"]);
}

/// All zeros is a good event, so a memory full of nothing is a million of them.
#[test]
fn a_million_records_cost_the_call_and_not_the_host() {
    for (export, at) in [("handle-messages", 0), ("heartbeat", 0), ("parse-response", 4), ("subscribe", 4)] {
        let mut forge = Forge::new();
        forge.pages = 2_000;
        let answer = answer(&forge, export, &[(at, &words(&[1 << 17, 1_000_000]))]);
        let limits = PluginLimits { max_memory_bytes: 256 << 20, ..roomy() };
        check(forge.answering(export, &answer), limits, export, &["result over the limit", "max_result_kib"]);
    }
}

/// Where the host asks for a place to put what it hands in.
#[test]
fn a_plugin_that_gives_the_host_no_room_breaks_the_contract() {
    let limits = PluginLimits { init: Duration::from_millis(300), ..roomy() };
    for (body, words) in [
        ("unreachable", &["unreachable"][..]),
        ("(loop br 0) unreachable", &["init_ms"]),
        ("(i32.const -4)", &["broke the contract", "realloc return"]),
        ("(i32.const 1048575)", &["broke the contract", "realloc return"]),
        ("(drop (memory.grow (i32.const 9999))) unreachable", &["max_memory_mib"]),
    ] {
        let realloc = format!("(func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) {body})");
        check(Forge::new().field(&realloc), limits.clone(), "configure", words);
    }
}

#[test]
fn shapes_beyond_all_measure_are_refused_or_run() {
    // Only large.
    let mut many = String::new();
    (0..10_000).for_each(|_| many += "(func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))");
    assert_eq!(outcome(&Forge::new().field(&many).component(), roomy(), "heartbeat"), Ok(()));
    let pages = |pages| {
        let mut forge = Forge::new();
        forge.pages = pages;
        forge
    };
    check(pages(3_000), roomy(), "describe", &["MiB of memory", "max_memory_mib"]);
    check(pages(65_536), roomy(), "describe", &["MiB of memory", "max_memory_mib"]);
    // A segment beyond the memory, and one that fills more than the file may be.
    check(Forge::new().field("(data (i32.const 0x100000) \"x\")"), roomy(), "describe", &["out of bounds"]);
    let large = format!("(data (i32.const 65536) \"{}\")", "x".repeat(900_000));
    let small = PluginLimits { max_file_bytes: 500_000, ..roomy() };
    check(Forge::new().field(&large), small, "describe", &["max_file_mib"]);
    assert_eq!(outcome(&Forge::new().field(&large).component(), roomy(), "describe"), Ok(()));
    let few = PluginLimits { max_instances: 16, ..roomy() };
    let tables = "(table 1 funcref)".repeat(17);
    check(Forge::new().field(&tables), few.clone(), "describe", &["max_instances", "table count"]);
    let tables = "(table 900 funcref)".repeat(2);
    check(Forge::new().field(&tables), roomy(), "describe", &["max_table_elements"]);
    let memories = "(memory 1)".repeat(17);
    check(Forge::new().field(&memories), few, "describe", &["max_instances", "memory count"]);
}

/// The number of a type, which is written with a sign.
fn index(number: usize) -> Vec<u8> {
    let mut bytes = length(number);
    if let Some(last) = bytes.last_mut().filter(|last| **last & 0x40 != 0) {
        *last |= 0x80;
        bytes.push(0);
    }
    bytes
}

/// As deep as a file can say it, in the process that a daemon would do it in: it may die of it.
#[test]
fn depths_beyond_all_measure_are_refused_and_the_child_may_die_of_them() {
    let engine = Engine::new(PluginLimits::default(), compiler(), None).expect("this machine runs WebAssembly");
    let component = |content: Vec<u8>| [b"\0asm\x0d\0\x01\0".to_vec(), content].concat();
    // A component in a component in a component.
    let nested = (0..5_000).fold(component(Vec::new()), |inner, _| component(section(4, &inner)));
    // A list of lists of lists: each type is the list of the one before.
    let mut types = vec![0x70, 0x7d];
    (0..50_000_usize).for_each(|before| types.extend([&[0x70][..], &index(before)].concat()));
    let types = component(section(7, &[length(50_001), types].concat()));
    // Records that double with each type: small in the file, without end when written out.
    let mut pairs = vec![0x6f, 2, 0x7d, 0x7d];
    (0..60_usize).for_each(|before| pairs.extend([&[0x6f, 2][..], &index(before), &index(before)].concat()));
    let pairs = component(section(7, &[length(61), pairs].concat()));
    let blocks =
        Forge::new().doing("heartbeat", &format!("{}{}(i32.const 1024)", "block ".repeat(900), "end ".repeat(900)));
    for (what, bytes) in [("components", nested), ("types", types), ("pairs", pairs)] {
        let error = engine.load_blocking(&bytes).expect_err("no plugin");
        assert!(!error.to_string().is_empty(), "{what}");
    }
    // What really kills it: packages that need each other, found by fuzzing.
    let circle = include_bytes!("../fuzz/corpus/loading/packages-in-a-circle.wasm");
    let error = engine.load_blocking(circle).expect_err("no plugin").to_string();
    assert!(error.contains("cannot be compiled") && error.contains("overflowed its stack"), "{error}");
    engine.load_blocking(&blocks.component()).expect("it is only deep");
    engine.load_blocking(&bytes_of("static")).expect("and nothing is left of them");
}

/// Each as a provider of its own beside one that is good.
#[tokio::test(flavor = "multi_thread")]
async fn in_one_daemon_each_is_told_and_the_good_one_stays_fresh() {
    let log = "(import \"feedgate:provider/log@0.1.0\" \"log\" (func $log (param i32 i32 i32)))";
    let logging = "(loop (call $log (i32.const 1) (i32.const 1024) (i32.const 9)) br 0) unreachable";
    let mut elsewhere = Forge::new();
    elsewhere.origins = vec!["https://169.254.169.254"];
    elsewhere.url = "https://169.254.169.254/latest/meta-data";
    let claims = Forge::new();
    let claim = answer(&claims, "parse-response", &[(4, &words(&[1024, u32::MAX]))]);
    let grows = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    let hostile = [
        ("loops", Forge::new().doing("parse-response", "(loop br 0) unreachable"), "parse_ms"),
        ("logs", Forge::new().import(log).doing("create-requests", logging), "build_ms"),
        ("grows", Forge::new().doing("parse-response", grows), "max_memory_mib"),
        ("claims", claims.answering("parse-response", &claim), "broke the contract"),
        ("metadata", elsewhere, "not a public address"),
        ("starts", Forge::new().field("(func $start unreachable) (start $start)"), "does not describe itself"),
    ];
    let sections: String =
        hostile.iter().map(|(name, ..)| format!("[provider.{name}]\ntransports = [\"http\"]\n")).collect();
    let config =
        format!("[plugin_limits]\nbuild_ms = 100\nparse_ms = 100\nmax_memory_mib = 16\n[provider.static]\n{sections}");
    let running = Running::start(&config, &["static"]).await;
    running.state("static", "BTC/USD", State::Fresh).await;
    for (name, forge, expected) in hostile {
        running.drop_file(&format!("{name}.wasm"), &forge.component());
        running
            .until(expected, |status| {
                let reason = running.read(name, "a").map(|reading| reading.reason.to_string()).unwrap_or_default();
                let plugin = status.plugins().into_iter().find(|(stem, _)| stem == name);
                let refused = plugin.map(|(_, plugin)| plugin.error).unwrap_or_default();
                let provider = status.find(name).map(|provider| provider.info().reason).unwrap_or_default();
                [reason, refused, provider].iter().any(|said| said.contains(expected))
            })
            .await;
        running.state("static", "BTC/USD", State::Fresh).await;
    }
    running.stop().await;
}
