//! Whether a candidate build may take over, from what it and the running build made of the same bytes.
//!
//! The runs are `crate::builds::shadow`'s; here they are only compared. A candidate is held against the running build and not
//! against what would be right: where that one dies or reads nothing, it only has to be no worse.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::observation::{UnixNanos, Value, ValueKind};

/// Most lines of a diff.
const LINES: usize = 20;

/// Most ids that one line names.
const NAMES: usize = 5;

/// Longest value or text in a line.
const TEXT: usize = 120;

/// From these factors on slowness and memory are shown, and refused; below the floors a factor says nothing.
const SLOWER_SHOWN: (u32, Duration) = (2, Duration::from_micros(100));
const SLOWER_REFUSED: (u32, Duration) = (10, Duration::from_millis(5));
const MEMORY_REFUSED: (usize, usize) = (4, 32 << 20);

/// What somebody must say who wants other values.
const OVERRIDE: &str = "if that is meant, `feedgate plugin pin NAME DIGEST` runs it nevertheless";

/// What one build made of all tapes.
#[derive(Clone, Default, Debug)]
pub struct Run {
    /// What its values are; `None` if it never opened.
    pub kind: Option<ValueKind>,
    pub tapes: Vec<TapeRun>,
}

/// What one build made of one tape.
#[derive(Clone, Default, Debug)]
pub struct TapeRun {
    /// `frame` or `answer`.
    pub unit: &'static str,
    /// How many there are; `reads` may be fewer.
    pub inputs: usize,
    /// Where it connects or asks, without queries.
    pub asks: BTreeSet<String>,
    pub reads: Vec<Read>,
    /// Ids that it refused or that it said the venue refuses, and why.
    pub rejected: BTreeMap<Arc<str>, String>,
    /// Ids that no request of it is about.
    pub unplanned: BTreeSet<Arc<str>>,
    /// The calls that it died in.
    pub deaths: Vec<Death>,
    /// What it refused to do before anything was read.
    pub failures: Vec<String>,
    /// What it did otherwise than the tape remembers.
    pub notes: Vec<String>,
    /// Of the calls that read.
    pub median: Duration,
    pub slowest: Duration,
    /// Most bytes of linear memory.
    pub memory: usize,
}

/// One death.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Death {
    /// Of the frame or answer; `None`: before any.
    pub number: Option<u64>,
    pub why: String,
}

/// What one frame or answer meant.
#[derive(Clone, Default, Debug)]
pub struct Read {
    /// Its place on the tape's connection or poller.
    pub number: u64,
    /// The last value of each id.
    pub observed: BTreeMap<Arc<str>, Seen>,
    /// Ids whose value was confirmed.
    pub unchanged: BTreeSet<Arc<str>>,
    /// Ids that it said to have no value, and why.
    pub unresolved: BTreeMap<Arc<str>, String>,
    /// What could not be read, the first of it, and how often.
    pub malformed: Trouble,
    /// Values that cannot be stored, and ids that nobody asked for.
    pub unusable: Trouble,
    /// Messages that the venue's numbers say are missing.
    pub missed: u64,
}

/// One value and the venue's time for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub value: Value,
    pub observed_at: Option<UnixNanos>,
}

/// How often, and the first words.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Trouble {
    pub count: usize,
    pub first: String,
}

impl Trouble {
    pub fn add(&mut self, words: &str) {
        if self.count == 0 {
            self.first = words.chars().take(TEXT).collect();
        }
        self.count += 1;
    }
}

/// Whether the candidate may take over, and what it does otherwise.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Why not, each by itself; empty: it may.
    pub refused: Vec<String>,
    /// What is different, for people; at most twenty lines and one that says how many more there are.
    pub lines: Vec<String>,
}

impl Verdict {
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }
}

impl fmt::Display for Verdict {
    /// One line: the reasons, or that there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.refused.as_slice(), self.lines.as_slice()) {
            ([], []) => f.write_str("reads what was received as the running build does"),
            ([], [only]) => f.write_str(only),
            ([], [first, rest @ ..]) => write!(f, "{first}, and {} other differences", rest.len()),
            (reasons, _) => f.write_str(&reasons.join("; ")),
        }
    }
}

/// Holds a candidate's run against the running build's, on the same tapes in the same order.
pub fn compare(old: &Run, new: &Run) -> Verdict {
    let mut verdict = Verdict::default();
    if old.tapes.iter().all(|tape| tape.inputs == 0) {
        verdict.lines.push("nothing to compare: nothing has been received yet".to_owned());
        return verdict;
    }
    let mut comparison = Comparison::default();
    for (old, new) in old.tapes.iter().zip(&new.tapes) {
        comparison.tape(old, new);
    }
    comparison.kinds(old.kind, new.kind);
    comparison.verdict()
}

