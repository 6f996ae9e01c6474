//! Many providers under load while their plugins are replaced all the time, by builds of every kind: no id is lost, none
//! gets old, memory and descriptors stay level, and whatever is not taken says why.
//!
//! A short run is part of the suite. `FEEDGATE_SOAK_SECONDS=600 FEEDGATE_SOAK_PROVIDERS=20 cargo test -p feedgate-tests
//! --test all soak -- --nocapture` is the long one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use feedgate::plugin::componentize;
use feedgate::store::State;
use feedgate_tests::{Kind, Options, ScriptedWs, Venue};

use crate::reload::{counted, digest, listed, runs};
use crate::replace::ticking;
use crate::support::{Running, bytes_of, guest_build, redirected, venue};

/// What a build does to a provider. The words are those of `tests/guest`.
const DEFECTS: [&str; 9] = [
    r#"{"how":"times-ten"}"#,
    r#"{"how":"forget-b"}"#,
    r#"{"how":"later"}"#,
    r#"{"on":"handle","how":"trap"}"#,
    r#"{"on":"handle","how":"trap","after":1500}"#,
    r#"{"on":"handle","how":"loop","after":1500}"#,
    r#"{"on":"handle","how":"slow"}"#,
    r#"{"on":"handle","how":"hoard"}"#,
    r#"{"on":"connect","how":"trap"}"#,
];

/// Good ones of plugins of venues.
const VENUES: [Kind; 6] = [Kind::Binance, Kind::Kraken, Kind::Okx, Kind::Bybit, Kind::Coinbase, Kind::Gate];

/// Older than this, and an id is stale: far more than a replacement takes, far less than the life of a bad build.
const MAX_AGE: Duration = Duration::from_secs(5);

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A build that nobody has seen before.
fn noted(component: &[u8], number: u64) -> Vec<u8> {
    let content = [b"\x04soak".as_slice(), number.to_string().as_bytes()].concat();
    let mut bytes = component.to_vec();
    bytes.push(0);
    bytes.push(u8::try_from(content.len()).expect("a short note"));
    bytes.extend(content);
    bytes
}

/// Kilobytes of this process in memory, and its open descriptors.
fn resources() -> (u64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse().ok());
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    (resident.unwrap_or(0), open)
}

struct Soak {
    running: Running,
    /// The plugin of each provider.
    plugins: BTreeMap<String, &'static str>,
    ids: Vec<(String, String)>,
    _venues: Vec<Venue>,
    _scripts: Vec<ScriptedWs>,
}

impl Soak {
    async fn start(providers: usize) -> Self {
        let (mut plugins, mut config) = (BTreeMap::new(), String::new());
        let (mut venues, mut scripts) = (Vec::new(), Vec::new());
        for number in 0..providers {
            let common = format!("max_age_ms = {}\ntransports = [\"websocket\"]\n", MAX_AGE.as_millis());
            let name = format!("p{number:02}");
            if number % 2 == 0 {
                let kind = VENUES[number / 2 % VENUES.len()];
                let options = Options { tick: Some(Duration::from_millis(20)), ..Options::default() };
                let venue = venue(kind, options).await;
                config += &format!("[provider.{name}]\n{common}loosen_limits = true\n{}\n", redirected(&venue));
                plugins.insert(name, kind.name());
                venues.push(venue);
            } else {
                let venue = ticking().await;
                config += &format!(
                    "[provider.{name}]\n{common}redirect_origins = {{ \"wss://guest.example.com\" = \"{}\" }}\n\
                     websocket = {{ backoff_first_ms = 20, backoff_max_ms = 500 }}\n",
                    venue.origin()
                );
                plugins.insert(name, "guest");
                scripts.push(venue);
            }
        }
        let running = Running::start(&format!("probation_ms = 20000\n{config}"), &[]).await;
        for (name, plugin) in &plugins {
            running.drop_file(&format!("{name}.wasm"), &bytes_of(plugin));
        }
        let fresh = |name: &String| {
            let readings = running.store().read_provider(name).unwrap_or_default();
            !readings.is_empty() && readings.iter().all(|reading| reading.state == State::Fresh)
        };
        running.until("everything is fresh", |_| plugins.keys().all(fresh)).await;
        let ids = running.store().read_all().into_iter();
        let ids = ids.map(|reading| (reading.provider.to_string(), reading.id.to_string())).collect();
        Self { running, plugins, ids, _venues: venues, _scripts: scripts }
    }

