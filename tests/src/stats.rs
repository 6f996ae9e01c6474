//! What a venue saw. Plain data.

use std::collections::{BTreeMap, VecDeque};

use crate::http::Request;

/// What happened at a venue since it started, and what is open now.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// TCP connections accepted, also those that were then refused.
    pub accepts: u64,
    /// WebSockets opened.
    pub connects: u64,
    /// WebSockets open now.
    pub open: usize,
    /// HTTP requests other than WebSocket handshakes.
    pub requests: u64,
    /// Text and binary messages from clients.
    pub received: u64,
    /// Text and binary messages to clients.
    pub sent: u64,
    /// Protocol pings from clients.
    pub pings: u64,
    /// Protocol pongs from clients.
    pub pongs: u64,
    /// Subscriptions to listed ids that are live now, over all connections.
    pub subscriptions: usize,
    /// The same by id.
    pub subscribed: BTreeMap<String, usize>,
    /// Every breach of the venue's documented limits, in words. The first thousand.
    pub violations: Vec<String>,
    /// The newest messages from clients, oldest first. The last 256.
    pub messages: VecDeque<String>,
    pub last_request: Option<Request>,
    pub last_handshake: Option<Request>,
}

impl Stats {
    pub(crate) fn violation(&mut self, text: String) {
        if self.violations.len() < 1000 {
            self.violations.push(text);
        }
    }

    pub(crate) fn message(&mut self, text: &str) {
        self.received += 1;
        if self.messages.len() == 256 {
            self.messages.pop_front();
        }
        self.messages.push_back(text.to_owned());
    }

    /// Replaces what one connection is subscribed to.
    pub(crate) fn resubscribe(&mut self, before: &[String], after: &[String]) {
        self.subscriptions = (self.subscriptions + after.len()).saturating_sub(before.len());
        for id in before {
            if let Some(count) = self.subscribed.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    self.subscribed.remove(id);
                }
            }
        }
        for id in after {
            *self.subscribed.entry(id.clone()).or_default() += 1;
        }
    }
}
