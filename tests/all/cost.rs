//! The cost gate: what each plugin executes for a frame, compared with a committed table.
//!
//! `tests/cost/NAME.jsonl` is a recording of a few frames as they come all day; `tests/cost/costs.toml` says how many
//! instructions a plugin executes for one of them. Counted by a metered engine, so the clock, the machine and the host's
//! build have no part in it; the compiler of the plugin has, so the table names its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use feedgate::authoring::build;
use feedgate::builds::{recording, replay};
use feedgate::contract::limits::PluginLimits;
use feedgate::plugin::Engine;

use crate::support::{bytes_of, root};

/// What a change may cost, or save, without a word: so many hundredths.
const UNSAID_PERCENT: u64 = 3;

const ANEW: &str = "`FEEDGATE_BLESS=1 cargo test -p feedgate-tests --test all cost::` writes tests/cost/costs.toml anew: commit it together \
     with the change, and say in the commit's message why";

/// Set where nobody reads what a test says (CI): a table of another compiler is an error there.
const STRICT: &str = "FEEDGATE_COST_STRICT";

struct Table {
    compiler: String,
    instructions: BTreeMap<String, u64>,
}

fn place() -> PathBuf {
    root().join("tests/cost/costs.toml")
}

impl Table {
    fn read() -> Self {
        let text = std::fs::read_to_string(place()).expect("part of the source tree");
        let table: toml::Table = text.parse().expect("TOML");
        let compiler = table["compiler"].as_str().expect("a string").to_owned();
        let costs = table["instructions"].as_table().expect("a table");
        let number = |value: &toml::Value| value.as_integer().and_then(|number| u64::try_from(number).ok());
        let costs = costs.iter().map(|(name, value)| (name.clone(), number(value).expect("a number")));
        Self { compiler, instructions: costs.collect() }
    }

    fn write(&self) {
        let mut text = String::from(
            "# What each plugin executes for one frame, or one answer, of its recording here: instructions of WebAssembly, on\n\
             # average. Written by FEEDGATE_BLESS=1 cargo test -p feedgate-tests --test all cost::\n",
        );
        writeln!(text, "compiler = {:?}\n\n[instructions]", self.compiler).expect("into memory");
        for (name, instructions) in &self.instructions {
            writeln!(text, "{name} = {instructions}").expect("into memory");
        }
        std::fs::write(place(), text).expect("writable");
    }
}

/// The plugins of the source tree.
fn plugins() -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join("plugins")).expect("part of the source tree").flatten();
    let plugins = entries.filter(|entry| entry.path().join("fixtures").is_dir());
    plugins.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect()
}

/// What one plugin executes for a frame of its recording.
fn measured(engine: &Engine, name: &str) -> u64 {
    let plugin = engine.load_blocking(&bytes_of(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let recording = root().join(format!("tests/cost/{name}.jsonl"));
    let opened = || recording::open(&recording).unwrap_or_else(|error| panic!("{}: {error}", recording.display()));
    let header = recording::header(&mut opened()).expect("a recording");
    let settings = header.settings.map_or_else(|| "{}".to_owned(), |settings| settings.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let expected = |event: &serde_json::Value| {
        let kind = event["event"].as_str().unwrap_or_default();
        assert!(!["malformed", "error", "trap", "gap", "rejected"].contains(&kind), "{name}: {event}");
    };
    let cost =
        runtime.block_on(replay::replay(&plugin, &mut opened(), &header.ids, &settings, |event| expected(&event)));
    let cost = cost.unwrap_or_else(|error| panic!("{}: {error}", recording.display()));
    cost.per_frame().unwrap_or_else(|| panic!("{}: nothing in it brings a value", recording.display()))
}

/// Whether a number may stay as it stands in the table; otherwise what is wrong, in words.
fn verdict(name: &str, old: u64, new: u64) -> Result<(), String> {
    if new.abs_diff(old).saturating_mul(100) <= old.saturating_mul(UNSAID_PERCENT) {
        return Ok(());
    }
    let percent = (new as f64 / old as f64 - 1.0) * 100.0;
    Err(format!("{name} executes {new} instructions for a frame; the table says {old}: {percent:+.1} %"))
}

#[test]
fn a_change_of_more_than_three_percent_is_told() {
    #[track_caller]
    fn check(old: u64, new: u64, told: Option<&str>) {
        let found = verdict("venue", old, new).err();
        let told = told
            .map(|percent| format!("venue executes {new} instructions for a frame; the table says {old}: {percent} %"));
        assert_eq!(found, told);
    }
    check(1_000, 1_000, None);
    check(1_000, 1_020, None);
    check(1_000, 980, None);
    check(1_000, 1_030, None);
    check(1_000, 1_031, Some("+3.1"));
    check(1_000, 1_040, Some("+4.0"));
    check(1_000, 960, Some("-4.0"));
    check(1_000, 2_000, Some("+100.0"));
}

#[test]
fn no_plugin_executes_more_or_less_than_the_table_says() {
    let engine = Engine::metered(PluginLimits::default()).expect("this machine runs WebAssembly");
    let names = plugins();
    let instructions: BTreeMap<String, u64> =
        names.iter().map(|name| (name.clone(), measured(&engine, name))).collect();
    // Or nothing of this is worth anything.
    let name = names.first().expect("there are plugins");
    assert_eq!(measured(&engine, name), instructions[name], "{name}: the same frames, and another number");

    let compiler = build::compiler(&root().join("plugins")).unwrap_or_else(|error| panic!("{error}"));
    if std::env::var_os("FEEDGATE_BLESS").is_some() {
        return Table { compiler, instructions }.write();
    }
    let table = Table::read();
    let listed: BTreeSet<String> = table.instructions.keys().cloned().collect();
    assert_eq!(names, listed, "the plugins, and those in the table; {ANEW}");
    if table.compiler != compiler {
        let words = format!(
            "the costs in tests/cost/costs.toml are of plugins that {} compiled; these are compiled by {compiler}, so nothing was \
             compared; {ANEW}",
            table.compiler
        );
        assert!(std::env::var_os(STRICT).is_none(), "{words}");
        // What a test prints is shown only when it fails; this is to be seen.
        return writeln!(std::io::stderr(), "{words}").expect("stderr is open");
    }
    let wrong = instructions.iter().filter_map(|(name, new)| verdict(name, table.instructions[name], *new).err());
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}\n{ANEW}", wrong.join("\n"));
}