    /// Every id must be there, and fresh.
    #[track_caller]
    fn check(&self, since: Instant, last: &str) {
        for (provider, id) in &self.ids {
            let reading = self.running.read(provider, id);
            let fresh = reading.as_ref().is_some_and(|reading| reading.state == State::Fresh);
            assert!(fresh, "{provider} {id} after {:.1?}, the last drop was {last}: {reading:?}", since.elapsed());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_of_every_kind_come_and_go_and_no_id_is_lost() {
    let seconds = from_environment("FEEDGATE_SOAK_SECONDS", 20);
    let providers = usize::try_from(from_environment("FEEDGATE_SOAK_PROVIDERS", 4)).expect("a small number");
    let soak = Soak::start(providers).await;
    let component = |plugin: &str| componentize(&bytes_of(plugin)).expect("a good one");
    let components: BTreeMap<&str, Vec<u8>> =
        soak.plugins.values().map(|plugin| (*plugin, component(plugin))).collect();
    let names: Vec<&String> = soak.plugins.keys().collect();
    let mut dropped: Vec<(String, String, &'static str)> = Vec::new();
    let mut levels = Vec::new();
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let mut last = String::new();
    while started.elapsed() < Duration::from_secs(seconds) {
        ticks.tick().await;
        soak.check(started, &last);
        if started.elapsed().as_secs() < dropped.len() as u64 {
            continue;
        }
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        let name = names[usize::try_from(chance % names.len() as u64).expect("an index")];
        let plugin = soak.plugins[name];
        let number = dropped.len() as u64;
        let (bytes, what) = match (plugin, (chance >> 32) % 4) {
            (_, 0) => {
                let whole = &components[plugin];
                (noted(&whole[..whole.len() / 2], number), "broken")
            }
            ("guest", 1 | 2) => {
                let defect = DEFECTS[usize::try_from((chance >> 40) % DEFECTS.len() as u64).expect("an index")];
                (noted(&componentize(&guest_build(defect)).expect("a component"), number), defect)
            }
            _ => (noted(&components[plugin], number), "good"),
        };
        last = format!("{what} as {name}");
        soak.running.drop_file(&format!("{name}.wasm"), &bytes);
        dropped.push((name.clone(), digest(&bytes), what));
        if number % 10 == 9 {
            levels.push(resources());
        }
    }
    let mut refusals = BTreeMap::new();
    let mut taken = 0;
    for name in names {
        let plugin = listed(&soak.running, name).expect("it runs");
        for build in &plugin.builds {
            let bad = !["good", "trial", "new"].contains(&build.standing);
            assert!(!bad || !build.reason.is_empty(), "{name}: {build:?}");
            *refusals.entry(build.standing).or_insert(0) += 1;
        }
        let running = runs(&soak.running, name);
        taken += usize::from(dropped.iter().any(|(of, digest, _)| of == name && *digest == running));
        let what =
            dropped.iter().find(|(of, digest, _)| of == name && *digest == running).map_or("good", |(_, _, what)| what);
        // What turns bad late may be on trial still.
        assert!(what == "good" || what.contains("after"), "{name} runs {what}: {plugin:?}");
    }
    let broken = counted(&soak.running, "feedgate_plugin_loads_total{result=\"refused\"}");
    println!(
        "{} drops on {providers} providers in {seconds} s: {refusals:?} builds known, {broken} files refused, {taken} \
         providers run a dropped build; resident KiB and descriptors each ten drops: {levels:?}",
        dropped.len()
    );
    if let (Some((early, few)), Some((late, many))) = (levels.get(levels.len() / 2), levels.last()) {
        assert!(*late < early * 3 / 2 + 100_000, "memory grows: {levels:?}");
        assert!(*many < few * 3 / 2 + 50, "descriptors grow: {levels:?}");
    }
    soak.running.stop().await;
}
