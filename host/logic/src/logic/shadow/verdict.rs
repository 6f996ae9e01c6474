//! What is said of a candidate build: whether it may take over, and what is different.

use std::fmt;

/// Whether the candidate may take over, and what it does differently.
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
