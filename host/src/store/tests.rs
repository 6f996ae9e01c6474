//! Which observation counts, whose slot it is, and that no reader sees half a write.

use super::*;
use crate::contract::observation::{Decimal, Observation};

/// `value`, and `@time` in nanoseconds, `#sequence` where given.
fn observation(text: &str) -> Observation {
    let (rest, sequence) = text.split_once('#').map_or((text, None), |(r, s)| (r, s.parse().ok()));
    let (value, time) = rest.split_once('@').map_or((rest, None), |(v, t)| (v, t.parse().ok()));
    let value = value.parse().map_or_else(|_| Value::Text(value.to_owned()), Value::Decimal);
    Observation { key: Key(0), value, observed_at: time.map(UnixNanos), sequence }
}

fn slots() -> (Arc<ProviderSlots>, Arc<Slot>) {
    let provider = Store::default().provider("p");
    provider.set_ids(&[("a".into(), Duration::from_secs(10))]);
    let slot = provider.table().get(Key(0)).expect("key 0 was just made").clone();
    (provider, slot)
}

#[track_caller]
fn check(writes: &[(&str, u64)], expected: &str) {
    let (provider, slot) = slots();
    for (text, epoch) in writes {
        slot.write(observation(text), Receipt { epoch: *epoch, ..provider.receipt(0) });
    }
    let held = provider.read("a").and_then(|r| r.held).expect("something was written");
    assert_eq!((held.value, held.observed_at, held.sequence), {
        let o = observation(expected);
        (o.value, o.observed_at, o.sequence)
    });
}

#[test]
fn the_newer_observation_wins() {
    check(&[("1@10", 0), ("2@11", 0)], "2@11");
    check(&[("2@11", 0), ("1@10", 0)], "2@11");
    check(&[("1@10", 0), ("2@10", 0)], "2@10");
    check(&[("1@10#5", 0), ("2@10#4", 0)], "1@10#5");
    check(&[("1@10#5", 0), ("2@11#4", 0)], "2@11#4");
    check(&[("1#5", 0), ("2#6", 0)], "2#6");
    check(&[("1#5", 0), ("2#4", 0)], "1#5");
    check(&[("1#5", 0), ("2#5", 0)], "1#5");
    // A venue that starts its numbers anew on each connection must not be refused for ever.
    check(&[("1#5", 0), ("2#1", 1)], "2#1");
    check(&[("1@10", 0), ("2", 0)], "2");
    check(&[("-0.5", 0)], "-0.5");
    check(
        &[("115792089237316195423570985008687907853269984665640564039457584007913129639935", 0)],
        "115792089237316195423570985008687907853269984665640564039457584007913129639935",
    );
    check(&[("1", 0), ("words", 0)], "words");
    check(&[("words", 0), ("1", 0)], "1");
}

/// `s`, `h` and `x` write (the one that serves, its heir, one that was given up), `+` serves the heir, `-` the old one.
#[track_caller]
fn check_succession(steps: &[&str], expected: &str, note: Note) {
    let (provider, slot) = slots();
    provider.serve(1);
    for step in steps {
        match step.split_once(' ') {
            None if *step == "heir" => provider.set_heir(2),
            None => provider.serve(if *step == "+" { 2 } else { 1 }),
            Some((who, what)) => {
                let number = ["s", "h", "x"].iter().position(|known| *known == who).expect("a writer") as u64 + 1;
                let receipt = provider.receipt_of(number, number, Instant::now());
                match what {
                    "unchanged" => drop(slot.confirm(receipt)),
                    "rejected" => slot.note(receipt.writer, Note::Rejected, what, Unless::Never),
                    value => drop(slot.write(observation(value), receipt)),
                }
            }
        }
    }
    let held = provider.read("a").and_then(|r| r.held).expect("something was written");
    assert_eq!(held.value, observation(expected).value, "{steps:?}");
    assert_eq!(slot.noted(), note, "{steps:?}");
}

#[test]
fn an_heir_takes_over_what_it_delivers_and_gives_it_back_when_it_is_given_up() {
    let (clear, rejected) = (Note::Clear, Note::Rejected);
    check_succession(&["s 1", "h 2", "x 3"], "1", clear);
    check_succession(&["s 1", "heir", "s 2", "h 3", "s 4"], "3", clear);
    check_succession(&["s 1", "heir", "h 2", "+", "s 3", "h 4"], "4", clear);
    check_succession(&["s 1", "heir", "h 2", "-", "h 3", "s 4"], "4", clear);
    // What is older delivers nothing.
    check_succession(&["s 1@9", "heir", "h 2@8", "s 3@9"], "3", clear);
    check_succession(&["s 1", "heir", "h unchanged", "s 2"], "1", clear);
    // What the heir says of an id counts once it serves.
    check_succession(&["s 1", "heir", "h rejected"], "1", clear);
    check_succession(&["s 1", "heir", "h rejected", "-", "s 2"], "2", clear);
    check_succession(&["s 1", "heir", "h rejected", "+", "s 2"], "1", rejected);
    check_succession(&["s 1", "s rejected", "heir", "h 2"], "2", clear);
    // What it said before it delivered is past.
    check_succession(&["s 1", "heir", "h rejected", "h 2"], "2", clear);
    check_succession(&["s 1", "heir", "h rejected", "h unchanged"], "1", clear);
}

