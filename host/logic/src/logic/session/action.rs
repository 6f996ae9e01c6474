//! What a session tells its caller to do, and why it gives a connection up. Plain data.

use crate::contract::observation::Key;

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Dial, and answer with `Session::handle_opened` or `Session::handle_ended`.
    Connect,
    /// Ask for these, and answer with `Session::handle_sent` once the last frame is on its way. Until then there is
    /// no other such message.
    Subscribe(Vec<Key>),
    /// Tell the venue that these are no longer wanted. Answered like [`Action::Subscribe`].
    Unsubscribe(Vec<Key>),
    /// Send the heartbeat of the plugin.
    Heartbeat,
    /// Send a ping of the protocol, to find out whether the venue is gone or has nothing to say.
    Ping,
    /// Open a `Session::successor`, and `Session::stop` this one when the successor delivers. This one serves until
    /// then. Said once for a connection, and again only after `Session::handle_not_replaced`.
    Replace(CloseReason),
    /// Give up the socket, or the dial under way, and answer with `Session::handle_ended`.
    Close(CloseReason),
}

/// Why a connection is given up by us.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// Nothing was received for too long, not even an answer to a ping.
    Idle,
    /// It did not open in time.
    ConnectTimeout,
    /// The venue was not ready in time.
    ReadyTimeout,
    /// No useful data came in time.
    FirstDataTimeout,
    /// It is as old as it may get.
    MaxAge,
    /// `Session::rotate`.
    Rotation,
    /// An id stays silent although it was asked for again.
    Silence,
    /// Its codec is used up: `Session::handle_worn`.
    Worn,
    /// The venue asked for it: `Session::handle_reconnect`.
    Venue,
    /// No id is left to ask for.
    NothingToDo,
    /// `Session::stop`.
    Stopped,
}
