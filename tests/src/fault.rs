//! What a venue can be told to do wrong, and what it can be told to announce.

/// What is wrong with a venue from now on, for new connections and, where it says so, for live
/// ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Fault {
    #[default]
    None,
    /// New connections are reset as soon as they are accepted. Live ones go on.
    Refuse,
    /// New connections are accepted and never answered. Live ones fall silent for good: nothing is
    /// read, nothing is sent, and no ping is answered.
    Hang,
    /// Live connections are reset now, new ones once they have sent their request. For a single
    /// blow, which no later fault can overtake, there is [`Venue::cut`](crate::Venue::cut).
    Reset,
    /// WebSockets open and are closed at once with a close frame, live ones too. HTTP requests get
    /// no answer, but the end of the connection.
    CloseAfterAccept,
    /// Every frame is broken JSON, the wrong shape or random bytes, live ones too. HTTP bodies
    /// likewise.
    Garbage,
    /// Everything is acknowledged and heartbeats go on, but no price comes, on live connections
    /// too.
    Silent,
    /// Every subscription is refused in the venue's words; every id is unknown over HTTP.
    RejectAll,
    /// WebSocket data skips one number of the sequence each time, where the venue has a sequence.
    SequenceGaps,
    /// HTTP requests and WebSocket handshakes are answered with this status, and `Retry-After` if
    /// given.
    Status { code: u16, retry_after: Option<String> },
    /// Status 200 with a page for people, as captive portals and bot walls send.
    Html,
    /// Status 200 and nothing.
    EmptyBody,
    /// A body of so many bytes; on a WebSocket one frame of so many bytes, on live connections too.
    HugeBody(usize),
    /// Status 200 with the venue's error in the body.
    ErrorInside200,
    /// A redirect to the same place, for ever.
    RedirectLoop,
    /// A redirect to this URL.
    RedirectTo(String),
    /// The right body, one byte each 100 ms.
    SlowBody,
    /// The right body, cut off in the middle.
    TruncatedBody,
}

impl Fault {
    /// `429` with `Retry-After`.
    pub fn too_many_requests(retry_after: &str) -> Self {
        Self::Status { code: 429, retry_after: Some(retry_after.to_owned()) }
    }
}

/// What a venue says to its live WebSocket clients about itself, each in its own words. Venues that
/// have no such message say nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Notice {
    /// The server will go away: connect again.
    Restart,
    MaintenanceStart,
    MaintenanceEnd,
}