/// What is found on the way. Lines in the order in which they are shown: the worst first.
#[derive(Default)]
struct Comparison {
    deaths: Vec<String>,
    failures: Vec<String>,
    lost: BTreeSet<Arc<str>>,
    refused: BTreeMap<Arc<str>, String>,
    unplanned: BTreeSet<Arc<str>>,
    malformed: Errors,
    unusable: Errors,
    kinds: Option<(ValueKind, ValueKind)>,
    otherwise: BTreeSet<Arc<str>>,
    differences: Vec<String>,
    fewer: Vec<String>,
    slow: Vec<String>,
    large: Option<String>,
    shown: Vec<String>,
}

/// How often each build was in trouble, and the first words of a trouble that the candidate alone has.
#[derive(Default)]
struct Errors {
    before: usize,
    after: usize,
    first: Option<String>,
}

impl Errors {
    fn add(&mut self, unit: &str, was: &[Read], is: &[Read], of: fn(&Read) -> &Trouble) {
        let count = |reads: &[Read]| reads.iter().map(|read| of(read).count).sum::<usize>();
        self.before += count(was);
        self.after += count(is);
        let worse = was.iter().zip(is).find(|(was, is)| of(is).count > of(was).count);
        let words = worse.map(|(_, is)| format!(": {} ({unit} {})", clean(&of(is).first), is.number));
        self.first = self.first.take().or(words);
    }

    fn reason(self, what: &str) -> Option<String> {
        let Self { before, after, first } = self;
        let first = first.unwrap_or_default();
        (after > before).then(|| format!("{what}: {after} times, the running build {before}{first}"))
    }
}

impl Comparison {
    fn kinds(&mut self, old: Option<ValueKind>, new: Option<ValueKind>) {
        self.kinds = old.zip(new).filter(|(old, new)| old != new);
    }

    fn tape(&mut self, old: &TapeRun, new: &TapeRun) {
        self.faults(old, new);
        let both = old.reads.len().min(new.reads.len());
        let (was, is) = (&old.reads[..both], &new.reads[..both]);
        let unit = old.unit;
        if old.inputs > 0 && old.reads.iter().all(|read| read.observed.is_empty()) {
            self.show(format!("the running build itself reads no value of {} {unit}s", old.inputs));
        }
        if both < old.inputs {
            self.show(format!("only {both} of {} {unit}s were tried", old.inputs));
        }
        self.malformed.add(unit, was, is, |read| &read.malformed);
        self.unusable.add(unit, was, is, |read| &read.unusable);
        let served = ids(was);
        let serves = ids(is);
        self.lost.extend(served.difference(&serves).map(|id| (*id).clone()));
        for (id, why) in new.rejected.iter().filter(|(id, _)| served.contains(id) && !old.rejected.contains_key(*id)) {
            self.refused.entry(id.clone()).or_insert_with(|| clean(why));
        }
        self.unplanned.extend(new.unplanned.difference(&old.unplanned).filter(|id| served.contains(id)).cloned());
        for id in serves.difference(&served) {
            self.show(format!("{id}: read by the candidate only"));
        }
        self.values(unit, was, is, &serves);
        self.gaps(unit, was, is);
        self.speed(unit, old, new);
        self.memory(old, new);
        let elsewhere: Vec<_> = new.asks.difference(&old.asks).collect();
        if let (Some(place), Some(before)) = (elsewhere.first(), old.asks.first()) {
            let more = if elsewhere.len() > 1 { format!(" and {} more", elsewhere.len() - 1) } else { String::new() };
            let what = "what was received elsewhere says little of it";
            self.show(format!("asks {}{more} (the running build: {}): {what}", clean(place), clean(before)));
        }
        for note in new.notes.iter().filter(|note| !old.notes.contains(note)) {
            self.show(clean(note));
        }
    }

    fn show(&mut self, line: String) {
        if !self.shown.contains(&line) {
            self.shown.push(line);
        }
    }

    fn faults(&mut self, old: &TapeRun, new: &TapeRun) {
        if new.deaths.len() > old.deaths.len() {
            for death in &new.deaths {
                let at = match death.number {
                    Some(number) => format!(" ({} {number})", new.unit),
                    None => String::new(),
                };
                let line = format!("dies: {}{at}", clean(&death.why));
                if !self.deaths.contains(&line) {
                    self.deaths.push(line);
                }
            }
        }
        if new.failures.len() > old.failures.len() {
            let lines = new.failures.iter().map(|failure| format!("fails: {}", clean(failure)));
            let lines: Vec<_> = lines.filter(|line| !self.failures.contains(line)).collect();
            self.failures.extend(lines);
        }
    }

