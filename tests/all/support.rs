//! Compiled plugins, running daemons, and waiting for what they say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use feedgate::authoring::build;
use feedgate::contract::limits::PluginLimits;
use feedgate::daemon::{self, ConfigSource, Daemon};
use feedgate::plugin::{Compiler, Engine, Plugin};
use feedgate::status::Status;
use feedgate::store::{Reading, State, Store};
use feedgate_tests::{Kind, Options, Venue};
use tempfile::TempDir;

/// Far beyond what anything here takes, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

/// The root of the source tree.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The compiled plugins of the source tree and the misbehaving one of the tests, by name. Built once.
pub fn compiled(name: &str) -> &'static Path {
    static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let build = |directory: PathBuf| {
            build::build(&directory, |line| eprintln!("{line}")).unwrap_or_else(|error| panic!("{error}"))
        };
        let files = build(root().join("plugins")).into_iter().chain(build(root().join("tests/guest")));
        // Cargo writes an underscore for a hyphen, which no plugin's name has.
        let stem = |file: &PathBuf| file.file_stem().map(|stem| stem.to_string_lossy().replace('_', "-"));
        files.filter_map(|file| Some((stem(&file)?, file))).collect()
    });
    built.get(name).unwrap_or_else(|| panic!("no plugin {name} among {:?}", built.keys()))
}

pub fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(compiled(name)).expect("it was just built")
}

/// The binary of the same build as these tests. Built once.
pub fn binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let tests = std::env::current_exe().expect("it runs");
        // target/PROFILE/deps/TESTS
        let profile = tests.ancestors().nth(2).expect("cargo put it there");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // Of the whole workspace and with its tests, or other features of dependencies would count, and most of them be
        // built once more.
        build.args(["build", "--workspace", "--bin", "feedgate", "--test", "all", "--target-dir"]);
        build.arg(profile.parent().expect("the target directory")).current_dir(root());
        // What cargo tells a test of its package would make a build script of another package run anew, and minutes
        // of building with it.
        let of_this_package = |name: &str| name.starts_with("CARGO_MANIFEST") || name.starts_with("CARGO_PKG_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_this_package)) {
            build.env_remove(name);
        }
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success());
        profile.join(format!("feedgate{}", std::env::consts::EXE_SUFFIX))
    })
}

/// What the command compiles with.
pub fn compiler() -> Compiler {
    Compiler::Child { program: binary().to_owned() }
}

/// A build of the misbehaving plugin that does this whatever its settings say: `{"on":"handle","how":"trap","after":9}`.
pub fn guest_build(defect: &str) -> Vec<u8> {
    const GOOD: &[u8] = b"{\"on\":\"\",\"how\":\"\",\"after\":0}";
    let mut bytes = bytes_of("guest");
    let at = bytes.windows(GOOD.len()).position(|found| found == GOOD).expect("the plugin has a place for it");
    let mut text = defect.as_bytes().to_vec();
    assert!(text.len() <= 160, "{defect} is too long");
    text.resize(text.len().max(GOOD.len()), b' ');
    bytes[at..at + text.len()].copy_from_slice(&text);
    bytes
}

/// The contract as one text, for a test to change.
pub fn contract() -> String {
    ["types", "describe", "http", "websocket", "log", "worlds"].iter().fold(String::new(), |mut all, topic| {
        let file = root().join(format!("wit/{topic}.wit"));
        let text = std::fs::read_to_string(file).expect("part of the source tree");
        writeln!(all, "{text}").expect("into memory");
        all
    })
}

/// One engine for all tests that need no daemon.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let engine = || Engine::new(PluginLimits::default(), Compiler::InThisProcess, None);
    ENGINE.get_or_init(|| engine().expect("this machine runs WebAssembly"))
}

