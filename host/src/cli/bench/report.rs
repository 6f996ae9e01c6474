//! What was measured, as a table for people and as JSON for machines: medians over rounds, ratios, targets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::codec::Reader;
use super::side::{Load, Run};
use crate::status::metrics::StageTimes;

/// At most this much of native code's processor time, by load.
fn cpu_target(load: Load) -> f64 {
    match load {
        Load::Full | Load::Burst => 1.15,
        Load::Paced => 1.10,
    }
}

/// At most this much of native code's 99th percentile, one frame a wake-up.
const LATENCY_TARGET: f64 = 1.2;

/// At most so much memory for one more quiet connection.
pub(super) const CONNECTION_TARGET: u64 = 100 << 10;

/// The rounds of each reader under each load.
#[derive(Default)]
pub(super) struct Rounds(BTreeMap<(Load, Reader), Vec<Run>>);

/// Bytes.
#[derive(Copy, Clone)]
pub(super) struct Memory {
    pub(super) resident: u64,
    pub(super) per_connection: u64,
    pub(super) per_id: u64,
}

/// Medians over rounds, each with its percentiles within the round.
struct Summary {
    frames_per_second: f64,
    cpu_ns: f64,
    latency_ns: Option<[u64; 3]>,
}

const PERCENTILES: [(&str, f64); 3] = [("p50", 0.50), ("p99", 0.99), ("p99_9", 0.999)];

impl Rounds {
    pub(super) fn add(&mut self, load: Load, reader: Reader, run: Run) {
        self.0.entry((load, reader)).or_default().push(run);
    }

    fn summary(&self, load: Load, reader: Reader) -> Option<Summary> {
        let runs = self.0.get(&(load, reader)).filter(|runs| !runs.is_empty())?;
        let percentile = |share: f64| {
            let of_each = runs.iter().filter_map(|run| at(&run.latencies, share));
            median(of_each.map(|nanos| nanos as f64).collect()).map(|nanos| nanos as u64)
        };
        let latency_ns = PERCENTILES.iter().map(|(_, share)| percentile(*share)).collect::<Option<Vec<_>>>();
        Some(Summary {
            frames_per_second: median(runs.iter().map(|run| run.sent as f64 / run.took.as_secs_f64()).collect())?,
            cpu_ns: median(runs.iter().map(cpu_ns).collect())?,
            latency_ns: latency_ns.and_then(|found| found.try_into().ok()),
        })
    }

    /// Plugin by native code.
    fn ratio(&self, load: Load, of: impl Fn(&Summary) -> Option<f64>) -> Option<f64> {
        let of = |reader| self.summary(load, reader).as_ref().and_then(&of);
        Some(of(Reader::Plugin)? / of(Reader::Native)?)
    }

    fn cpu_ratio(&self, load: Load) -> Option<f64> {
        self.ratio(load, |summary| Some(summary.cpu_ns))
    }

    fn latency_ratio(&self, load: Load) -> Option<f64> {
        self.ratio(load, |summary| Some(summary.latency_ns?[1] as f64))
    }

