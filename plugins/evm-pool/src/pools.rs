//! Which pools there are, and what their tokens are like.

use std::collections::BTreeMap;

use feedgate_sdk::SettingsError;
use serde::Deserialize;

/// No token has more, and prices stay far from the exponents that the host takes.
const MOST_DECIMALS: u8 = 36;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub(crate) rpc: String,
    /// By name.
    pub(crate) pools: BTreeMap<String, Pool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pool {
    /// None: the name is the address.
    pub(crate) address: Option<String>,
    /// Of token 0 and token 1.
    pub(crate) decimals: [u8; 2],
    #[serde(default)]
    pub(crate) invert: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rpc: crate::ORIGINS[0].to_owned(), pools: BTreeMap::new() }
    }
}

impl Settings {
    /// With the pools that need no settings; those of the operator go before them.
    pub(crate) fn checked(mut self) -> Result<Self, SettingsError> {
        let wrong = |field: String, why: &str| Err(SettingsError::new(field, why));
        if !self.rpc.starts_with("https://") && !self.rpc.starts_with("http://") {
            return wrong("rpc".to_owned(), "the URL of a node: https://…");
        }
        for (name, pool) in &self.pools {
            if !is_address(pool.address.as_ref().unwrap_or(name)) {
                return wrong(format!("pools.{name}.address"), "the pool's contract: 0x and 40 hexadecimal digits");
            }
            if pool.decimals.iter().any(|&decimals| decimals > MOST_DECIMALS) {
                return wrong(format!("pools.{name}.decimals"), "the decimals of token0 and token1, up to 36 each");
            }
        }
        for (name, address, decimals, invert) in KNOWN {
            let pool = Pool { address: Some(address.to_owned()), decimals, invert };
            self.pools.entry(name.to_owned()).or_insert(pool);
        }
        Ok(self)
    }
}

/// On Ethereum: USDC and wrapped Ether at 0.05 %, wrapped Bitcoin and USDC at 0.3 %.
const KNOWN: [(&str, &str, [u8; 2], bool); 2] = [
    ("ETH/USDC", "0x88e6a0c2ddd26feeb64f039a2c41296fcb3f5640", [6, 18], true),
    ("WBTC/USDC", "0x99ac8ca7087fa4a2a1fb6357269965a2014abc35", [8, 6], false),
];

fn is_address(text: &str) -> bool {
    text.strip_prefix("0x")
        .is_some_and(|digits| digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use feedgate_sdk::settings;

    use super::*;

    #[test]
    fn what_does_not_fit_is_named() {
        let check = |text: &str| settings::parse::<Settings>(text).and_then(Settings::checked).map(|_| ());
        let field = |text: &str| check(text).unwrap_err().field;
        assert_eq!(check("{}"), Ok(()));
        let address = "0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640";
        assert_eq!(check(&format!(r#"{{"pools":{{"{address}":{{"decimals":[6,18]}}}}}}"#)), Ok(()));
        assert_eq!(check(&format!(r#"{{"pools":{{"A":{{"address":"{address}","decimals":[6,18]}}}}}}"#)), Ok(()));
        for (text, expected) in [
            (r#"{"rpc":"localhost:8545"}"#, "rpc"),
            (r#"{"pools":{"A":{"decimals":[6,18]}}}"#, "pools.A.address"),
            (r#"{"pools":{"A":{"address":"0x88","decimals":[6,18]}}}"#, "pools.A.address"),
            (&format!(r#"{{"pools":{{"{address}":{{"decimals":[6,37]}}}}}}"#), &format!("pools.{address}.decimals")),
        ] {
            assert_eq!(field(text), expected, "{text}");
        }
        assert!(field(r#"{"pools":{"A":{"address":"0x88"}}}"#).starts_with("pools.A"));
        assert!(field(r#"{"pools":{"A":{"decimals":[1]}}}"#).starts_with("pools.A.decimals"));
    }
}
