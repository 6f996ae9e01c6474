//! Accounts of Solana's chain that hold a price: Raydium's concentrated liquidity pools, read from a node.

mod accounts;
mod address;
mod layout;

use std::collections::BTreeMap;

use feedgate_sdk::{
    Absences, Action, Bucket, Description, HttpLimits, Ids, Mirror, Plugin, Scope, Secret, SettingsError, ValueKind,
    settings,
};
use serde::Deserialize;

feedgate_sdk::http_provider!(SolanaAccount);

/// One poller.
struct SolanaAccount {
    settings: Settings,
    /// By the pool's name or address, as it is.
    ids: Ids,
    absences: Absences,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    rpc: String,
    /// By name.
    pools: BTreeMap<String, Pool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Pool {
    /// None: the name is the address.
    address: Option<String>,
    invert: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rpc: ORIGINS[0].to_owned(), pools: BTreeMap::new() }
    }
}

/// Nodes that anybody may ask, and those that want a key. Others can be allowed by the operator.
const ORIGINS: [&str; 4] = [
    "https://api.mainnet-beta.solana.com",
    "https://solana-rpc.publicnode.com",
    "https://mainnet.helius-rpc.com",
    "https://solana-mainnet.g.alchemy.com",
];

/// The largest pools of wrapped SOL with each dollar.
const KNOWN: [(&str, &str); 2] = [
    ("SOL/USDC", "3ucNos4NbumPLZNWztqGHNFFgkHeRMBQAVemeeomsUxv"),
    ("SOL/USDT", "3nMFwZXwY1s1M5s8vYAHqd4wGs4iSxXE4LRoUMMYqEgF"),
];

impl Plugin for SolanaAccount {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Raydium's CLMM pools: the price at which the next small trade would happen".to_owned(),
            documentation: "https://solana.com/docs/rpc/http/getmultipleaccounts".to_owned(),
            origins: ORIGINS.map(str::to_owned).to_vec(),
            mirrors: vec![Mirror::new(ORIGINS[0], &[ORIGINS[1]])],
            // Neither a trade nor half way between two offers.
            values: vec![ValueKind::Other],
            default_ids: KNOWN.map(|(name, _)| name.to_owned()).to_vec(),
            settings_schema: include_str!("settings.json").to_owned(),
            secrets: vec![Secret {
                name: "rpc_key".to_owned(),
                purpose: "The key of a node's service, where the setting `rpc` has ${secret.rpc_key}".to_owned(),
                required: false,
            }],
            buckets: vec![Bucket::new(Action::Request, 40, 10_000, Scope::Origin)],
            // A slot is 400 ms.
            http: Some(HttpLimits { poll_interval_ms: 1_000, timeout_ms: 5_000, max_in_flight: 2 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        let mut settings: Settings = settings::parse(settings)?;
        let wrong = |field: String, why: &str| Err(SettingsError::new(field, why));
        if !settings.rpc.starts_with("https://") && !settings.rpc.starts_with("http://") {
            return wrong("rpc".to_owned(), "the URL of a node: https://…");
        }
        for (name, pool) in &settings.pools {
            if !address::is_address(pool.address.as_ref().unwrap_or(name)) {
                return wrong(format!("pools.{name}.address"), "the pool's account: 32 bytes in base 58");
            }
        }
        for (name, address) in KNOWN {
            let pool = Pool { address: Some(address.to_owned()), invert: false };
            settings.pools.entry(name.to_owned()).or_insert(pool);
        }
        Ok((Self { settings, ids: Ids::new(str::to_owned), absences: Absences::default() }, ValueKind::Other))
    }
}
