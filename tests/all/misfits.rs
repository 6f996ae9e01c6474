//! Files that are no plugins of this host: each is refused in words that say what is wrong.

use feedgate::contract::limits::PluginLimits;
use feedgate::plugin::{Compiler, Engine, Plugin};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use crate::support::{bytes_of, contract, engine};

/// Loads off the runtime's threads, as the supervisor does.
fn load(engine: &Engine, bytes: &[u8]) -> Result<Plugin, String> {
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| engine.load_blocking(bytes).map_err(|error| error.to_string()));
        loading.join().expect("loading does not panic")
    })
}

#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) {
    let error = load(engine(), bytes).expect_err("must be refused");
    for word in words {
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    }
}

/// A component of a world whose every export traps.
fn component(wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("test.wit", wit).expect("valid WIT");
    let world = resolve.select_world(&[package], Some(world)).expect("the world is there");
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("it fits");
    ComponentEncoder::default().module(&module).expect("a module").validate(true).encode().expect("a component")
}

#[test]
fn bytes_that_are_no_plugin() {
    refused(b"", &["not WebAssembly"]);
    refused(b"<html>not found</html>", &["not WebAssembly"]);
    refused(b"\0asm", &["invalid WebAssembly"]);
    refused(b"\0asm\x01\0\0\0", &["without a component type", "wit-bindgen"]);
    refused(b"\0asm\x0d\0\x01\0", &["does not fit the contract", "feedgate:provider/describe@0.1.0"]);
    let noise: Vec<u8> = (0..10_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    refused(&noise, &["not WebAssembly"]);
    refused(&[b"\0asm\x0d\0\x01\0", &noise[..]].concat(), &["invalid WebAssembly"]);
    refused(&[b"\0asm\x01\0\0\0", &noise[..]].concat(), &["invalid WebAssembly"]);
}

#[test]
fn a_plugin_cut_short_anywhere_is_refused_and_nothing_breaks() {
    let whole = bytes_of("coingecko");
    for part in 1..20 {
        let cut = &whole[..whole.len() * part / 20];
        assert!(load(engine(), cut).is_err(), "{part} twentieths were taken for a plugin");
    }
}

#[test]
fn a_plugin_with_flipped_bytes_is_refused_or_runs_and_nothing_breaks() {
    let whole = bytes_of("coingecko");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..10 {
        let mut bytes = whole.clone();
        for _ in 0..20 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = usize::try_from(seed % whole.len() as u64).expect("an index");
            bytes[at] = (seed >> 32) as u8;
        }
        // Either answer is right; what counts is that there is one.
        let _ = load(engine(), &bytes);
    }
}

#[test]
fn a_file_that_is_too_large_is_refused_with_the_knob() {
    let limits = PluginLimits { max_file_bytes: 1_000, ..PluginLimits::default() };
    let small = Engine::new(limits, Compiler::InThisProcess, None).expect("it runs");
    let error = load(&small, &bytes_of("coingecko")).expect_err("too large");
    assert!(error.contains("more than 1000") && error.contains("max_file_mib"), "{error}");
}

#[test]
fn every_difference_from_the_contract_is_told_in_words() {
    let contract = contract();
    let changed = |from: &str, to: &str| {
        assert!(contract.contains(from), "the contract has no {from:?}");
        component(&contract.replacen(from, to, 1), "provider")
    };
    // A component whose exports all trap fits, and then cannot describe itself.
    refused(&component(&contract, "provider"), &["does not describe itself", "trap"]);
    refused(&component(&contract, "http-provider"), &["does not describe itself"]);
    for (from, to, words) in [
        ("@0.1.0;", "@0.2.0;", &["0.2.0", "speaks version 0.1.0", "this host supports"][..]),
        ("sequence: option<u64>,", "", &["handle-messages", "observation", "lacks sequence"]),
        ("sequence: option<u64>,", "sequence: option<u32>,", &["observation.sequence: expected u64, found u32"]),
        ("    flag(bool),", "    flag(bool),\n    float(f64),", &["value", "has unknown float"]),
        ("    last-trade,", "    final-trade,", &["value-kind", "lacks last-trade", "has unknown final-trade"]),
        ("now-ms: u64,", "now-ms: s64,", &["context.now-ms: expected u64, found s64"]),
        (
            "  heartbeat: func(context: context) -> list<frame>;",
            "",
            &["websocket.heartbeat is missing; expected func(context: context) -> list<frame>"],
        ),
        (
            "heartbeat: func(context: context) -> list<frame>;",
            "heartbeat: func() -> list<frame>;",
            &["websocket.heartbeat: expected func(context: context) -> list<frame>, found func() -> list<frame>"],
        ),
        // As the first drafts had it.
        (
            "received: received, ends: option<list<u32>>)",
            "frames: list<frame>)",
            &[
                "handle-messages: expected func(",
                "ends: option<list<u32>>)",
                ", found func(context: context, frames: list<frame>)",
            ],
        ),
        ("  export describe;\n  export http;", "  export http;", &["does not export feedgate:provider/describe@0.1.0"]),
    ] {
        let bytes = if from.contains("export describe") {
            component(&contract.replacen(from, to, 1), "http-provider")
        } else {
            changed(from, to)
        };
        refused(&bytes, words);
    }
}

#[test]
fn another_world_is_refused_with_what_this_host_supports() {
    let other = "package acme:thing@1.0.0; interface run { run: func() -> string; } world w { export run; }";
    refused(
        &component(other, "w"),
        &["exports neither feedgate:provider/http@0.1.0 nor", "the worlds http-provider and websocket-provider"],
    );
}

#[test]
fn a_plugin_that_wants_more_than_the_host_gives_is_refused() {
    let hungry = contract()
        .replacen("  import log;", "  import log;\n  import steal;\n  import raw: func() -> u32;", 1)
        .replacen("/// The one thing that", "interface steal { key: func() -> string; }\n/// The one thing that", 1);
    refused(
        &component(&hungry, "http-provider"),
        &["imports feedgate:provider/steal@0.1.0, which this host does not offer", "imports raw"],
    );
}
