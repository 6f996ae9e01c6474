//! The commands about plugins: what they say of a file, how they feed recordings through it, how they build one.

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::command::{call, list, path, text};
use crate::support::{bytes_of, compiled, root};

#[test]
fn inspect_says_what_a_plugin_is() {
    let file = path(compiled("kraken"));
    let json = call(&["plugin", "inspect", file, "--json"]);
    let said = json.json();
    assert_eq!((json.code, text(&said, "/name"), text(&said, "/sha256").len()), (Some(0), "kraken", 64));
    assert_eq!(list(&said, "worlds").len(), 2);
    assert_eq!(said["size"].as_u64(), Some(bytes_of("kraken").len() as u64));
    assert!(
        list(&said, "origins")
            .iter()
            .any(|origin| origin.as_str().is_some_and(|o| o.starts_with("wss://ws.kraken.com")))
    );
    assert!(list(&said, "imports").contains(&"feedgate:provider/log@0.1.0".into()), "{said:#}");
    assert_eq!(said.pointer("/limits/websocket/ids_per_connection"), Some(&Json::from(500)));
    let people = call(&["plugin", "inspect", file]);
    assert_eq!(people.code, Some(0), "{people:?}");
    for words in ["kraken", "websocket-provider", "http-provider", "wss://ws.kraken.com", "at most 150 connect"] {
        assert!(people.out.contains(words), "{words:?} is not in {people:?}");
    }

    let place = TempDir::new().expect("a temporary directory");
    let garbage = place.path().join("garbage.wasm");
    for (content, expected) in [(b"garbage".as_slice(), "not WebAssembly"), (b"\0asm\x0d\0\x01\0", "does not export")] {
        std::fs::write(&garbage, content).expect("writable");
        call(&["plugin", "inspect", path(&garbage)]).fails(2, &["garbage.wasm: ", expected]);
    }
    call(&["plugin", "inspect", "/nowhere.wasm"]).fails(2, &["/nowhere.wasm: cannot be read"]);
}

/// What zstd makes of bytes that cannot be compressed: enough to tell whether it is unpacked.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128 << 10, "one block");
    // Magic number, no content size, a window of a mebibyte, one raw block that is the last.
    let block = u32::try_from(bytes.len()).expect("short") << 3 | 1;
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50], &block.to_le_bytes()[..3], bytes].concat()
}

/// The same build is accepted; one that reads something else, or nothing, is refused with the words.
#[test]
fn diff_tries_a_build_on_recordings() {
    let fixture = |name: &str| root().join("plugins").join(name);
    let (kraken, guest) = (path(compiled("kraken")), path(compiled("guest")));
    let (ticker, poll) = (fixture("kraken/fixtures/ticker.jsonl"), fixture("kraken/fixtures/poll.jsonl"));
    let same = call(&["plugin", "diff", kraken, kraken, path(&ticker), path(&poll)]);
    assert_eq!(same.code, Some(0), "{same:?}");
    for recording in [&ticker, &poll] {
        let line = format!("{}: accepted\n  reads what was received as the running build does\n", recording.display());
        assert!(same.out.contains(&line), "{line} is not in {same:?}");
    }
    let other = call(&["plugin", "diff", kraken, guest, path(&ticker)]);
    assert_eq!(other.code, Some(1), "{other:?}");
    for words in ["ticker.jsonl: refused", "because it loses 4 ids: BTC/USD, ETH/USD", "what it cannot read: "] {
        assert!(other.out.contains(words), "{words:?} is not in {other:?}");
    }
    let json = call(&["plugin", "diff", kraken, guest, path(&ticker), "--ids", "BTC/USD", "--json"]);
    assert_eq!((json.code, &json.json()["accepted"]), (Some(1), &Json::Bool(false)), "{json:?}");
    assert_eq!(json.json()["recordings"][0]["refused"][0], "it loses 1 id: BTC/USD");
    call(&["plugin", "diff", kraken, kraken, "/nowhere.jsonl"]).fails(2, &["/nowhere.jsonl: cannot be read"]);
    call(&["plugin", "diff", kraken, "/nowhere.wasm", path(&ticker)]).fails(2, &["/nowhere.wasm: cannot be read"]);
    call(&["plugin", "diff", kraken, kraken, path(&ticker), "--settings", "{\"depth\":5}"]).fails(2, &["depth"]);
    call(&["plugin", "diff", kraken, kraken]).fails(2, &["RECORDINGS"]);
}