    /// What the same bytes mean otherwise, and what they no longer mean.
    fn values(&mut self, unit: &str, was: &[Read], is: &[Read], serves: &BTreeSet<&Arc<str>>) {
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
                self.otherwise.insert(id.clone());
                self.differences.push(format!("{id}: {difference} ({unit} {})", was.number));
            }
        }
        for (id, (count, first)) in missing {
            let of = given.get(id).copied().unwrap_or_default();
            self.fewer.push(format!("{id}: no value in {count} of {of} {unit}s, first in {unit} {first}"));
        }
    }

    fn gaps(&mut self, unit: &str, was: &[Read], is: &[Read]) {
        let missed = |reads: &[Read]| reads.iter().fold(0_u64, |sum, read| sum.saturating_add(read.missed));
        let (before, after) = (missed(was), missed(is));
        if before != after {
            self.show(format!("counts {after} missed {unit}s (the running build: {before})"));
        }
    }

    fn speed(&mut self, unit: &str, old: &TapeRun, new: &TapeRun) {
        let is = |(factor, floor): (u32, Duration)| new.median > floor && new.median > old.median * factor;
        let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1_000.0);
        let line = format!("slower: {} for one {unit} in the median, not {}", ms(new.median), ms(old.median));
        if new.reads.is_empty() || old.reads.is_empty() {
        } else if is(SLOWER_REFUSED) {
            self.slow.push(line);
        } else if is(SLOWER_SHOWN) {
            self.show(format!("{line} (at most {})", ms(new.slowest)));
        }
    }

    fn memory(&mut self, old: &TapeRun, new: &TapeRun) {
        let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let line = format!("takes {} of memory, not {}", mib(new.memory), mib(old.memory));
        let (factor, more) = MEMORY_REFUSED;
        if old.memory == 0 || new.memory == 0 {
        } else if new.memory >= old.memory.saturating_mul(factor) && new.memory - old.memory >= more {
            self.large.get_or_insert(line);
        } else if new.memory >= old.memory + old.memory / 2 {
            self.show(line);
        }
    }

    fn verdict(self) -> Verdict {
        let mut refused = Vec::new();
        let mut lines = Vec::new();
        refused.extend(self.deaths.first().map(|death| format!("it {death}, and the running build does not")));
        refused.extend(self.failures.first().map(|failure| format!("it {failure}")));
        lines.extend(self.deaths.into_iter().skip(1));
        lines.extend(self.failures.into_iter().skip(1));
        if !self.lost.is_empty() {
            refused.push(format!("it loses {}", names(&self.lost)));
        }
        if !self.refused.is_empty() {
            let ids = self.refused.keys().cloned().collect();
            refused.push(format!("it refuses {}, which the running build serves", names(&ids)));
            lines.extend(self.refused.iter().map(|(id, why)| format!("{id}: refused: {why}")));
        }
        if !self.unplanned.is_empty() {
            refused.push(format!("it asks for nothing of {}, which the running build serves", names(&self.unplanned)));
        }
        refused.extend(self.malformed.reason("what it cannot read"));
        refused.extend(self.unusable.reason("values that cannot be stored"));
        if let Some((old, new)) = self.kinds {
            refused.push(format!("its values are {}, not {}; {OVERRIDE}", new.as_str(), old.as_str()));
        }
        if !self.otherwise.is_empty() {
            refused
                .push(format!("it gives another meaning to the same bytes for {}; {OVERRIDE}", names(&self.otherwise)));
        }
        refused.extend(self.slow.into_iter().next().map(|line| format!("it is {line}")));
        refused.extend(self.large.map(|line| format!("it {line}")));
        lines.extend(self.differences);
        lines.extend(self.fewer);
        lines.extend(self.shown);
        let more = lines.len().saturating_sub(LINES);
        if more > 0 {
            lines.truncate(LINES);
            lines.push(format!("and {more} more"));
        }
        Verdict { refused, lines }
    }
}

/// The ids that something was read of.
fn ids(reads: &[Read]) -> BTreeSet<&Arc<str>> {
    reads.iter().flat_map(|read| read.observed.keys()).collect()
}

/// `2 ids: a, b`.
fn names(ids: &BTreeSet<Arc<str>>) -> String {
    let listed: Vec<&str> = ids.iter().take(NAMES).map(|id| &**id).collect();
    let more = ids.len().saturating_sub(NAMES);
    let count = if ids.len() == 1 { "1 id".to_owned() } else { format!("{} ids", ids.len()) };
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{count}: {}{more}", listed.join(", "))
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

fn shown(value: &Value) -> String {
    match value {
        Value::Decimal(decimal) => clean(&decimal.to_string()),
        Value::Text(text) => format!("\"{}\"", clean(text)),
        Value::Flag(flag) => flag.to_string(),
        Value::Bytes(bytes) => {
            let first: String = bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            format!("{} bytes {first}", bytes.len())
        }
    }
}

fn time(time: Option<UnixNanos>) -> String {
    time.map_or_else(|| "none".to_owned(), UnixNanos::to_rfc3339)
}

/// A plugin's words, and a venue's, may be long and may hold what moves a cursor.
fn clean(text: &str) -> String {
    let mut cut: String = text.chars().take(TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(TEXT).is_some() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests;
