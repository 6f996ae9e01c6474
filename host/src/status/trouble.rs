//! What a venue has against us, in a handful of words that every output shares.

/// What a venue has against us. Shown until it serves again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// 451: not from this country.
    GeoBlocked,
    /// 401 and 403: a key, a block, or a country again.
    Forbidden,
    /// 418: too many requests after a warning.
    Banned,
    /// 429, or in the plugin's words.
    RateLimited,
    /// 503, or in the plugin's words.
    Maintenance,
}

impl Trouble {
    pub const ALL: [Self; 5] = [Self::GeoBlocked, Self::Forbidden, Self::Banned, Self::RateLimited, Self::Maintenance];

    /// The word used in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GeoBlocked => "geo-blocked",
            Self::Forbidden => "forbidden",
            Self::Banned => "banned",
            Self::RateLimited => "rate-limited",
            Self::Maintenance => "maintenance",
        }
    }
}
