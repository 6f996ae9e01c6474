//! Two builds on a tape, written in a line each, and what is said of the second.

use std::time::Duration;

use super::words::{TEXT, clean};
use super::*;
use crate::contract::observation::{UnixNanos, Value, ValueKind};

/// `"us:300 mib:2 / a=1.5 b=x@7 / ! / a="`: a build that takes 300 µs and 2 MiB, and what it makes of three frames:
/// two values, the second with a time; nothing that it could read; `a` confirmed. `a!` is a value that cannot be
/// stored, `+WHY` a death. Before the first `/` may stand `kind:mid`, `fails:WHY`, `-a` (refused), `?a` (in no
/// request), `asks:URL`, `of:9` (frames in all).
fn run(text: &str) -> Run {
    let mut parts = text.split('/');
    let mut tape = TapeRun { unit: "frame", median: Duration::from_micros(20), memory: 1 << 20, ..TapeRun::default() };
    let mut kind = ValueKind::LastTrade;
    let mut of = None;
    for word in parts.next().unwrap().split_whitespace() {
        match word.split_once(':') {
            Some(("us", number)) => tape.median = Duration::from_micros(number.parse().unwrap()),
            Some(("mib", number)) => tape.memory = number.parse::<usize>().unwrap() << 20,
            Some(("kind", _)) => kind = ValueKind::Mid,
            Some(("fails", why)) => tape.failures.push(why.to_owned()),
            Some(("asks", place)) => drop(tape.asks.insert(place.to_owned())),
            Some(("of", number)) => of = Some(number.parse().unwrap()),
            _ if word.starts_with('-') => drop(tape.rejected.insert(word[1..].into(), "no such id".to_owned())),
            _ => drop(tape.unplanned.insert(word[1..].into())),
        }
    }
    for (at, frame) in parts.enumerate() {
        let mut read = Read { number: at as u64 + 1, ..Read::default() };
        for word in frame.split_whitespace() {
            if word == "!" {
                read.malformed.add("expected an object");
            } else if let Some(why) = word.strip_prefix('+') {
                tape.deaths.push(Death { number: Some(read.number), why: why.to_owned() });
            } else if word.ends_with('!') {
                read.unusable.add("not a number");
            } else if let Some(id) = word.strip_suffix('=') {
                read.unchanged.insert(id.into());
            } else {
                let (id, value) = word.split_once('=').unwrap();
                let (value, time) = value.split_once('@').unwrap_or((value, ""));
                let text = |_| Value::Text(value.to_owned());
                let value = value.parse().map_or_else(text, Value::Decimal);
                let observed_at = time.parse().ok().map(|seconds: i64| UnixNanos(seconds * 1_000_000_000));
                read.observed.insert(id.into(), Seen { value, observed_at });
            }
        }
        tape.reads.push(read);
    }
    tape.inputs = of.unwrap_or(tape.reads.len());
    Run { kind: Some(kind), tapes: vec![tape] }
}

/// Every reason and every line must be there, in order, and begin so.
#[track_caller]
fn check(old: &str, new: &str, refused: &[&str], lines: &[&str]) {
    let verdict = compare(&run(old), &run(new));
    let fits = |found: &[String], expected: &[&str]| {
        found.len() == expected.len() && found.iter().zip(expected).all(|(found, words)| found.starts_with(words))
    };
    assert!(fits(&verdict.refused, refused), "refused {:#?}, expected {refused:#?}", verdict.refused);
    assert!(fits(&verdict.lines, lines), "lines {:#?}, expected {lines:#?}", verdict.lines);
    assert_eq!(verdict.is_refused(), !refused.is_empty());
}

const SILENT: &str = "the running build itself reads no value of";

#[test]
fn the_same_is_accepted_without_a_word() {
    check("/ a=1.5 b=2@7 / a=1.6 / !", "/ a=1.5 b=2@7 / a=1.6 / !", &[], &[]);
    check("/ a=1.50 b=0.0", "/ a=1.5 b=-0", &[], &[]);
    check("/ a=100", "/ a=100.0", &[], &[]);
}

#[test]
fn without_tapes_there_is_nothing_to_compare() {
    check("", "", &[], &["nothing to compare: nothing has been received yet"]);
    assert!(!compare(&Run::default(), &Run::default()).is_refused());
}

#[test]
fn ids_that_are_lost_are_named() {
    check("/ a=1 b=2 / a=3", "/ a=1 / a=3", &["it loses 1 id: b"], &[]);
    check("/ a=1 b=1 c=1 d=1 e=1 f=1 g=1", "/", &["it loses 7 ids: a, b, c, d, e and 2 more"], &[]);
    // Further ones are no fault.
    check("/ a=1", "/ a=1 b=2", &[], &["b: read by the candidate only"]);
}

#[test]
fn values_that_are_not_given_are_shown() {
    check("/ a=1 / a=2 / a=3", "/ a=1 / / a=", &[], &["a: no value in 1 of 3 frames, first in frame 2"]);
}

#[test]
fn other_values_for_the_same_bytes_are_refused() {
    let refused =
        "it gives another meaning to the same bytes for 1 id: a; if that is meant, `feedgate plugin pin NAME DIGEST`";
    check("/ b=1 / a=101.5", "/ b=1 / a=1015", &[refused], &["a: 101.5 → 1015 (frame 2)"]);
    check("/ a=x", "/ a=y", &[refused], &["a: \"x\" → \"y\" (frame 1)"]);
    check("/ a=1", "/ a=x", &[refused], &["a: 1 → \"x\" (frame 1)"]);
    check("/ a=100", "/ a=10", &[refused], &["a: 100 → 10 (frame 1)"]);
    let time = "a: venue's time 1970-01-01T00:00:07Z → 1970-01-01T00:00:08Z (frame 1)";
    check("/ a=1@7", "/ a=1@8", &[refused], &[time]);
    check("/ a=1@7", "/ a=1", &[refused], &["a: venue's time 1970-01-01T00:00:07Z → none"]);
}

