//! The house: which room may use which, which foreign crates belong to one room alone, and that no two files name each
//! other.

use std::collections::{BTreeMap, BTreeSet};

use self::imports::Files;
use crate::support::root;

mod imports;

/// One room. It may use the rooms before it in [`ROOMS`], and no other.
struct Room {
    name: &'static str,
    /// Where its files are.
    place: &'static str,
    /// What is said to whoever breaks its rule.
    sentence: &'static str,
    /// The crates that nobody else may name.
    crates: &'static [&'static str],
}

const fn room(name: &'static str, sentence: &'static str, crates: &'static [&'static str]) -> Room {
    Room { name, place: "host/src", sentence, crates }
}

const fn pure(name: &'static str, sentence: &'static str) -> Room {
    Room { name, place: "host/logic/src", sentence, crates: &[] }
}

/// From the ground up, as `docs/ARCHITECTURE.md` and `lib.rs` list them.
const ROOMS: [Room; 14] = [
    pure("contract", "contract/ says what plugins and operators say, in plain types: it uses no other room"),
    room("access", "access/ decides who may reach what: it knows what was said, and neither values nor plugins", &[]),
    pure("logic", "logic/ decides from what it is given: it knows the contract's types and nothing that runs"),
    room("store", "store/ holds values and the state directory: it knows neither plugins nor sockets nor readers", &[]),
    room(
        "plugin",
        "plugin/ runs WebAssembly, and is the only room that names wasmtime: it opens no socket",
        &["wasmtime", "wasmtime_wasi"],
    ),
    room("builds", "builds/ takes files to builds that may run: it opens no socket and knows no configuration", &[]),
    room("config", "config/ parses files into valid types: it starts nothing and says nothing of what runs", &[]),
    room("status", "status/ is what the daemon says and is told: it decides nothing and moves no bytes", &[]),
    room(
        "transport",
        "transport/ moves bytes, and is the only room that names reqwest and tungstenite: policy is logic's",
        &["reqwest", "tungstenite", "tokio_tungstenite"],
    ),
    room(
        "api",
        "api/ reads the store and the status and tells through control: it computes and starts nothing",
        &["axum"],
    ),
    room("provider", "provider/ runs one provider's tasks: it does not know what else runs", &[]),
    room("authoring", "authoring/ is what plugin authors use: it knows no daemon", &[]),
    room("supervisor", "supervisor/ is one loop over what runs: nobody but the daemon knows it", &[]),
    room(
        "cli",
        "cli/ is the commands: nothing but the binary knows it",
        &["anyhow", "clap", "clap_complete", "crossterm"],
    ),
];

/// Files that stand beside the rooms, and what they may use.
const BESIDE: [&str; 3] = ["lib.rs", "main.rs", "daemon.rs"];

fn position(name: &str) -> Option<usize> {
    // The daemon is the whole: above it are only the commands.
    let name = if name == "daemon" { "supervisor" } else { name };
    ROOMS.iter().position(|room| room.name == name)
}

/// The room of a module path, `cli` of `cli::bench::step`.
fn room_of(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

#[test]
fn every_room_uses_only_the_rooms_above_it() {
    let files = Files::of(&["host/src", "host/logic/src"]);
    for (module, file) in files.all() {
        let Some(place) = position(room_of(module)) else { continue };
        for (used, line) in &file.uses {
            let allowed = room_of(used) == room_of(module) || position(room_of(used)).is_none_or(|at| at < place);
            // The daemon stands above the supervisor's loop.
            let allowed = allowed || (module == "daemon" && room_of(used) == "supervisor");
            assert!(allowed, "{}: `{line}`: {}", file.path.display(), ROOMS[place].sentence);
        }
    }
}

#[test]
fn a_foreign_crate_is_named_by_the_room_it_belongs_to() {
    let files = Files::of(&["host/src", "host/logic/src"]);
    for (module, file) in files.all() {
        for room in &ROOMS {
            let foreign = room.crates.iter().filter(|_| room.name != room_of(module));
            for krate in foreign {
                let named = file.crates.contains(*krate);
                assert!(!named, "{} names {krate}: {}", file.path.display(), room.sentence);
            }
        }
    }
}

#[test]
fn no_two_files_name_each_other() {
    for place in [["host/src", "host/logic/src"].as_slice(), &["plugins/sdk/src"]] {
        let files = Files::of(place);
        let uses: BTreeMap<&str, BTreeSet<&str>> = files
            .all()
            .map(|(module, file)| (module.as_str(), file.uses.iter().map(|(used, _)| used.as_str()).collect()))
            .collect();
        let mut clear = BTreeSet::new();
        for module in uses.keys() {
            if let Some(circle) = circle(module, &uses, &mut Vec::new(), &mut clear) {
                panic!("{} name each other in a circle: give what they share a file of its own", circle.join(" -> "));
            }
        }
    }
}

/// A circle that a module leads into, if there is one. `clear`: modules that lead into none.
fn circle<'a>(
    module: &'a str,
    uses: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    way: &mut Vec<&'a str>,
    clear: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if clear.contains(module) {
        return None;
    }
    if let Some(at) = way.iter().position(|before| *before == module) {
        return Some(way[at..].iter().copied().chain([module]).collect());
    }
    way.push(module);
    let found = uses.get(module).into_iter().flatten().find_map(|used| circle(used, uses, way, clear));
    way.pop();
    if found.is_none() {
        clear.insert(module);
    }
    found
}

#[test]
fn every_file_stands_in_a_room() {
    let entries = |place: &str| {
        let entries = std::fs::read_dir(root().join(place)).expect("part of the source tree").flatten();
        entries.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect::<BTreeSet<_>>()
    };
    let in_place =
        |place: &str| ROOMS.iter().filter(|room| room.place == place).map(|room| room.name.to_owned()).collect();
    let beside = BESIDE.map(str::to_owned);
    let rooms: BTreeSet<String> = in_place("host/src");
    assert_eq!(entries("host/src"), rooms.into_iter().chain(beside).collect(), "a new room stands in the table first");
    let rooms: BTreeSet<String> = in_place("host/logic/src");
    assert_eq!(entries("host/logic/src"), rooms.into_iter().chain(["lib.rs".to_owned()]).collect());
    // And `lib.rs` lists them in the same order.
    let lib = std::fs::read_to_string(root().join("host/src/lib.rs")).expect("part of the source tree");
    let mut last = 0;
    for room in &ROOMS {
        let at = lib.find(&format!(" {};", room.name)).or_else(|| lib.find(&format!("::{};", room.name)));
        let at = at.unwrap_or_else(|| panic!("lib.rs does not list {}", room.name));
        assert!(last < at, "lib.rs lists {} in another place than the table", room.name);
        last = at;
    }
}

/// Long files have more than one reason to change.
#[test]
fn no_file_is_longer_than_six_hundred_lines() {
    for place in ["host", "plugins", "tests", "side-by-side"] {
        for (path, text) in crate::tidy::sources(place, "rs") {
            let lines = text.lines().count();
            assert!(lines <= 600, "{}: {lines} lines; tests of a long file stand in a file beside it", path.display());
        }
    }
}
