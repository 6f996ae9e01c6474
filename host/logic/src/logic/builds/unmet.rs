//! Why a build that the operator names cannot be had, in words.

use std::fmt;

/// Why a wish of the operator cannot be met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unmet {
    Unknown(String),
    Ambiguous(String),
    NothingBefore,
    NotHeld(String),
}

impl std::error::Error for Unmet {}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(digits) => write!(f, "no build {digits} of this plugin is known"),
            Self::Ambiguous(digits) => write!(f, "several builds begin with {digits}"),
            Self::NothingBefore => f.write_str("no other good build of this plugin is known"),
            Self::NotHeld(digits) => write!(f, "nothing speaks against build {digits}"),
        }
    }
}