/// Providers that start beside another, take over and are given up at random, all writing all the time: an id that had
/// a value has one, no value goes back in time, and what is heard is heard from the one that serves or its heir.
#[test]
fn no_id_that_had_data_loses_it() {
    for seed in 1..500_u64 {
        let mut bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |end: u64| {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            bits % end
        };
        let (provider, slot) = slots();
        let ids = [("a".into(), Duration::from_secs(10)), ("b".into(), Duration::from_secs(10))];
        let (mut serving, mut heir, mut last) = (1, None, 1);
        provider.serve(serving);
        let mut held: Option<i64> = None;
        for step in 0..200_i64 {
            match below(8) {
                0 if heir.is_none() => {
                    last += 1;
                    heir = Some(last);
                    provider.set_ids(&ids[..1 + usize::try_from(below(2)).expect("small")]);
                    provider.set_heir(last);
                }
                1 => {
                    serving = heir.take().unwrap_or(serving);
                    provider.serve(serving);
                }
                2 => {
                    heir = None;
                    provider.serve(serving);
                }
                _ => {
                    // Whoever ever ran may still write.
                    let writer = 1 + below(last);
                    let time = step - i64::try_from(below(5)).expect("small");
                    let written = slot.write(
                        observation(&format!("{step}@{time}")),
                        provider.receipt_of(writer, writer, Instant::now()),
                    );
                    if ![Some(serving), heir].contains(&Some(writer)) {
                        assert_eq!(written, Written::Late, "seed {seed}, step {step}");
                    }
                }
            }
            let now = provider.read("a").and_then(|reading| reading.held).and_then(|held| held.observed_at);
            assert!(now.map(|time| time.0) >= held, "seed {seed}, step {step}: {now:?} after {held:?}");
            held = now.map(|time| time.0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_id_has_a_state_and_a_reason() {
    let (provider, slot) = slots();
    let check = |state: State, reason: &str| {
        let reading = provider.read("a").expect("subscribed");
        assert_eq!(reading.state, state);
        assert!(reading.reason.contains(reason), "{:?} lacks {reason:?}", reading.reason);
        let fresh = state == State::Fresh;
        assert_eq!((provider.has_fresh(), provider.fresh_ids()), (fresh, usize::from(fresh)));
    };
    check(State::Waiting, "not asked");
    slot.set_note(Note::Down, "refused");
    check(State::ProviderDown, "refused");
    slot.write(observation("1"), provider.receipt(0));
    check(State::Fresh, "");
    slot.set_note(Note::Unresolved, "null");
    check(State::Fresh, "");
    tokio::time::advance(Duration::from_secs(11)).await;
    check(State::Unresolved, "null");
    assert!(slot.confirm(provider.receipt(0)));
    check(State::Fresh, "");
    tokio::time::advance(Duration::from_secs(11)).await;
    check(State::Stale, "max_age is 10.0 s");
    slot.set_note(Note::Rejected, "delisted");
    slot.set_note_unless_rejected(Note::Down, "closed");
    check(State::Rejected, "delisted");
}

#[test]
fn an_old_time_from_the_venue_makes_a_new_arrival_stale() {
    let (provider, slot) = slots();
    let receipt = provider.receipt(0);
    let cached = Observation { observed_at: Some(UnixNanos(receipt.at.0 - 3_600_000_000_000)), ..observation("1") };
    slot.write(cached, receipt);
    let reading = provider.read("a").expect("subscribed");
    assert_eq!(reading.state, State::Stale);
}

#[test]
fn ids_that_stay_keep_their_keys_and_values() {
    let (provider, slot) = slots();
    slot.write(observation("1"), provider.receipt(0));
    let second = Duration::from_secs(1);
    let table = provider.set_ids(&[("b".into(), second), ("a".into(), second)]);
    assert_eq!(table.iter().map(|s| (s.key().0, &*s.subscription().id)).collect::<Vec<_>>(), [(0, "a"), (1, "b")]);
    assert!(provider.read("a").is_some_and(|r| r.held.is_some()));
    let table = provider.set_ids(&[("b".into(), second)]);
    assert!(table.get(Key(0)).is_none() && provider.read("a").is_none());
    let table = provider.set_ids(&[("b".into(), second), ("a".into(), second)]);
    assert!(table.get(Key(2)).is_some(), "a key is never used twice");
}

#[test]
fn a_reader_beside_a_writer_never_sees_half_a_write() {
    let (provider, slot) = slots();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..200_000_i64 {
                let text = if n % 100 == 0 { Some(n.to_string()) } else { None };
                let value = text.map_or_else(|| Value::Decimal(Decimal::new(n, 0).expect("in range")), Value::Text);
                slot.write(
                    Observation { key: Key(0), value, observed_at: Some(UnixNanos(n)), sequence: Some(n as u64) },
                    provider.receipt(0),
                );
            }
            stop.store(true, Ordering::Relaxed);
        });
        while !stop.load(Ordering::Relaxed) {
            if let Some(held) = provider.read("a").and_then(|r| r.held) {
                let number = match held.value {
                    Value::Decimal(decimal) => decimal.to_string(),
                    Value::Text(text) => text,
                    other => panic!("{other:?}"),
                };
                assert_eq!(Some(number.parse::<u64>().expect("digits")), held.sequence);
            }
        }
    });
}