    /// Where a frame's time goes, in nanoseconds by the clock. `None` where too few frames came for one to be timed.
    fn stages(&self, load: Load, reader: Reader) -> Option<[(&'static str, f64); 4]> {
        let runs = self.0.get(&(load, reader))?;
        let stage = |of: fn(&StageTimes) -> Duration| {
            let timed = runs.iter().map(|run| &run.stages).filter(|stages| stages.frames > 0);
            median(timed.map(|stages| of(stages).as_nanos() as f64 / stages.frames as f64).collect())
        };
        Some([
            ("socket", stage(|stages| stages.socket)?),
            ("unpack and record", stage(|stages| stages.unpack)?),
            ("codec", stage(|stages| stages.plugin)?),
            ("store", stage(|stages| stages.store)?),
        ])
    }

    pub(super) fn json(&self, memory: Option<Memory>) -> Value {
        let runs = self.0.iter().filter_map(|(&(load, reader), runs)| {
            let summary = self.summary(load, reader)?;
            let sum = |of: fn(&Run) -> u64| runs.iter().map(of).sum::<u64>();
            let latency = summary.latency_ns.map(|found| {
                PERCENTILES.iter().zip(found).map(|((name, _), nanos)| (*name, nanos)).collect::<BTreeMap<_, _>>()
            });
            let stages =
                self.stages(load, reader).map(|stages| BTreeMap::from(stages.map(|(name, ns)| (name, ns.round()))));
            Some(json!({
                "load": load.name(), "reader": reader.name(), "rounds": runs.len(),
                "sent": sum(|run| run.sent), "received": sum(|run| run.received), "stored": sum(|run| run.stored),
                "frames_per_second": summary.frames_per_second.round(),
                "cpu_ns_per_frame": summary.cpu_ns.round(),
                "cpu_ns_per_frame_by_round": runs.iter().map(|run| cpu_ns(run).round()).collect::<Vec<_>>(),
                "latency_ns": latency,
                "stages_ns_per_frame": stages,
            }))
        });
        let ratios = Load::ALL.into_iter().flat_map(|load| {
            let cpu = self.cpu_ratio(load).map(|ratio| ("cpu_per_frame", ratio, Some(cpu_target(load))));
            let p99 = self.latency_ratio(load);
            let p99 = p99.map(|ratio| ("latency_p99", ratio, (load == Load::Paced).then_some(LATENCY_TARGET)));
            cpu.into_iter().chain(p99).map(move |(what, ratio, target)| {
                json!({ "load": load.name(), "what": what, "plugin_to_native": hundredths(ratio), "target": target })
            })
        });
        json!({
            "runs": runs.collect::<Vec<_>>(),
            "ratios": ratios.collect::<Vec<_>>(),
            "memory": memory.map(|memory| json!({
                "resident_bytes": memory.resident,
                "per_connection_bytes": memory.per_connection, "per_connection_target": CONNECTION_TARGET,
                "per_id_bytes": memory.per_id,
            })),
        })
    }

    pub(super) fn table(&self, rate: usize, memory: Option<Memory>) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        let heads = Reader::ALL.map(Reader::name);
        writeln!(
            out,
            "{:<34}{:>10}{:>10}{:>10}{:>15}{:>9}",
            "", heads[0], heads[1], heads[2], "plugin/native", "target"
        )?;
        for load in Load::ALL {
            let title = match load {
                Load::Full => "as fast as it is read".to_owned(),
                Load::Paced => format!("{rate} frames/s, one a wake-up"),
                Load::Burst => format!("{rate} frames/s, ten a wake-up"),
            };
            writeln!(out, "{title}")?;
            let found = Reader::ALL.map(|reader| self.summary(load, reader));
            let mut row =
                |name: &str, ratio: Option<f64>, target: Option<f64>, of: &dyn Fn(&Summary) -> Option<f64>| {
                    write!(out, "  {name:<32}")?;
                    for summary in &found {
                        match summary.as_ref().and_then(of) {
                            Some(number) if number < 100.0 => write!(out, "{number:>10.1}")?,
                            Some(number) => write!(out, "{number:>10.0}")?,
                            None => write!(out, "{:>10}", "-")?,
                        }
                    }
                    match (ratio, target) {
                        (Some(ratio), Some(target)) => writeln!(out, "{ratio:>15.2}{:>9}", format!("≤ {target:.2}")),
                        (Some(ratio), None) => writeln!(out, "{ratio:>15.2}"),
                        (None, _) => writeln!(out),
                    }
                };
            if load == Load::Full {
                row("frames/s", None, None, &|summary| Some(summary.frames_per_second))?;
            }
            row("CPU ns a frame", self.cpu_ratio(load), Some(cpu_target(load)), &|summary| Some(summary.cpu_ns))?;
            if load != Load::Full {
                for (number, name) in ["p50", "p99", "p99.9"].into_iter().enumerate() {
                    let ratio = self.latency_ratio(load).filter(|_| name == "p99");
                    let target = (load == Load::Paced).then_some(LATENCY_TARGET);
                    let micros = |summary: &Summary| Some(summary.latency_ns?[number] as f64 / 1000.0);
                    row(&format!("sent → read, {name}, µs"), ratio, target, &micros)?;
                }
            }
        }
        for reader in [Reader::Native, Reader::Plugin] {
            let Some(stages) = self.stages(Load::Full, reader) else { continue };
            let stages = stages.map(|(name, nanos)| format!("{name} {nanos:.0}"));
            writeln!(out, "{}, as fast as it is read, ns a frame by the clock: {}", reader.name(), stages.join(", "))?;
        }
        if let Some(memory) = memory {
            let kib = |bytes: u64| bytes as f64 / 1024.0;
            writeln!(
                out,
                "resident: {:.1} MiB; for one more quiet connection {:.1} KiB (target ≤ {}), for one more id {:.2} KiB",
                kib(memory.resident) / 1024.0,
                kib(memory.per_connection),
                CONNECTION_TARGET >> 10,
                kib(memory.per_id)
            )?;
        }
        Ok(out)
    }
}

fn cpu_ns(run: &Run) -> f64 {
    run.cpu.as_nanos() as f64 / run.sent.max(1) as f64
}

pub(super) fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// Of numbers in ascending order, the one below which such a share lies.
pub(super) fn at(sorted: &[u64], share: f64) -> Option<u64> {
    sorted.get((sorted.len().saturating_sub(1) as f64 * share) as usize).copied()
}

pub(super) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let (low, high) = (numbers.get(numbers.len().checked_sub(1)? / 2)?, numbers.get(numbers.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(numbers: &[f64], expected: Option<f64>) {
        assert_eq!(median(numbers.to_vec()), expected);
    }

    #[test]
    fn a_median_lies_in_the_middle() {
        check(&[], None);
        check(&[3.0], Some(3.0));
        check(&[9.0, 1.0], Some(5.0));
        check(&[9.0, 1.0, 2.0], Some(2.0));
    }

    #[test]
    fn a_percentile_is_one_of_the_numbers() {
        let numbers: Vec<u64> = (0..1001).collect();
        let found = PERCENTILES.map(|(_, share)| at(&numbers, share));
        assert_eq!(found, [Some(500), Some(990), Some(999)]);
        assert_eq!(at(&[], 0.5), None);
    }
}
