//! What a candidate costs on one tape: its time and its memory, compared with those of the running build.

use std::time::Duration;

use super::findings::Findings;
use super::run::TapeRun;

/// From these factors on slowness and memory are shown, and refused. Below the floors a factor says nothing.
const SLOWER_SHOWN: (u32, Duration) = (2, Duration::from_micros(100));
const SLOWER_REFUSED: (u32, Duration) = (10, Duration::from_millis(5));
const MEMORY_REFUSED: (usize, usize) = (4, 32 << 20);

/// How long it takes for one frame or answer.
pub(super) fn speed(findings: &mut Findings, unit: &str, old: &TapeRun, new: &TapeRun) {
    let is = |(factor, floor): (u32, Duration)| new.median > floor && new.median > old.median * factor;
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1_000.0);
    let line = format!("slower: {} for one {unit} in the median, not {}", ms(new.median), ms(old.median));
    if new.reads.is_empty() || old.reads.is_empty() {
    } else if is(SLOWER_REFUSED) {
        findings.slow.push(line);
    } else if is(SLOWER_SHOWN) {
        findings.show(format!("{line} (at most {})", ms(new.slowest)));
    }
}

/// How much linear memory it takes.
pub(super) fn memory(findings: &mut Findings, old: &TapeRun, new: &TapeRun) {
    let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let line = format!("takes {} of memory, not {}", mib(new.memory), mib(old.memory));
    let (factor, more) = MEMORY_REFUSED;
    if old.memory == 0 || new.memory == 0 {
    } else if new.memory >= old.memory.saturating_mul(factor) && new.memory - old.memory >= more {
        findings.large.get_or_insert(line);
    } else if new.memory >= old.memory + old.memory / 2 {
        findings.show(line);
    }
}
