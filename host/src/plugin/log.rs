//! What plugins log and print: how many lines a second, and how long.

use std::sync::{Mutex, PoisonError};

/// Longest line that is logged; the rest of it is dropped.
pub(super) const MAX_LINE: usize = 1024;

/// `text` cut to `max` bytes at a character's edge.
pub(super) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// So many lines a second; the first one after a drop says how many were lost.
pub(super) struct LogLines {
    per_second: u32,
    second: u64,
    used: u32,
    dropped: u64,
    started: tokio::time::Instant,
}

impl LogLines {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, second: 0, used: 0, dropped: 0, started: tokio::time::Instant::now() }
    }

    pub(super) fn admit(lines: &Mutex<Self>) -> bool {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let second = lines.started.elapsed().as_secs();
        if second != lines.second {
            (lines.second, lines.used) = (second, 0);
            if lines.dropped > 0 {
                tracing::warn!(dropped = lines.dropped, "plugin log lines over plugin_limits.log_lines_per_second");
                lines.dropped = 0;
            }
        }
        lines.used = lines.used.saturating_add(1);
        let admitted = lines.used <= lines.per_second;
        lines.dropped += u64::from(!admitted);
        admitted
    }
}
