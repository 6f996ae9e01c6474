//! What this process and this machine use, as the system counts it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Processor time of all threads of this process, in user space and in the kernel.
pub(super) fn cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or_default(), u32::try_from(used.tv_nsec).unwrap_or_default())
}

/// Bytes of memory that are resident, of them those that no file backs. `None` where the system does not tell.
pub(super) fn resident() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
    };
    Some((bytes("VmRSS:")?, bytes("RssAnon:")?))
}

/// Processes that want a processor, over the last minute.
pub(super) fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// Lets this process have as many sockets as the system allows. The venue inherits it.
pub(super) fn allow_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // What does not suffice is said where a socket cannot be made.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// How often each thread of this process gave up a processor of its own accord: how often it woke. Nothing where the system
/// does not tell.
pub(super) struct Switches(HashMap<OsString, u64>);

impl Switches {
    pub(super) fn now() -> Self {
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let of_each = threads.filter_map(|thread| {
            let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            Some((thread.file_name(), line.trim().parse::<u64>().ok()?))
        });
        Self(of_each.collect())
    }

    /// Of all threads that are still there: those of one that has ended went with it.
    pub(super) fn since(&self, earlier: &Self) -> u64 {
        // A new thread may have the name of one that has ended.
        self.0.iter().map(|(thread, now)| now.saturating_sub(*earlier.0.get(thread).unwrap_or(&0))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ended_takes_nothing_from_the_others() {
        let switches =
            |of: &[(&str, u64)]| Switches(of.iter().map(|(thread, times)| (thread.into(), *times)).collect());
        let earlier = switches(&[("1", 5), ("2", 90), ("3", 7)]);
        assert_eq!(switches(&[("1", 7), ("3", 2), ("4", 30)]).since(&earlier), 32);
    }
}