#[test]
fn a_long_diff_is_cut() {
    let frames = |price: u32| (0..51).map(|_| format!("/ a={price}")).collect::<String>();
    let verdict = compare(&run(&frames(1)), &run(&frames(2)));
    assert_eq!((verdict.lines.len(), verdict.lines[20].as_str()), (21, "and 31 more"));
}

#[test]
fn another_kind_of_value_is_refused() {
    check("/ a=1", "kind:mid / a=1", &["its values are mid, not last-trade; if that is meant"], &[]);
}

#[test]
fn who_dies_is_refused_unless_the_running_build_does() {
    let refused = "it dies: trap (frame 2), and the running build does not";
    check("/ a=1 / a=2 / a=3", "/ a=1 / +trap / a=3", &[refused], &["a: no value in 1 of 3 frames"]);
    check("/ a=1 / +trap", "/ a=1 / +trap", &[], &[]);
    check("/ a=1 / +trap", "/ a=1 / a=2", &[], &[]);
}

#[test]
fn who_fails_before_anything_is_read_is_refused() {
    let tried = "only 0 of 1 frames were tried";
    check("/ a=1", "fails:connect", &["it fails: connect"], &[tried]);
    check("fails:connect of:1", "fails:connect of:1", &[], &[SILENT, tried]);
}

#[test]
fn more_errors_are_refused() {
    let refused = "what it cannot read: 2 times, the running build 1: expected an object (frame 2)";
    check("/ a=1 ! / a=2", "/ a=1 ! / ! a=2", &[refused], &[]);
    check("/ ! a=1", "/ a=1", &[], &[]);
    let refused = "values that cannot be stored: 1 times, the running build 0: not a number (frame 1)";
    check("/ a=1 / b=1", "/ a! a=1 / b=1", &[refused], &[]);
}

#[test]
fn ids_that_are_refused_or_left_out_are_named() {
    let refused = "it refuses 1 id: a, which the running build serves";
    check("/ a=1", "-a / a=1", &[refused], &["a: refused: no such id"]);
    check("-a / b=1", "-a / b=1", &[], &[]);
    check("/ a=1", "?a / a=1", &["it asks for nothing of 1 id: a, which the running build serves"], &[]);
    check("?a / b=1", "?a / b=1", &[], &[]);
}

#[test]
fn only_who_is_slower_by_far_is_refused() {
    check("us:20 / a=1", "us:39 / a=1", &[], &[]);
    // Twice nothing is nothing.
    check("us:20 / a=1", "us:90 / a=1", &[], &[]);
    check("us:20 / a=1", "us:4000 / a=1", &[], &["slower: 4.00 ms for one frame in the median, not 0.02 ms"]);
    check("us:2000 / a=1", "us:19000 / a=1", &[], &["slower: 19.00 ms"]);
    check("us:2000 / a=1", "us:21000 / a=1", &["it is slower: 21.00 ms for one frame"], &[]);
}

#[test]
fn only_who_takes_much_more_memory_is_refused() {
    check("mib:10 / a=1", "mib:14 / a=1", &[], &[]);
    check("mib:10 / a=1", "mib:15 / a=1", &[], &["takes 15.0 MiB of memory, not 10.0 MiB"]);
    check("mib:2 / a=1", "mib:30 / a=1", &[], &["takes 30.0 MiB"]);
    check("mib:2 / a=1", "mib:34 / a=1", &["it takes 34.0 MiB of memory, not 2.0 MiB"], &[]);
    check("mib:40 / a=1", "mib:100 / a=1", &[], &["takes 100.0 MiB"]);
}

#[test]
fn where_the_running_build_reads_nothing_the_candidate_is_only_no_worse() {
    check("/ ! / !", "/ ! / !", &[], &[SILENT]);
    check("/ ! / !", "/ a=1 / a=2", &[], &[SILENT, "a: read by the candidate only"]);
    let refused = "what it cannot read: 1 times, the running build 0";
    check("/ /", "/ ! /", &[refused], &[SILENT]);
}

#[test]
fn what_was_not_tried_counts_for_nothing() {
    let tried = "only 1 of 2 frames were tried";
    check("/ a=1 / b=2", "/ a=1", &[], &[tried]);
    check("of:2 / a=1", "of:2 / a=1", &[], &[tried]);
}

#[test]
fn asking_elsewhere_is_told() {
    let line = "asks there (the running build: here): what was received elsewhere says little of it";
    check("asks:here / a=1", "asks:there / a=1", &[], &[line]);
    check("asks:here / a=1", "asks:there asks:yonder / a=1", &[], &["asks there and 1 more (the running"]);
    check("asks:here / a=1", "/ a=1", &[], &[]);
}

#[test]
fn a_plugins_words_cannot_move_the_cursor() {
    check("/ a=x", "/ a=\u{1b}[2J", &["it gives another"], &["a: \"x\" → \" [2J\""]);
    assert!(clean(&"x".repeat(1_000)).chars().count() <= TEXT + 1);
}
