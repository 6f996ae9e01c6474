//! Which keys belong to a venue's symbol, and which ids can be symbols at all.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

use crate::{Error, Key, Rejection, Subscription};

/// Refuses the ids that cannot be the venue's, before any is asked for: the host calls again without them. `why` is for the
/// operator, and says how an id is written.
///
/// ```
/// # use feedgate_sdk::{Error, Rejection, Subscription, check_ids};
/// # let subscriptions = [Subscription { key: 7, id: "BTC/USD".to_owned() }];
/// let possible = |id: &str| id.bytes().all(|byte| byte.is_ascii_alphanumeric());
/// assert_eq!(
///     check_ids(&subscriptions, possible, "not a symbol: write it like BTCUSD"),
///     Err(Error::Rejected(vec![Rejection::permanent(7, "not a symbol: write it like BTCUSD")]))
/// );
/// ```
pub fn check_ids(subscriptions: &[Subscription], possible: impl Fn(&str) -> bool, why: &str) -> Result<(), Error> {
    let impossible = subscriptions.iter().filter(|subscription| !possible(&subscription.id));
    let rejected: Vec<_> = impossible.map(|subscription| Rejection::permanent(subscription.key, why)).collect();
    if rejected.is_empty() { Ok(()) } else { Err(Error::Rejected(rejected)) }
}

/// The keys of these ids, in their order.
pub fn keys_of(subscriptions: &[Subscription]) -> Vec<Key> {
    subscriptions.iter().map(|subscription| subscription.key).collect()
}

/// The ids of one instance by the name that the venue uses in its payloads.
///
/// Two ids may be the same symbol to the venue (`btcusdt` and `BTCUSDT`): each has its key, and a value goes to both.
#[derive(Debug)]
pub struct Ids {
    spell: fn(&str) -> String,
    short: HashMap<Short, Vec<Key>, BuildHasherDefault<Mixed>>,
    long: BTreeMap<String, Vec<Key>>,
    symbols: BTreeMap<Key, String>,
}

impl Ids {
    /// `spell` turns what the operator wrote into what the venue's payloads say: [`str::to_uppercase`] where the
    /// venue shouts, [`str::to_owned`] where case matters.
    pub fn new(spell: fn(&str) -> String) -> Self {
        Self { spell, short: HashMap::default(), long: BTreeMap::new(), symbols: BTreeMap::new() }
    }

    /// Adds an id and returns its symbol. Adding it again changes nothing; a key that stood for another id, before the
    /// configuration changed, stands for this one from now on.
    pub fn add(&mut self, subscription: &Subscription) -> &str {
        let symbol = (self.spell)(&subscription.id);
        if self.symbols.get(&subscription.key) != Some(&symbol) {
            self.forget(subscription.key);
            let keys = match Short::of(&symbol) {
                Some(short) => self.short.entry(short).or_default(),
                None => self.long.entry(symbol.clone()).or_default(),
            };
            keys.push(subscription.key);
        }
        self.symbols.entry(subscription.key).or_insert(symbol)
    }

    /// Adds ids and returns their symbols, sorted and each once: two ids may be one symbol.
    pub fn add_all(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        each_once(subscriptions.iter().map(|subscription| self.add(subscription).to_owned()).collect())
    }

    /// Removes an id. Returns its symbol when no other id needs it any more.
    pub fn remove(&mut self, subscription: &Subscription) -> Option<String> {
        let symbol = self.forget(subscription.key)?;
        self.keys(&symbol).is_empty().then_some(symbol)
    }

    /// Removes ids. Returns the symbols that no other id needs any more.
    pub fn remove_all(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        subscriptions.iter().filter_map(|subscription| self.remove(subscription)).collect()
    }

    fn forget(&mut self, key: Key) -> Option<String> {
        let symbol = self.symbols.remove(&key)?;
        let others = |keys: &mut Vec<Key>| {
            keys.retain(|other| *other != key);
            keys.is_empty()
        };
        match Short::of(&symbol) {
            Some(short) => {
                if self.short.get_mut(&short).is_some_and(others) {
                    self.short.remove(&short);
                }
            }
            None => {
                if self.long.get_mut(&symbol).is_some_and(others) {
                    self.long.remove(&symbol);
                }
            }
        }
        Some(symbol)
    }

    /// The symbol of a key.
    pub fn symbol(&self, key: Key) -> Option<&str> {
        self.symbols.get(&key).map(String::as_str)
    }

    /// The symbols of keys, sorted and each once. A key that was removed has none.
    pub fn symbols(&self, keys: &[Key]) -> Vec<String> {
        each_once(keys.iter().filter_map(|&key| self.symbol(key)).map(str::to_owned).collect())
    }

