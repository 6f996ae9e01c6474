//! How Raydium's program lays out the state of a concentrated liquidity pool, as far as a price needs it.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | what kind of account it is: the beginning of the SHA-256 of `account:PoolState` |
//! | 8..233 | bump; the keys of config, owner, both mints, both vaults, observations |
//! | 233, 234 | decimals of token 0 and token 1 |
//! | 235..253 | tick spacing, liquidity |
//! | 253..269 | `sqrt_price_x64`: √(token 1 for one token 0), both in smallest units, × 2^64, little-endian |

use feedgate_sdk::{Malformed, pool::BigUint};

/// The program that owns all pools.
pub(crate) const PROGRAM: &str = "CAMMCzo5YL8w4VFF8KVHrK22GGUsp5VTaW7grrKgrWqK";

/// How much of an account is asked for.
pub(crate) const LENGTH: usize = 269;

/// The fixed point of the square root.
pub(crate) const BITS: u64 = 64;

const KIND: [u8; 8] = [247, 237, 227, 245, 215, 195, 222, 70];

/// The roots of the lowest and the highest price that a pool can have.
const LOWEST: u128 = 4_295_048_016;
const HIGHEST: u128 = 79_226_673_521_066_979_257_578_248_091;

/// What an account says.
#[derive(Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) decimals: [u8; 2],
    /// None: there was no liquidity yet.
    pub(crate) root: Option<BigUint>,
}

pub(crate) fn read(account: &[u8]) -> Result<State, Malformed> {
    let Some(account) = account.first_chunk::<LENGTH>() else {
        return Err(Malformed::new("an account too short for a pool"));
    };
    if !account.starts_with(&KIND) {
        return Err(Malformed::new("an account of another kind than a pool"));
    }
    let decimals = [account[233], account[234]];
    if decimals.iter().any(|&decimals| decimals > 36) {
        return Err(Malformed::new("a token of more than 36 decimals"));
    }
    let root = account.last_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes));
    match root {
        0 => Ok(State { decimals, root: None }),
        LOWEST..=HIGHEST => Ok(State { decimals, root: Some(root.into()) }),
        _ => Err(Malformed::new("a square root beyond those of a pool")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        let account = |kind: [u8; 8], decimals: [u8; 2], root: u128| {
            let mut account = vec![0xaa; LENGTH];
            account[..8].copy_from_slice(&kind);
            account[233..235].copy_from_slice(&decimals);
            account[253..].copy_from_slice(&root.to_le_bytes());
            account
        };
        let state = |decimals, root: Option<u128>| State { decimals, root: root.map(Into::into) };
        assert_eq!(read(&account(KIND, [9, 6], 1 << 64)), Ok(state([9, 6], Some(1 << 64))));
        assert_eq!(read(&account(KIND, [9, 6], 0)), Ok(state([9, 6], None)));
        assert_eq!(read(&[account(KIND, [9, 6], 1 << 70), vec![7; 100]].concat()), Ok(state([9, 6], Some(1 << 70))));
        for broken in [
            account([0; 8], [9, 6], 1 << 64),
            account(KIND, [9, 37], 1 << 64),
            account(KIND, [9, 6], LOWEST - 1),
            account(KIND, [9, 6], HIGHEST + 1),
            account(KIND, [9, 6], 1 << 64)[..LENGTH - 1].to_vec(),
            Vec::new(),
        ] {
            assert!(read(&broken).is_err(), "{broken:?}");
        }
    }
}
