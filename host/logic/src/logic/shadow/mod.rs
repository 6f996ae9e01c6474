//! Whether a candidate build may take over, from what it and the running build made of the same bytes.
//!
//! The builds are run by `builds::shadow` of the host. Here the results are only compared. A candidate is compared with
//! the running build and not with what would be right: where the running build dies or reads nothing, the candidate
//! only has to be no worse.
//!
//! `run` is what comes in, `verdict` what comes out. `tape` and `cost` compare one tape, `findings` collects what they
//! found and decides what refuses the candidate, `words` writes it.

use findings::Findings;
pub use run::{Death, Read, Run, Seen, TapeRun, Trouble};
use tape::compare_tape;
pub use verdict::Verdict;

mod cost;
mod findings;
mod run;
mod tape;
mod verdict;
mod words;

/// Compares a candidate's run with the running build's, on the same tapes in the same order.
pub fn compare(old: &Run, new: &Run) -> Verdict {
    let mut verdict = Verdict::default();
    if old.tapes.iter().all(|tape| tape.inputs == 0) {
        verdict.lines.push("nothing to compare: nothing has been received yet".to_owned());
        return verdict;
    }
    let mut findings = Findings::default();
    for (old, new) in old.tapes.iter().zip(&new.tapes) {
        compare_tape(&mut findings, old, new);
    }
    findings.kinds = old.kind.zip(new.kind).filter(|(old, new)| old != new);
    findings.verdict()
}

#[cfg(test)]
mod tests;