    /// The keys of a symbol as the payload spells it; none when nobody asked for it.
    pub fn keys(&self, symbol: &str) -> &[Key] {
        let keys = match Short::of(symbol) {
            Some(short) => self.short.get(&short),
            None => self.long.get(symbol),
        };
        keys.map_or(&[], Vec::as_slice)
    }
}

fn each_once(mut symbols: Vec<String>) -> Vec<String> {
    symbols.sort_unstable();
    symbols.dedup();
    symbols
}

/// A name of at most sixteen bytes, as nearly all are, in two words that nothing has to be counted through for. Texts of
/// one length have the same words only if they are the same.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Short {
    first: u64,
    last: u64,
    length: usize,
}

impl Short {
    #[inline]
    fn of(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (first, last) = match bytes.len() {
            // They overlap where there are less than two.
            8..=16 => (u64::from_le_bytes(*bytes.first_chunk()?), u64::from_le_bytes(*bytes.last_chunk()?)),
            4..8 => (u32::from_le_bytes(*bytes.first_chunk()?).into(), u32::from_le_bytes(*bytes.last_chunk()?).into()),
            0..4 => (bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)), 0),
            _ => return None,
        };
        Some(Self { first, last, length: bytes.len() })
    }
}

/// Words mixed with little work. Of names that the operator chose, so that nobody gains by making them collide.
#[derive(Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    // The length, which the words say nearly always.
    #[inline]
    fn write_usize(&mut self, length: usize) {
        self.0 ^= length as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    #[inline]
    fn finish(&self) -> u64 {
        // Tables look at the lowest and the highest bits; multiplying leaves little in the lowest.
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(key: Key, id: &str) -> Subscription {
        Subscription { key, id: id.to_owned() }
    }

    #[test]
    fn two_spellings_share_a_symbol() {
        let mut ids = Ids::new(str::to_uppercase);
        assert_eq!(ids.add(&subscription(0, "btcusdt")), "BTCUSDT");
        ids.add(&subscription(1, "BTCUSDT"));
        ids.add(&subscription(1, "BTCUSDT"));
        assert_eq!(ids.keys("BTCUSDT"), [0, 1]);
        assert!(ids.keys("btcusdt").is_empty());
        assert_eq!(ids.remove(&subscription(0, "btcusdt")), None);
        assert_eq!(ids.remove(&subscription(1, "BTCUSDT")), Some("BTCUSDT".to_owned()));
        assert_eq!(ids.remove(&subscription(1, "BTCUSDT")), None);
    }

    #[test]
    fn all_at_once() {
        let mut ids = Ids::new(str::to_uppercase);
        let all = [subscription(2, "ethusdt"), subscription(0, "btcusdt"), subscription(1, "BTCUSDT")];
        assert_eq!(keys_of(&all), [2, 0, 1]);
        assert_eq!(ids.add_all(&all), ["BTCUSDT", "ETHUSDT"]);
        assert_eq!(ids.symbols(&[2, 1, 0, 9]), ["BTCUSDT", "ETHUSDT"]);
        assert_eq!(ids.remove_all(&all[..2]), ["ETHUSDT"]);
        assert_eq!(ids.remove_all(&all), ["BTCUSDT"]);
    }

    #[test]
    fn no_two_symbols_are_one() {
        // Of each length, one that differs from its neighbours in one place only, and one that is a zero byte longer.
        let text = |length: usize, other: usize| {
            (0..length).map(|place| if place == other { 'x' } else { 'A' }).collect::<String>()
        };
        let of_length =
            |length: usize| (0..=length).map(move |other| text(length, other)).chain([text(length, 99) + "\0"]);
        let symbols: Vec<String> = (1..24).flat_map(of_length).collect();
        let mut ids = Ids::new(str::to_owned);
        for (key, symbol) in (0..).zip(&symbols) {
            ids.add(&subscription(key, symbol));
        }
        for (key, symbol) in (0..).zip(&symbols) {
            assert_eq!(ids.keys(symbol), [key], "{symbol:?}");
        }
        assert!(ids.keys("").is_empty());
    }

    #[test]
    fn a_key_stands_for_its_newest_id() {
        let mut ids = Ids::new(str::to_owned);
        ids.add(&subscription(0, "a"));
        assert_eq!(ids.add(&subscription(0, "b")), "b");
        assert!(ids.keys("a").is_empty());
        assert_eq!(ids.keys("b"), [0]);
        assert_eq!(ids.symbol(0), Some("b"));
    }
}
