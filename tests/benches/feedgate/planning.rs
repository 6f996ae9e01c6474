//! When a poll is due and which of its requests go out.

use std::time::{Duration, Instant};

use divan::Bencher;
use feedgate::contract::observation::Key;
use feedgate::logic::backoff::BackoffConfig;
use feedgate::logic::schedule::{Schedule, ScheduleConfig};
use feedgate::logic::turns::Turns;

/// One poll of so many ids: it is due, 4 of its requests of 50 ids are chosen, it is over.
#[divan::bench(args = [50, 1_000, 10_000])]
fn a_poll_planned(bencher: Bencher<'_, '_>, ids: u32) {
    let keys: Vec<Key> = (0..ids).map(Key).collect();
    let planned: Vec<&[Key]> = keys.chunks(50).collect();
    let (config, start) = (config(), Instant::now());
    let mut schedule = Schedule::new(config, start);
    let mut turns = Turns::default();
    let mut now = start;
    bencher.bench_local(|| {
        now = schedule.poll_timeout().expect("nothing is under way");
        schedule.poll_action(now).expect("it is due");
        let chosen = turns.choose(&planned, 4);
        schedule.handle_done(now + Duration::from_millis(50));
        chosen
    });
}

fn config() -> ScheduleConfig {
    ScheduleConfig {
        interval: Duration::from_secs(1),
        phase: Duration::from_millis(300),
        backoff: BackoffConfig::default(),
    }
}
