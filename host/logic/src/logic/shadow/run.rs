//! What one build made of the tapes: what it read, refused and died of. Plain data, filled by whoever runs the build.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::words::TEXT;
use crate::contract::observation::{UnixNanos, Value, ValueKind};

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
    /// What it did differently from what the tape recorded.
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
