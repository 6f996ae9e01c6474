//! Pools like Uniswap v3's on chains like Ethereum: the present price, read from a node.

mod calls;
mod pools;

use feedgate_sdk::{
    Action, Bucket, Description, HttpLimits, Ids, Mirror, Plugin, Scope, Secret, SettingsError, ValueKind, settings,
};

use self::pools::Settings;

feedgate_sdk::http_provider!(EvmPool);

/// One poller.
struct EvmPool {
    settings: Settings,
    /// By the pool's name in the settings, as it is.
    ids: Ids,
}

/// Nodes that anybody may ask, and those that want a key in their path. Others can be allowed by the operator.
const ORIGINS: &[&str] = &[
    "https://ethereum-rpc.publicnode.com",
    "https://eth.llamarpc.com",
    "https://eth.drpc.org",
    "https://mainnet.base.org",
    "https://base-rpc.publicnode.com",
    "https://arbitrum-one-rpc.publicnode.com",
    "https://optimism-rpc.publicnode.com",
    "https://mainnet.infura.io",
    "https://eth-mainnet.g.alchemy.com",
    "https://base-mainnet.g.alchemy.com",
];

impl Plugin for EvmPool {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Pools like Uniswap v3's: the price at which the next small trade would happen".to_owned(),
            documentation: "https://docs.uniswap.org/contracts/v3/reference/core/interfaces/pool/IUniswapV3PoolState"
                .to_owned(),
            origins: ORIGINS.iter().map(|&origin| origin.to_owned()).collect(),
            mirrors: vec![
                Mirror::new(ORIGINS[0], &ORIGINS[1..3]),
                Mirror::new("https://mainnet.base.org", &["https://base-rpc.publicnode.com"]),
            ],
            // Neither a trade nor half way between two offers.
            values: vec![ValueKind::Other],
            default_ids: vec!["ETH/USDC".to_owned(), "WBTC/USDC".to_owned()],
            settings_schema: include_str!("settings.json").to_owned(),
            secrets: vec![Secret {
                name: "rpc_key".to_owned(),
                purpose: "The key of a node's service, where the setting `rpc` has ${secret.rpc_key}".to_owned(),
                required: false,
            }],
            buckets: vec![Bucket::new(Action::Request, 5, 1_000, Scope::Origin)],
            // Ethereum has a block each 12 seconds, others each one or two.
            http: Some(HttpLimits { poll_interval_ms: 5_000, timeout_ms: 5_000, max_in_flight: 2 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        let settings = settings::parse::<Settings>(settings)?.checked()?;
        Ok((Self { settings, ids: Ids::new(str::to_owned) }, ValueKind::Other))
    }
}
