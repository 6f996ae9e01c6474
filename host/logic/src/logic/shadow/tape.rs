//! What two builds made of the same tape, compared.
//!
//! What follows from a difference is decided in `findings`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cost;
use super::findings::Findings;
use super::run::{Read, TapeRun};
use super::words::{clean, shown, time};
use crate::contract::observation::Value;

/// Adds to the findings what is different on one tape.
pub(super) fn compare_tape(findings: &mut Findings, old: &TapeRun, new: &TapeRun) {
    faults(findings, old, new);
    let both = old.reads.len().min(new.reads.len());
    let (was, is) = (&old.reads[..both], &new.reads[..both]);
    let unit = old.unit;
    if old.inputs > 0 && old.reads.iter().all(|read| read.observed.is_empty()) {
        findings.show(format!("the running build itself reads no value of {} {unit}s", old.inputs));
    }
    if both < old.inputs {
        findings.show(format!("only {both} of {} {unit}s were tried", old.inputs));
    }
    findings.malformed.add(unit, was, is, |read| &read.malformed);
    findings.unusable.add(unit, was, is, |read| &read.unusable);
    let served = ids(was);
    let serves = ids(is);
    findings.lost.extend(served.difference(&serves).map(|id| (*id).clone()));
    for (id, why) in new.rejected.iter().filter(|(id, _)| served.contains(id) && !old.rejected.contains_key(*id)) {
        findings.refused.entry(id.clone()).or_insert_with(|| clean(why));
    }
    findings.unplanned.extend(new.unplanned.difference(&old.unplanned).filter(|id| served.contains(id)).cloned());
    for id in serves.difference(&served) {
        findings.show(format!("{id}: read by the candidate only"));
    }
    values(findings, unit, was, is, &serves);
    gaps(findings, unit, was, is);
    cost::speed(findings, unit, old, new);
    cost::memory(findings, old, new);
    let elsewhere: Vec<_> = new.asks.difference(&old.asks).collect();
    if let (Some(place), Some(before)) = (elsewhere.first(), old.asks.first()) {
        let more = if elsewhere.len() > 1 { format!(" and {} more", elsewhere.len() - 1) } else { String::new() };
        let what = "what was received elsewhere says little of it";
        findings.show(format!("asks {}{more} (the running build: {}): {what}", clean(place), clean(before)));
    }
    for note in new.notes.iter().filter(|note| !old.notes.contains(note)) {
        findings.show(clean(note));
    }
}

/// What it died of, and what it refused to do.
fn faults(findings: &mut Findings, old: &TapeRun, new: &TapeRun) {
    if new.deaths.len() > old.deaths.len() {
        for death in &new.deaths {
            let at = match death.number {
                Some(number) => format!(" ({} {number})", new.unit),
                None => String::new(),
            };
            let line = format!("dies: {}{at}", clean(&death.why));
            if !findings.deaths.contains(&line) {
                findings.deaths.push(line);
            }
        }
    }
    if new.failures.len() > old.failures.len() {
        let lines = new.failures.iter().map(|failure| format!("fails: {}", clean(failure)));
        let lines: Vec<_> = lines.filter(|line| !findings.failures.contains(line)).collect();
        findings.failures.extend(lines);
    }
}

/// Where the same bytes have another meaning, or none any more.
fn values(findings: &mut Findings, unit: &str, was: &[Read], is: &[Read], serves: &BTreeSet<&Arc<str>>) {
    let mut given: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    let mut missing: BTreeMap<&Arc<str>, (usize, u64)> = BTreeMap::new();
    for (was, is) in was.iter().zip(is) {
        for (id, before) in &was.observed {
            *given.entry(id).or_default() += 1;
            let Some(after) = is.observed.get(id) else {
                if serves.contains(id) && !is.unchanged.contains(id) {
                    missing.entry(id).or_insert((0, was.number)).0 += 1;
                }
                continue;
            };
            let difference = if !is_same(&before.value, &after.value) {
                format!("{} → {}", shown(&before.value), shown(&after.value))
            } else if before.observed_at != after.observed_at {
                format!("venue's time {} → {}", time(before.observed_at), time(after.observed_at))
            } else {
                continue;
            };
            findings.otherwise.insert(id.clone());
            findings.differences.push(format!("{id}: {difference} ({unit} {})", was.number));
        }
    }
    for (id, (count, first)) in missing {
        let of = given.get(id).copied().unwrap_or_default();
        findings.fewer.push(format!("{id}: no value in {count} of {of} {unit}s, first in {unit} {first}"));
    }
}

/// Messages that are missing by the numbers of the venue.
fn gaps(findings: &mut Findings, unit: &str, was: &[Read], is: &[Read]) {
    let missed = |reads: &[Read]| reads.iter().fold(0_u64, |sum, read| sum.saturating_add(read.missed));
    let (before, after) = (missed(was), missed(is));
    if before != after {
        findings.show(format!("counts {after} missed {unit}s (the running build: {before})"));
    }
}

/// The ids that something was read of.
fn ids(reads: &[Read]) -> BTreeSet<&Arc<str>> {
    reads.iter().flat_map(|read| read.observed.keys()).collect()
}

/// Equal numbers are equal however many zeros follow them.
fn is_same(a: &Value, b: &Value) -> bool {
    let plain = |value: &Value| match value {
        Value::Decimal(decimal) => {
            let text = decimal.to_string();
            let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
            let unsigned = text.trim_start_matches('-');
            Some(if unsigned == "0" { unsigned.to_owned() } else { text.to_owned() })
        }
        _ => None,
    };
    a == b || plain(a).is_some_and(|a| Some(a) == plain(b))
}
