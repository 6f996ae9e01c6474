//! The API's tokens. Only their digests are kept, and what is presented is compared without telling by the time how much
//! of it was right.

use std::fmt;

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;

/// A token that somebody could guess is none. Sixteen letters drawn by chance are beyond guessing over a network.
const MIN_LENGTH: usize = 16;
const MAX_LENGTH: usize = 512;

/// Who shows the text that this was made of may do something.
#[derive(Copy, Clone)]
pub struct Token(ring::digest::Digest);

impl Token {
    /// Refused where it is too short, or could not stand in a header.
    pub fn new(text: &str) -> Result<Self, String> {
        // RFC 6750's, without the rule that `=` stands at the end.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&text.len()) {
            return Err(format!("has {} characters; {MIN_LENGTH} to {MAX_LENGTH} are needed", text.len()));
        }
        if !text.bytes().all(fits) {
            return Err("has characters other than letters, digits and -._~+/=".to_owned());
        }
        Ok(Self(digest(&SHA256, text.as_bytes())))
    }

    /// Whether this is what was presented. Digests are compared, so that not even the length shows.
    pub fn is(&self, presented: &[u8]) -> bool {
        self.0.as_ref().ct_eq(digest(&SHA256, presented).as_ref()).into()
    }

    /// Whether both were made of the same text.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let why = Token::new(text).expect_err("must be refused");
        assert!(why.contains(expected) && !why.contains(text), "{why}");
    }

    #[test]
    fn a_token_is_long_enough_fits_into_a_header_and_is_itself_alone() {
        refused("fifteen-letters", "has 15 characters; 16 to 512 are needed");
        refused(&"x".repeat(513), "has 513 characters");
        refused("sixteen letters and spaces", "characters other than");
        refused("sixteen-letters-é", "characters other than");
        let token = Token::new("sixteen-letters+").expect("a good one");
        for (presented, right) in [
            ("sixteen-letters+", true),
            ("sixteen-letters", false),
            ("sixteen-letters++", false),
            ("Sixteen-letters+", false),
            ("", false),
        ] {
            assert_eq!(token.is(presented.as_bytes()), right, "{presented}");
        }
        assert!(!token.is_same(&Token::new("seventeen-letters").expect("a good one")));
        assert_eq!(format!("{token:?}"), "Token");
    }
}
