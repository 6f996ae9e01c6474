//! Messages that never arrived, where the venue numbers all messages of a connection one by one. Numbers that count
//! something else, such as the changes of one book, belong into `Observation::sequence`.

use crate::Events;

/// The number of the newest message of a connection, over all channels. The first one may have any number.
#[derive(Debug, Default)]
pub struct Gaps(Option<u64>);

impl Gaps {
    /// Takes the number of a message that came, and reports how many are missing before it.
    pub fn count(&mut self, number: u64, events: &mut Events) {
        // One that comes late, or twice, leaves none out.
        let missing = self.0.map_or(0, |newest| number.saturating_sub(newest.saturating_add(1)));
        if missing > 0 {
            events.gap(None, missing);
        }
        self.0 = self.0.max(Some(number));
    }
}
