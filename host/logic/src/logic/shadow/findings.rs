//! What was found when two builds were compared, and how it is told: what refuses the candidate, and what is only shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::run::{Read, Trouble};
use super::verdict::Verdict;
use super::words::{clean, names};
use crate::contract::observation::ValueKind;

/// Most lines of a diff.
const LINES: usize = 20;

/// What somebody must say who wants other values.
const OVERRIDE: &str = "if that is meant, `feedgate plugin pin NAME DIGEST` runs it nevertheless";

/// What is found while the tapes are compared, in the order in which it is told: the worst first. "It" is the candidate.
#[derive(Default)]
pub(super) struct Findings {
    /// Calls that it died in and the running build did not.
    pub(super) deaths: Vec<String>,
    /// What it refused to do before anything was read.
    pub(super) failures: Vec<String>,
    /// Ids that the running build gave values for and it does not.
    pub(super) lost: BTreeSet<Arc<str>>,
    /// Ids that it refuses and the running build serves, and why.
    pub(super) refused: BTreeMap<Arc<str>, String>,
    /// Ids that none of its requests is about and the running build serves.
    pub(super) unplanned: BTreeSet<Arc<str>>,
    /// What could not be read.
    pub(super) malformed: Errors,
    /// Values that cannot be stored.
    pub(super) unusable: Errors,
    /// What the values of the running build are, and what its own are, if they are not the same.
    pub(super) kinds: Option<(ValueKind, ValueKind)>,
    /// Ids for which the same bytes mean something else to it.
    pub(super) otherwise: BTreeSet<Arc<str>>,
    /// Those values, a line each.
    pub(super) differences: Vec<String>,
    /// Ids for which it gives fewer values.
    pub(super) fewer: Vec<String>,
    /// That it is slower by far.
    pub(super) slow: Vec<String>,
    /// That it takes much more memory.
    pub(super) large: Option<String>,
    /// What is no reason to refuse it.
    shown: Vec<String>,
}

/// How often each build was in trouble, and the first words of a trouble that the candidate alone has.
#[derive(Default)]
pub(super) struct Errors {
    before: usize,
    after: usize,
    first: Option<String>,
}

impl Errors {
    /// Of the same frames or answers, what the running build made of them and what the candidate did.
    pub(super) fn add(&mut self, unit: &str, was: &[Read], is: &[Read], of: fn(&Read) -> &Trouble) {
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

impl Findings {
    /// A line that is no reason to refuse the candidate. The same line is shown once.
    pub(super) fn show(&mut self, line: String) {
        if !self.shown.contains(&line) {
            self.shown.push(line);
        }
    }

    /// Puts what was found into words.
    pub(super) fn verdict(self) -> Verdict {
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
