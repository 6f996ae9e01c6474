//! How a simulated venue is to be. Plain data; what it does wrong is `fault`'s.

use std::time::Duration;

/// How a venue is to be, apart from what it does wrong.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ids that are listed, in the venue's own spelling, with the prices to start from. Empty
    /// means [`crate::Kind::default_prices`].
    pub prices: Vec<(String, String)>,
    /// How often every price moves; `None` is a market that stands still.
    pub tick: Option<Duration>,
    /// The largest move of one tick in millionths of the price to start from.
    pub step_ppm: u32,
    /// The same seed gives the same walk, and the same channel numbers.
    pub seed: u64,
    /// In place of the venue's own interval of heartbeats or pings.
    pub heartbeat: Option<Duration>,
    /// In place of the venue's own limit of subscriptions on one connection.
    pub subscription_limit: Option<usize>,
    /// In place of the age at which the venue closes a connection, where it does.
    pub max_age: Option<Duration>,
    /// The API key that HTTP requests must bring, where the venue knows one. `None` asks for none.
    pub key: Option<String>,
    /// Whether broken limits have the venue's consequences (429, close, error). They are counted in
    /// any case.
    pub enforce_limits: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prices: Vec::new(),
            tick: Some(Duration::from_millis(200)),
            step_ppm: 500,
            seed: 1,
            heartbeat: None,
            subscription_limit: None,
            max_age: None,
            key: None,
            enforce_limits: true,
        }
    }
}

impl Options {
    /// A market that moves only by [`crate::Venue::push_price`].
    pub fn still() -> Self {
        Self { tick: None, ..Self::default() }
    }

    /// Lists these ids and no others.
    #[must_use]
    pub fn with_prices<'a>(mut self, prices: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.prices = prices.into_iter().map(|(id, price)| (id.to_owned(), price.to_owned())).collect();
        self
    }
}
