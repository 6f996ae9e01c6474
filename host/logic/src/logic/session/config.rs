//! What a session is configured with: the rules of the venue and of the operator, and what one connection changes of
//! them. Plain data.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::logic::backoff::BackoffConfig;

/// The rules of a venue, tightened by the operator.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The wait before another attempt.
    pub backoff: BackoffConfig,
    /// From `Action::Connect` to `Session::handle_opened`, whatever is fetched in between.
    pub connect_timeout: Duration,
    /// A connection on which nothing at all was received for this long is dead. Counts from the opening. After half of
    /// it a ping is sent, so that a venue with nothing to say is not taken for a dead one.
    pub idle_timeout: Duration,
    /// `None`: the venue wants none.
    pub heartbeat: Option<Heartbeat>,
    /// From the opening to the first frame of ours, of whatever kind.
    pub first_send_delay: Duration,
    /// Whether to subscribe only after `Session::handle_ready`, which must come within `ack_timeout` of the opening.
    pub waits_for_ready: bool,
    /// Most ids in one `Action::Subscribe` or `Action::Unsubscribe`. `None`: all in one.
    pub ids_per_message: Option<NonZeroUsize>,
    /// Whether the venue answers each subscription. If not, an id counts as acknowledged when it was sent.
    pub acknowledges: bool,
    /// How long such an answer may take, and how long the venue may take to be ready.
    pub ack_timeout: Duration,
    /// The least time between two attempts to revive silent ids, and a tenth of the least time between two
    /// replacements of the connection because of one.
    pub revive_gap: Duration,
    /// How long after the first subscription useful data must have come. `None`: a market may be quiet for ever.
    pub first_data_timeout: Option<Duration>,
    /// The venue cuts connections of this age, so a connection is closed then at the latest. `None`: never. See
    /// [`Overrides::replace_after`].
    pub max_age: Option<Duration>,
}

/// An application-level heartbeat of ours.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Less than 100 ms counts as 100 ms.
    pub interval: Duration,
    /// When it is due.
    pub when: HeartbeatWhen,
}

/// When a heartbeat is due.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HeartbeatWhen {
    /// Every interval from the opening.
    Always,
    /// When nothing was received for an interval, and each further interval.
    Idle,
}

/// What is different on one connection from what the configuration says. Some venues say so when they give out a token.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Overrides {
    /// Replaces [`Heartbeat::interval`]. Means nothing where the configuration has no heartbeat.
    pub heartbeat_interval: Option<Duration>,
    /// Replaces [`SessionConfig::idle_timeout`].
    pub idle_timeout: Option<Duration>,
    /// The age at which a successor is to be opened, which takes over before [`SessionConfig::max_age`].
    pub replace_after: Option<Duration>,
}
