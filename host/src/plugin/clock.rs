//! The clock of the deadlines. It ticks while a call may be running, and rests while none can be: a quiet daemon wakes
//! for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

/// How often a running guest looks at the clock. Budgets are whole ticks.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// It is kept awake for so many ticks more than was asked for, so that a busy plugin need not ask again at each call.
const AHEAD: u64 = 20;

/// Ticks for an engine, on a thread of its own: a task would not tick while every thread of the runtime is inside a guest.
/// The thread ends with the process.
#[derive(Debug)]
pub(super) struct Clock {
    hands: Arc<Hands>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Hands {
    /// Ticks until now.
    now: AtomicU64,
    /// At this tick it may rest.
    until: AtomicU64,
}

impl Clock {
    pub(super) fn start(tick: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let hands = Arc::<Hands>::default();
        let theirs = hands.clone();
        let thread = std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
            loop {
                let now = theirs.now.load(Ordering::Relaxed);
                if now < theirs.until.load(Ordering::Relaxed) {
                    std::thread::sleep(TICK);
                    theirs.now.store(now + 1, Ordering::Relaxed);
                    tick();
                } else {
                    // Who set `until` after this look unparks, and then this returns at once.
                    std::thread::park();
                }
            }
        })?;
        Ok(Self { hands, thread: thread.thread().clone() })
    }

    /// So many ticks from now are at least this long; and it will tick that often.
    pub(super) fn ticks(&self, time: Duration) -> u64 {
        // One more: the current one is already under way.
        let ticks = u64::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX / 2) + 1;
        // And one more: the engine's count may be a tick ahead of the one that is seen here.
        let needed = self.hands.now.load(Ordering::Relaxed).saturating_add(ticks + 1);
        if self.hands.until.load(Ordering::Relaxed) < needed {
            self.hands.until.fetch_max(needed.saturating_add(AHEAD), Ordering::Relaxed);
            self.thread.unpark();
        }
        ticks
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, sync_channel};

    use super::*;

    #[test]
    fn it_ticks_as_often_as_was_asked_for_and_then_rests() {
        let (tick, ticks) = sync_channel(100);
        let clock = Clock::start(move || tick.send(()).expect("somebody listens")).expect("it starts");
        let rests = || assert_eq!(ticks.recv_timeout(4 * TICK), Err(RecvTimeoutError::Timeout));
        rests();
        let mut ticked = 0;
        for _ in 0..3 {
            let until = ticked + clock.ticks(10 * TICK);
            assert_eq!(until - ticked, 11);
            while ticked < until + AHEAD + 1 {
                ticks.recv().expect("it ticks");
                ticked += 1;
            }
            rests();
        }
        assert_eq!(clock.hands.now.load(Ordering::Relaxed), ticked);
    }
}
