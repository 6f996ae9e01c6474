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
    /// By the hash of their names.
    named: HashMap<u64, Vec<Named>, BuildHasherDefault<Hashed>>,
    symbols: BTreeMap<Key, String>,
}

impl Ids {
    /// `spell` turns what the operator wrote into what the venue's payloads say: [`str::to_uppercase`] where the
    /// venue shouts, [`str::to_owned`] where case matters.
    pub fn new(spell: fn(&str) -> String) -> Self {
        Self { spell, named: HashMap::default(), symbols: BTreeMap::new() }
    }

    /// Adds an id and returns its symbol. Adding it again changes nothing; a key that stood for another id, before the
    /// configuration changed, stands for this one from now on.
    pub fn add(&mut self, subscription: &Subscription) -> &str {
        let symbol = (self.spell)(&subscription.id);
        if self.symbols.get(&subscription.key) != Some(&symbol) {
            self.forget(subscription.key);
            let named = self.named.entry(hash(&symbol)).or_default();
            match named.iter_mut().find(|named| named.symbol == symbol) {
                Some(named) => named.keys.push(subscription.key),
                None => named.push(Named { symbol: symbol.clone(), keys: vec![subscription.key] }),
            }
        }
        self.symbols.entry(subscription.key).or_insert(symbol)
    }

    /// Removes an id. Returns its symbol when no other id needs it any more.
    pub fn remove(&mut self, subscription: &Subscription) -> Option<String> {
        let symbol = self.forget(subscription.key)?;
        self.keys(&symbol).is_empty().then_some(symbol)
    }

    fn forget(&mut self, key: Key) -> Option<String> {
        let symbol = self.symbols.remove(&key)?;
        if let Some(named) = self.named.get_mut(&hash(&symbol)) {
            named.iter_mut().for_each(|named| named.keys.retain(|other| *other != key));
            named.retain(|named| !named.keys.is_empty());
            if named.is_empty() {
                self.named.remove(&hash(&symbol));
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
        let named = self.named.get(&hash(symbol)).map_or(&[][..], Vec::as_slice);
        named.iter().find(|named| equal(&named.symbol, symbol)).map_or(&[], |named| &named.keys)
    }
}

/// A symbol and those that it belongs to.
#[derive(Debug)]
struct Named {
    symbol: String,
    keys: Vec<Key>,
}

/// Of names that the operator chose, so that nobody gains by making them collide. Quicker by far than the standard
/// library's.
#[inline]
fn hash(text: &str) -> u64 {
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let hash = words(text).fold(0, mix);
    // Tables look at the lowest and the highest bits; multiplying leaves little in the lowest.
    hash ^ hash >> 32
}

/// The same as `==`, which WebAssembly does byte by byte.
#[inline]
fn equal(one: &str, other: &str) -> bool {
    one.len() == other.len() && words(one).eq(words(other))
}

/// Eight bytes at a time. Texts of one length have the same words if they are the same.
#[inline]
fn words(text: &str) -> impl Iterator<Item = u64> {
    let (eights, rest) = text.as_bytes().as_chunks();
    let last = match (rest.first_chunk(), rest.last_chunk()) {
        (Some(first), Some(last)) => u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32,
        _ => rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte)),
    };
    eights.iter().map(|eight| u64::from_le_bytes(*eight)).chain([last])
}

/// What is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        // Nothing but one hash is hashed here.
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
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
