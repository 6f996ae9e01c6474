//! A timer that is set anew with every message. To move a timer of the runtime costs as much as a small parse, so one that
//! is to ring later stays where it is: it is moved when it comes up too early. What it rings for is not known here.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Later than anybody waits.
const FAR: Duration = Duration::from_secs(365 * 86_400);

/// See the module.
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    at: Option<Instant>,
}

impl Alarm {
    /// One that does not ring.
    pub(super) fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(FAR)), at: None }
    }

    /// When to ring next; `None`: not at all.
    pub(super) fn set(&mut self, at: Option<Instant>) {
        self.at = at;
        if let Some(at) = at
            && at < self.sleep.deadline()
        {
            self.sleep.as_mut().reset(at);
        }
    }

    /// Waits until that time. May be dropped and called again.
    pub(super) async fn rings(&mut self) {
        loop {
            self.sleep.as_mut().await;
            match self.at {
                Some(at) if at <= self.sleep.deadline() => return,
                later => self.sleep.as_mut().reset(later.unwrap_or_else(|| Instant::now() + FAR)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set to each of these in turn, in seconds, it rings when the last one says.
    #[track_caller]
    fn check(settings: &[Option<u64>], expected: Option<u64>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let start = Instant::now();
            let mut alarm = Alarm::new();
            for at in settings {
                alarm.set(at.map(|seconds| start + Duration::from_secs(seconds)));
                // A look at it, as the loop does with each message.
                assert!(tokio::time::timeout(Duration::ZERO, alarm.rings()).await.is_err() || *at == Some(0));
            }
            let rang = tokio::time::timeout(Duration::from_secs(1_000), alarm.rings()).await;
            assert_eq!(rang.ok().map(|()| start.elapsed().as_secs()), expected, "{settings:?}");
        });
    }

    #[test]
    fn it_rings_when_the_last_setting_says() {
        check(&[Some(5)], Some(5));
        check(&[Some(5), Some(7), Some(9)], Some(9));
        check(&[Some(9), Some(5)], Some(5));
        check(&[Some(9), Some(5), Some(9)], Some(9));
        check(&[Some(5), None], None);
        check(&[None], None);
        check(&[Some(5), None, Some(20)], Some(20));
        check(&[Some(0)], Some(0));
    }
}