/// A plugin, compiled once for all tests.
pub fn plugin(name: &str) -> Plugin {
    static LOADED: OnceLock<std::sync::Mutex<BTreeMap<String, Plugin>>> = OnceLock::new();
    let loaded = LOADED.get_or_init(Default::default);
    let mut loaded = loaded.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let load = || engine().load_blocking(&bytes_of(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    // Loading enters a runtime of its own, which a test's thread may not do inside another one.
    let load = || std::thread::scope(|scope| scope.spawn(load).join().expect("loading does not panic"));
    loaded.entry(name.to_owned()).or_insert_with(load).clone()
}

/// A daemon on a directory of its own, with its API on a free port.
pub struct Running {
    pub directory: TempDir,
    pub daemon: Daemon,
}

impl Running {
    /// `config` is the text of `feedgate.toml` (without `api`), `plugins` the names of compiled plugins to drop in.
    pub async fn start(config: &str, plugins: &[&str]) -> Self {
        // What is held here is compiled once for all daemons of this process.
        for name in plugins {
            plugin(name);
        }
        let directory = TempDir::new().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("plugins")).expect("an empty directory");
        write_config(directory.path(), config);
        for name in plugins {
            drop_plugin(directory.path(), name, name);
        }
        Self::start_in(directory).await
    }

    async fn start_in(directory: TempDir) -> Self {
        let source = ConfigSource::File(directory.path().join("feedgate.toml"));
        let compiler = tokio::task::spawn_blocking(compiler).await.expect("it does not panic");
        let started = Daemon::start_with(source, daemon::Options { compiler }).await;
        let daemon = started.unwrap_or_else(|error| panic!("{error}"));
        Self { directory, daemon }
    }

    /// Stops it and starts another on the same directory.
    pub async fn restart(self) -> Self {
        let Self { directory, daemon } = self;
        assert!(daemon.stop().await, "something did not stop in time");
        Self::start_in(directory).await
    }

    pub fn status(&self) -> &Arc<Status> {
        self.daemon.status()
    }

    pub fn store(&self) -> &Arc<Store> {
        self.daemon.store()
    }

    /// What `/metrics` shows.
    pub fn metrics(&self) -> String {
        self.status().render_metrics(self.store())
    }

    /// Who has not been fresh yet, and why.
    pub fn not_ready(&self) -> Vec<(String, String)> {
        self.status().not_ready(self.store())
    }

    pub fn plugins_dir(&self) -> PathBuf {
        self.directory.path().join("plugins")
    }

    /// Writes a file into the plugins' directory as a careful operator does: whole, under another name, then renamed.
    pub fn drop_file(&self, name: &str, content: &[u8]) {
        let hidden = self.plugins_dir().join(format!(".{name}.tmp"));
        std::fs::write(&hidden, content).expect("writable");
        std::fs::rename(hidden, self.plugins_dir().join(name)).expect("same directory");
    }

    pub fn remove_file(&self, name: &str) {
        std::fs::remove_file(self.plugins_dir().join(name)).expect("it was there");
    }

    pub fn write_config(&self, config: &str) {
        write_config(self.directory.path(), config);
    }

    pub fn read(&self, provider: &str, id: &str) -> Option<Reading> {
        self.store().read(provider, id)
    }

    /// Waits until the id is in a state, and answers the reading.
    pub async fn state(&self, provider: &str, id: &str, state: State) -> Reading {
        self.reading(provider, id, state.as_str(), |reading| reading.state == state).await
    }

    /// Waits until the id holds this value.
    pub async fn value(&self, provider: &str, id: &str, value: &str) -> Reading {
        self.reading(provider, id, value, |reading| shown(reading).as_deref() == Some(value)).await
    }

    /// Waits until a reading is as wanted.
    pub async fn reading(&self, provider: &str, id: &str, wanted: &str, is: impl Fn(&Reading) -> bool) -> Reading {
        let found = || self.read(provider, id).filter(|reading| is(reading));
        eventually(found, || {
            let last = self.read(provider, id);
            let info = self.status().provider(provider).info();
            format!("{provider} {id} never was {wanted}; last {last:?}, provider {info:?}")
        })
        .await
    }

    /// Waits until a condition holds.
    pub async fn until(&self, wanted: &str, holds: impl Fn(&Status) -> bool) {
        eventually(
            || holds(self.status()).then_some(()),
            || {
                let providers: Vec<_> = self.status().providers().iter().map(|p| (p.name.clone(), p.info())).collect();
                format!("never: {wanted}; providers {providers:#?}, plugins {:#?}", self.status().plugins())
            },
        )
        .await;
    }

    /// The outcomes of a provider so far, by kind.
    pub fn outcomes(&self, provider: &str, kind: &str) -> u64 {
        let provider = self.status().provider(provider);
        provider.metrics.outcomes().find(|(name, _)| *name == kind).map_or(0, |(_, count)| count)
    }

    /// Stops it; everything must end in time.
    pub async fn stop(self) {
        assert!(self.daemon.stop().await, "something did not stop in time");
    }
}

/// The value as text, if there is one.
pub fn shown(reading: &Reading) -> Option<String> {
    reading.held.as_ref().map(|held| match &held.value {
        feedgate::contract::observation::Value::Decimal(decimal) => decimal.to_string(),
        other => format!("{other:?}"),
    })
}

fn write_config(directory: &Path, config: &str) {
    let api = if config.contains("[api]") { "" } else { "\n[api]\nlisten = \"127.0.0.1:0\"\n" };
    let hidden = directory.join("feedgate.toml.new");
    std::fs::write(&hidden, format!("{config}{api}")).expect("writable");
    std::fs::rename(hidden, directory.join("feedgate.toml")).expect("same directory");
}

pub fn drop_plugin(directory: &Path, name: &str, under: &str) {
    let target = directory.join("plugins").join(format!("{under}.wasm"));
    std::fs::copy(compiled(name), target).expect("writable");
}

/// Looks again and again until there is an answer; panics with `otherwise` after a minute.
pub async fn eventually<T>(mut look: impl FnMut() -> Option<T>, otherwise: impl Fn() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{}", otherwise());
        ticks.tick().await;
    }
}

/// A simulated venue. Its prices age from its start, so whatever has to be built is built before.
pub async fn venue(kind: Kind, options: Options) -> Venue {
    compiled(kind.name());
    Venue::start_with(kind, options).await.expect("loopback has a free port")
}

/// The lines that send a simulated venue's real origins to it.
pub fn redirected(venue: &Venue) -> String {
    let entry = |(from, to): (String, String)| format!("\"{from}\" = \"{to}\"");
    let entries: Vec<_> = venue.origins().into_iter().map(entry).collect();
    format!("redirect_origins = {{ {} }}", entries.join(", "))
}

/// Waits for a condition, and all the while each of the ids must be fresh.
pub async fn without_a_gap(daemon: &Running, provider: &str, ids: &[&str], wanted: &str, holds: impl Fn() -> bool) {
    daemon
        .until(wanted, |_| {
            for id in ids {
                let reading = daemon.read(provider, id).expect("it is configured");
                assert_eq!(reading.state, State::Fresh, "{provider} {id} while waiting for {wanted}: {reading:?}");
            }
            holds()
        })
        .await;
}