#[test]
fn replay_feeds_a_recording_through_a_plugin() {
    let place = TempDir::new().expect("a temporary directory");
    let plugin = path(compiled("kraken"));
    let fixture = root().join("plugins/kraken/fixtures/ticker.jsonl");
    let plain = call(&["plugin", "replay", plugin, path(&fixture)]);
    assert_eq!(plain.code, Some(0), "{plain:?}");
    let events: Vec<Json> = plain.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert!(events.iter().any(|event| event["event"] == "observed" && event["id"] == "BTC/USD"), "{events:?}");
    let packed = place.path().join("packed");
    std::fs::write(&packed, zstd(&std::fs::read(&fixture).expect("it is there"))).expect("writable");
    let unpacked = call(&["plugin", "replay", plugin, path(&packed)]);
    assert_eq!((unpacked.code, &unpacked.out), (Some(0), &plain.out), "{unpacked:?}");
    let fewer = call(&["plugin", "replay", plugin, path(&fixture), "--ids", "ETH/USD"]);
    assert!(fewer.out.contains("ETH/USD") && !fewer.out.contains("\"id\":\"BTC/USD\""), "{fewer:?}");

    let header = "{\"t\":\"header\",\"ids\":[\"BTC/USD\"]}\n";
    let connect = "{\"t\":\"connect\",\"conn\":\"a\",\"ts\":1,\"addr\":\"wss://ws.kraken.com/v2\"}\n";
    for (recording, expected) in [
        (format!("{header}nonsense\n").into_bytes(), "line 2: not a record"),
        (
            format!("{header}{connect}{{\"t\":\"recv\",\"conn\":\"a\"}}\n").into_bytes(),
            "line 3: not a record: missing field `ts`",
        ),
        (
            format!("{header}{connect}\n{{\"t\":\"recv\",\"conn\":\"a\",\"ts\":2}}\n").into_bytes(),
            "line 4: wants either data or b64",
        ),
        (format!("{header}{{\"t\":\"dance\"}}\n").into_bytes(), "line 2: not a record: unknown variant `dance`"),
        ([header.as_bytes(), b"\xff\xfe\n"].concat(), "line 2: "),
        (zstd(header.as_bytes())[..20].to_vec(), "line 1: "),
        (Vec::new(), "line 1: "),
    ] {
        let bad = place.path().join("bad.jsonl");
        std::fs::write(&bad, recording).expect("writable");
        let ended = call(&["plugin", "replay", plugin, path(&bad)]);
        assert_eq!(ended.code, Some(2), "{expected}: {ended:?}");
        assert!(ended.err.contains(&format!("bad.jsonl: {expected}")), "{expected}: {ended:?}");
    }
    call(&["plugin", "replay", plugin, "/nowhere.jsonl"]).fails(2, &["/nowhere.jsonl: cannot be read"]);
    call(&["plugin", "replay", plugin, path(&fixture), "--settings", "{\"depth\":5}"]).fails(2, &["depth"]);
}

#[test]
fn build_puts_components_into_a_directory() {
    // Built before: cargo has nothing to do.
    let built = compiled("kraken");
    let place = TempDir::new().expect("a temporary directory");
    let out = place.path().join("new/plugins");
    let ended = call(&["plugin", "build", path(&root().join("plugins")), "--out", path(&out)]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut names: Vec<_> =
        std::fs::read_dir(&out).expect("it was made").map(|entry| entry.expect("read").file_name()).collect();
    names.sort();
    let plugins = std::fs::read_dir(root().join("plugins")).expect("it is there").filter_map(|entry| {
        let place = entry.expect("read").path();
        place.join("fixtures").is_dir().then(|| place.with_extension("wasm").file_name().map(ToOwned::to_owned))?
    });
    let mut expected: Vec<_> = plugins.collect();
    expected.sort();
    assert_eq!(names, expected);
    let made = std::fs::read(out.join(built.file_name().expect("a file"))).expect("it was listed");
    assert_eq!(made, feedgate::plugin::componentize(&bytes_of("kraken")).expect("it is a good one"));
    assert!(ended.out.contains(&feedgate::plugin::digest_of(&made).to_string()), "{ended:?}");
    call(&["plugin", "build", path(place.path())]).fails(2, &["no cargo package or workspace"]);
}
