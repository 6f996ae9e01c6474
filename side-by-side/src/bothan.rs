//! Bothan's sides: its `start_listening`, with the provider and the store that are named.

use std::collections::HashMap;
use std::convert::Infallible;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bothan_binance::WorkerOpts;
use bothan_lib::metrics::websocket::Metrics;
use bothan_lib::registry::{Registry, Valid};
use bothan_lib::store::{Store, WorkerStore};
use bothan_lib::types::AssetInfo;
use bothan_lib::worker::AssetWorker;
use bothan_lib::worker::websocket::{AssetInfoProvider, AssetInfoProviderConnector, Data, start_listening};
use futures_util::{SinkExt, StreamExt};
use rust_decimal::Decimal;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

/// Provider and store of each side.
pub const SIDES: &[(&str, &str)] = &[
    ("plain", "memory"),
    ("shipped", "memory"),
    #[cfg(feature = "rocksdb")]
    ("plain", "rocksdb"),
    #[cfg(feature = "rocksdb")]
    ("shipped", "rocksdb"),
];

const IDS: [&str; 1] = ["btcusdt"];

/// What its own workers use.
const TIMEOUT: Duration = Duration::from_secs(720);

/// Runs until it is killed.
pub fn run(provider: &str, store: &str, url: &str) {
    // Its server's runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match store {
            "memory" => listen(provider, &Memory::default(), url).await,
            #[cfg(feature = "rocksdb")]
            "rocksdb" => {
                let directory = tempfile::TempDir::new().expect("a temporary directory");
                let store = bothan_core::store::rocksdb::RocksDbStore::new(directory.path()).expect("it opens");
                listen(provider, &store, url).await;
            }
            other => panic!("no store {other}"),
        }
    });
}

async fn listen<S: Store + 'static>(provider: &str, store: &S, url: &str) {
    let ids = IDS.map(str::to_owned).to_vec();
    match provider {
        "shipped" => {
            let options = WorkerOpts { url: url.to_owned(), ..WorkerOpts::default() };
            let _worker = bothan_binance::Worker::build(options, store, ids).await.expect("it starts");
            std::future::pending::<()>().await;
        }
        "plain" => {
            let connector = Arc::new(Connector { url: url.to_owned() });
            let (store, metrics) =
                (WorkerStore::new(store, "binance"), Metrics::new("binance", "binance_0".to_owned()));
            // A task, as its workers do.
            let listening = start_listening(CancellationToken::new(), connector, store, ids, TIMEOUT, metrics);
            tokio::spawn(listening).await.expect("it never ends");
        }
        other => panic!("no provider {other}"),
    }
}

/// A plain store: one map behind a lock.
#[derive(Clone, Default)]
struct Memory {
    /// By id, of the one source.
    assets: Arc<Mutex<HashMap<String, AssetInfo>>>,
}

impl Memory {
    fn insert(&self, assets: impl IntoIterator<Item = AssetInfo>) {
        let mut held = self.assets.lock().unwrap_or_else(PoisonError::into_inner);
        for asset in assets {
            match held.get_mut(&asset.id) {
                Some(held) => *held = asset,
                None => _ = held.insert(asset.id.clone(), asset),
            }
        }
    }
}

#[async_trait::async_trait]
impl Store for Memory {
    type Error = Infallible;

    async fn set_registry(&self, _: Registry<Valid>, _: String) -> Result<(), Infallible> {
        Ok(())
    }

    async fn get_registry(&self) -> Result<Registry<Valid>, Infallible> {
        Ok(Registry::default())
    }

    async fn get_registry_ipfs_hash(&self) -> Result<Option<String>, Infallible> {
        Ok(None)
    }

    async fn get_asset_info(&self, _: &str, id: &str) -> Result<Option<AssetInfo>, Infallible> {
        Ok(self.assets.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned())
    }

    async fn insert_asset_info(&self, _: &str, asset: AssetInfo) -> Result<(), Infallible> {
        self.insert([asset]);
        Ok(())
    }

    async fn insert_batch_asset_info(&self, _: &str, assets: Vec<AssetInfo>) -> Result<(), Infallible> {
        self.insert(assets);
        Ok(())
    }
}

/// The provider that `bothan-binance` ships, but for one thing: it knows what kind of message to expect. The shipped one
/// tries one kind after the other on a copy of the message (`#[serde(untagged)]`).
struct Connector {
    url: String,
}

struct Connection(WebSocketStream<MaybeTlsStream<TcpStream>>);

#[derive(Deserialize)]
struct StreamEvent {
    #[expect(dead_code, reason = "the shipped provider reads it too")]
    stream: String,
    data: MiniTicker,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "the shipped provider reads them all")]
struct MiniTicker {
    #[serde(rename = "E")]
    event_time: i64,
    #[serde(rename = "s")]
    symbol: String,
    #[serde(rename = "c")]
    close_price: String,
    #[serde(rename = "o")]
    open_price: String,
    #[serde(rename = "h")]
    high_price: String,
    #[serde(rename = "l")]
    low_price: String,
    #[serde(rename = "v")]
    base_volume: String,
    #[serde(rename = "q")]
    quote_volume: String,
}

#[async_trait::async_trait]
impl AssetInfoProviderConnector for Connector {
    type Provider = Connection;
    type Error = tungstenite::Error;

    async fn connect(&self) -> Result<Connection, tungstenite::Error> {
        Ok(Connection(connect_async(self.url.clone()).await?.0))
    }
}

#[async_trait::async_trait]
impl AssetInfoProvider for Connection {
    type SubscriptionError = tungstenite::Error;
    type ListeningError = String;

    async fn subscribe(&mut self, ids: &[String]) -> Result<(), tungstenite::Error> {
        let streams: Vec<_> = ids.iter().map(|id| format!("{id}@miniTicker")).collect();
        let request = serde_json::json!({ "method": "SUBSCRIBE", "params": streams, "id": 1 });
        self.0.send(Message::Text(request.to_string())).await
    }

    async fn next(&mut self) -> Option<Result<Data, String>> {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) if text.starts_with("{\"result\"") => Some(Ok(Data::Unused)),
            Some(Ok(Message::Text(text))) => Some(read(&text)),
            Some(Ok(Message::Ping(_))) => Some(Ok(Data::Ping)),
            _ => None,
        }
    }

    async fn try_close(mut self) {
        drop(self.0.close(None).await);
    }
}

fn read(text: &str) -> Result<Data, String> {
    let StreamEvent { data, .. } = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let price = Decimal::from_str(&data.close_price).map_err(|error| error.to_string())?;
    Ok(Data::AssetInfo(vec![AssetInfo::new(data.symbol.to_ascii_lowercase(), price, data.event_time / 1000)]))
}
