//! Which keys belong to a venue's symbol.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

use crate::{Key, Subscription};

/// The ids of one instance by the name that the venue uses in its payloads.
///
/// Two ids may be the same symbol to the venue (`btcusdt` and `BTCUSDT`): each has its key, and a value goes to both.
#[derive(Debug)]
pub struct Ids {
    spell: fn(&str) -> String,
    keys: HashMap<String, Vec<Key>, BuildHasherDefault<Quick>>,
    symbols: BTreeMap<Key, String>,
}

impl Ids {
    /// `spell` turns what the operator wrote into what the venue's payloads say: [`str::to_uppercase`] where the
    /// venue shouts, [`str::to_owned`] where case matters.
    pub fn new(spell: fn(&str) -> String) -> Self {
        Self { spell, keys: HashMap::default(), symbols: BTreeMap::new() }
    }

    /// Adds an id and returns its symbol. Adding it again changes nothing; a key that stood for another id, before the
    /// configuration changed, stands for this one from now on.
    pub fn add(&mut self, subscription: &Subscription) -> &str {
        let symbol = (self.spell)(&subscription.id);
        if self.symbols.get(&subscription.key) != Some(&symbol) {
            self.forget(subscription.key);
            self.keys.entry(symbol.clone()).or_default().push(subscription.key);
        }
        self.symbols.entry(subscription.key).or_insert(symbol)
    }

    /// Removes an id. Returns its symbol when no other id needs it any more.
    pub fn remove(&mut self, subscription: &Subscription) -> Option<String> {
        let symbol = self.forget(subscription.key)?;
        (!self.keys.contains_key(&symbol)).then_some(symbol)
    }

    fn forget(&mut self, key: Key) -> Option<String> {
        let symbol = self.symbols.remove(&key)?;
        if let Some(keys) = self.keys.get_mut(&symbol) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.keys.remove(&symbol);
            }
        }
        Some(symbol)
    }

    /// The symbol of a key.
    pub fn symbol(&self, key: Key) -> Option<&str> {
        self.symbols.get(&key).map(String::as_str)
    }

    /// The keys of a symbol as the payload spells it; none when nobody asked for it.
    pub fn keys(&self, symbol: &str) -> &[Key] {
        self.keys.get(symbol).map_or(&[], Vec::as_slice)
    }
}

/// A hash for names that the operator chose, so that nobody gains by making them collide. Quicker by far than the
/// standard library's.
#[derive(Debug, Default)]
struct Quick(u64);

impl Hasher for Quick {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks();
        let last = rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte));
        for eight in eights.iter().map(|eight| u64::from_le_bytes(*eight)).chain([last]) {
            self.0 = (self.0.rotate_left(5) ^ eight).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    #[inline]
    fn write_u8(&mut self, _: u8) {
        // What ends a text; nothing but one text is hashed here.
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
    fn a_key_stands_for_its_newest_id() {
        let mut ids = Ids::new(str::to_owned);
        ids.add(&subscription(0, "a"));
        assert_eq!(ids.add(&subscription(0, "b")), "b");
        assert!(ids.keys("a").is_empty());
        assert_eq!(ids.keys("b"), [0]);
        assert_eq!(ids.symbol(0), Some("b"));
    }
}
