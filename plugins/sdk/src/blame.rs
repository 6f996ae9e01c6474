//! Whom a refusal means, by the words that the venue says. Which request it answers is `requests`'.

use crate::{Ids, Key};

/// Whether a text names an id, in any script and any case, by itself: `BTC-USD` does not stand in `BTC-USDC`.
pub fn names(text: &str, id: &str) -> bool {
    let (text, id) = (text.to_lowercase(), id.to_lowercase());
    let goes_on = |neighbour: Option<char>| {
        neighbour.is_some_and(|character| character.is_alphanumeric() || "-_".contains(character))
    };
    let alone = |start: usize| {
        let (before, after) = (&text[..start], &text[start + id.len()..]);
        !goes_on(before.chars().next_back()) && !goes_on(after.chars().next())
    };
    !id.is_empty() && text.match_indices(&id).any(|(start, _)| alone(start))
}

/// The keys of a request that was refused as a whole, told apart by whether the venue's words blame them.
#[derive(Debug, PartialEq, Eq)]
pub struct Blame {
    /// Those that the words name; all of the request where they name none.
    pub refused: Vec<Key>,
    /// Those that are not to blame and still wanted: ask for them again.
    pub again: Vec<Key>,
    /// Whether the words mean just those that are refused. If not, refuse them [for now](crate::Rejection::for_now): the
    /// host asks again in smaller portions.
    pub certain: bool,
}

impl Blame {
    /// Tells apart the keys of a request that was refused with these words.
    ///
    /// ```
    /// # use feedgate_sdk::{Blame, Ids, Subscription};
    /// let mut ids = Ids::new(str::to_uppercase);
    /// ids.add_all(&[(0, "btc-usd"), (1, "nope-usd")].map(|(key, id)| Subscription { key, id: id.to_owned() }));
    /// let blame = Blame::of(&ids, "no such market: NOPE-USD", vec![0, 1]);
    /// assert_eq!(blame, Blame { refused: vec![1], again: vec![0], certain: true });
    /// ```
    pub fn of(ids: &Ids, words: &str, keys: Vec<Key>) -> Self {
        let is_named = |key: Key| ids.symbol(key).is_some_and(|symbol| names(words, symbol));
        let (named, others): (Vec<_>, Vec<_>) = keys.iter().partition(|&&key| is_named(key));
        // Words that name nobody, or all, single nobody out.
        let (refused, mut again) = if named.is_empty() { (keys, Vec::new()) } else { (named, others) };
        let mut symbols = refused.iter().map(|&key| ids.symbol(key));
        let first = symbols.next();
        let certain = !again.is_empty() || symbols.all(|symbol| Some(symbol) == first);
        again.retain(|&key| ids.symbol(key).is_some());
        Self { refused, again, certain }
    }
}

#[cfg(test)]
mod tests {
    use crate::Subscription;

    use super::*;

    #[test]
    fn an_id_is_named_by_itself() {
        for (text, id, named) in [
            ("unknown currency pair NOPE_USDT", "NOPE_USDT", true),
            ("topic /market/ticker:BTC-USD,ETH-USD is not found", "eth-usd", true),
            ("no BTC-USDC here", "BTC-USD", false),
            ("no OLD_BTC_USDT here", "BTC_USDT", false),
            ("", "BTC-USD", false),
            ("BTC-USD", "", false),
            ("unknown currency pair: 币安人生_USDT", "币安人生_USDT", true),
            ("no 我币安人生_USDT here", "币安人生_USDT", false),
            ("no 币安人生_USDT here", "USDT", false),
            ("no ÄPFEL_USDT here", "äpfel_usdt", true),
            ("no 🚀_USDT here", "🚀_USDT", true),
            ("no A.B_USDT here", "A.B_USDT", true),
            ("no BTC-USDC, BTC-USD.", "BTC-USD", true),
        ] {
            assert_eq!(names(text, id), named, "{text:?} and {id}");
        }
    }

    #[test]
    fn words_single_out_or_they_do_not() {
        let mut ids = Ids::new(str::to_uppercase);
        ids.add_all(
            &[(0, "btc-usd"), (1, "BTC-USD"), (2, "eth-usd")].map(|(key, id)| Subscription { key, id: id.into() }),
        );
        for (words, keys, refused, again, certain) in [
            ("no ETH-USD", &[0, 1, 2][..], &[2][..], &[0, 1][..], true),
            ("no BTC-USD", &[0, 1, 2], &[0, 1], &[2], true),
            // The key 9 was given up.
            ("no ETH-USD", &[2, 9], &[2], &[], true),
            ("no BTC-USD,ETH-USD", &[0, 1, 2], &[0, 1, 2], &[], false),
            ("no", &[0, 1, 2], &[0, 1, 2], &[], false),
            ("no", &[0, 9], &[0, 9], &[], false),
            ("no", &[0, 1], &[0, 1], &[], true),
        ] {
            let expected = Blame { refused: refused.to_vec(), again: again.to_vec(), certain };
            assert_eq!(Blame::of(&ids, words, keys.to_vec()), expected, "{words} {keys:?}");
        }
    }
}
