//! The plugins of the source tree: their fixtures, found by themselves, and real recordings where they are at hand.
//!
//! A fixture is a recording `NAME.jsonl` whose header names ids and settings, beside `NAME.expected.jsonl`, the events
//! that must come of it. `FEEDGATE_BLESS=1` writes the latter anew, for a diff to be read.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use feedgate::builds::{recording, replay};
use feedgate::contract::codec::{Context, Event, Incoming, OpenCodec, Subscription, WebSocketCodec};
use feedgate::contract::observation::Key;
use serde_json::{Value as Json, json, value::RawValue};

use crate::support::{plugin, root};

async fn events(plugin_name: &str, recording: &Path, ids: &[String], settings: Option<&str>) -> Vec<Json> {
    let plugin = plugin(plugin_name);
    let opened = || recording::open(recording).expect("readable");
    let header = recording::header(&mut opened()).expect("a recording");
    let ids = if ids.is_empty() { header.ids } else { ids.to_vec() };
    let settings = settings.map(str::to_owned).or(header.settings.map(|settings| settings.to_string()));
    let mut events = Vec::new();
    let settings = settings.as_deref().unwrap_or("{}");
    let replayed = replay::replay(&plugin, &mut opened(), &ids, settings, |event| events.push(event)).await;
    replayed.unwrap_or_else(|error| panic!("{}: {error}", recording.display()));
    events
}

#[tokio::test]
async fn every_fixture_gives_what_is_expected() {
    let mut count = 0;
    for venue in directories(&root().join("plugins")) {
        let name = venue.file_name().expect("a name").to_string_lossy().into_owned();
        for fixture in files(&venue.join("fixtures")) {
            let Some(case) = fixture.to_str().and_then(|path| path.strip_suffix(".jsonl")) else { continue };
            if case.ends_with(".expected") {
                continue;
            }
            let found = events(&name, &fixture, &[], None).await;
            let expected = PathBuf::from(format!("{case}.expected.jsonl"));
            if std::env::var_os("FEEDGATE_BLESS").is_some() {
                let lines: String = found.iter().map(|event| format!("{event}\n")).collect();
                std::fs::write(&expected, lines).expect("writable");
            }
            let text = std::fs::read_to_string(&expected).unwrap_or_default();
            let wanted: Vec<Json> =
                text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
            for (number, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                assert_eq!(found, wanted, "{}: line {}", expected.display(), number + 1);
            }
            assert_eq!(found.len(), wanted.len(), "{}: number of events", expected.display());
            count += 1;
        }
    }
    assert!(count >= 5, "only {count} fixtures were found");
}

/// In one call, whatever their kinds: the contract hands them in as one piece of each kind.
#[tokio::test]
async fn frames_handed_in_together_are_read_as_if_each_had_come_alone() {
    let ids = [Subscription { key: Key(0), id: "a".into() }];
    let (mut codec, _) = plugin("guest").configured("p".into(), "{}".to_owned()).open().await.expect("it opens");
    codec.connect(Context::default(), &ids, None).await.expect("it dials");
    let (text, binary) = (Incoming::Text, Incoming::Binary);
    for frames in [
        &[][..],
        &[text("0 1")],
        &[binary(b"x")],
        &[text("0 1"), text("0 2.50"), text("echo")],
        // Ends are counted in bytes, and nothing is nothing.
        &[text("0 \u{20ac}"), text(""), text("0 3"), text("\u{1f980}"), text("")],
        &[binary(b"a"), binary(b""), binary(b"c")],
        &[text("0 1"), binary(b""), binary(b"b"), text(""), text("0 2"), binary(b"c"), text("x"), text("reconnect")],
    ] {
        let mut alone = Vec::new();
        for (place, frame) in (0..).zip(frames) {
            let mut events = codec.handle_messages(Context::default(), &[*frame]).await.expect("it lives");
            assert_eq!(events.len(), 1, "{frame:?}");
            if let Event::Malformed { index, .. } = &mut events[0] {
                *index += place;
            }
            alone.append(&mut events);
        }
        let together = codec.handle_messages(Context::default(), frames).await.expect("it lives");
        assert_eq!(together, alone, "{frames:?}");
    }
}

#[test]
fn every_plugin_has_a_readme_with_links_and_fixtures() {
    for venue in directories(&root().join("plugins")) {
        if !venue.join("fixtures").is_dir() {
            assert!(venue.ends_with("sdk"), "{} has no fixtures", venue.display());
            continue;
        }
        let readme = std::fs::read_to_string(venue.join("README.md")).expect("a README");
        assert!(readme.contains("https://"), "{}: the README links to nothing", venue.display());
    }
}

/// Where recordings of real sessions are, if they are.
fn recordings() -> Option<PathBuf> {
    let place = std::env::var_os("FEEDGATE_RECORDINGS").map(PathBuf::from);
    let place = place.unwrap_or_else(|| root().join("../shared/recordings"));
    if !place.is_dir() {
        eprintln!("skipped: no recordings in {} (FEEDGATE_RECORDINGS)", place.display());
        return None;
    }
    Some(place)
}

/// `(id, value, sequence)` of every observation, in order; any event that tells of trouble fails the test.
fn observed(events: &[Json]) -> Vec<(String, String, Option<u64>)> {
    let text = |event: &Json, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    for event in events {
        let kind = text(event, "event");
        assert!(!["malformed", "error", "trap", "gap"].contains(&kind.as_str()), "{event}");
    }
    let values = events.iter().filter(|event| event["event"] == "observed");
    values.map(|event| (text(event, "id"), text(event, "value"), event["sequence"].as_u64())).collect()
}

/// The payloads that a recording received, as they are.
fn received(recording: &Path) -> Vec<String> {
    let lines = recording::open(recording).expect("readable").lines();
    lines
        .filter_map(|line| {
            let record: Json = serde_json::from_str(&line.expect("UTF-8")).expect("JSON");
            (record["t"] == "recv").then(|| record["data"].as_str().map(str::to_owned))?
        })
        .collect()
}

fn ids(list: &str) -> Vec<String> {
    list.split(',').map(str::to_owned).collect()
}

#[tokio::test]
async fn a_recorded_coinbase_session_is_read_as_it_stands() {
    let Some(recording) = recordings().map(|place| place.join("coinbase.jsonl.zst")) else { return };
    let mut expected = Vec::new();
    for payload in received(&recording) {
        let message: Json = serde_json::from_str(&payload).expect("JSON");
        if message["channel"] != "ticker" {
            continue;
        }
        for event in message["events"].as_array().expect("events") {
            for ticker in event["tickers"].as_array().expect("tickers") {
                let field = |name: &str| ticker[name].as_str().expect("text").to_owned();
                expected.push((field("product_id"), field("price"), message["sequence_num"].as_u64()));
            }
        }
    }
    let found = observed(&events("coinbase", &recording, &ids("BTC-USD,ETH-USD"), None).await);
    assert!(expected.len() > 100);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_recorded_bitfinex_session_is_read_as_it_stands() {
    let Some(recording) = recordings().map(|place| place.join("bitfinex.jsonl.zst")) else { return };
    let mut channels = BTreeMap::new();
    let mut expected = Vec::new();
    for payload in received(&recording) {
        if let Ok(event) = serde_json::from_str::<Json>(&payload)
            && event["event"] == "subscribed"
            && event["channel"] == "ticker"
        {
            channels.insert(event["chanId"].to_string(), event["symbol"].as_str().expect("text").to_owned());
        }
        // The text of each number as it stands.
        let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(&payload) else { continue };
        let (Some(symbol), Some(array)) = (channels.get(parts[0].get()), parts.get(1)) else { continue };
        let Ok(numbers) = serde_json::from_str::<Vec<&RawValue>>(array.get()) else { continue };
        let sequence = parts.get(2).and_then(|number| number.get().parse().ok());
        expected.push((symbol.clone(), numbers[6].get().to_owned(), sequence));
    }
    let symbols = ids("tBFTUSD,tIOTETH,tDOGUSD,tMNABTC,tODEUSD,tTESTBTC:TESTUSD,tSNGUSD");
    let found = observed(&events("bitfinex", &recording, &symbols, None).await);
    assert!(expected.len() > 10);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_recorded_binance_session_gives_exact_mids() {
    let Some(recording) = recordings().map(|place| place.join("binance.jsonl.zst")) else { return };
    // Eight places, so that the sum of two prices is exact in integers and half of it has nine.
    let scaled = |text: &str| text.replace('.', "").parse::<i128>().expect("eight places");
    let mut expected = Vec::new();
    for payload in received(&recording) {
        let message: Json = serde_json::from_str(&payload).expect("JSON");
        let data = &message["data"];
        if message["stream"].as_str().is_some_and(|stream| stream.ends_with("@bookTicker")) {
            let field = |name: &str| data[name].as_str().expect("text").to_owned();
            let sum = scaled(&field("b")) + scaled(&field("a"));
            expected.push((field("s"), sum * 5, data["u"].as_u64()));
        }
    }
    let settings = r#"{"price":"mid"}"#;
    let found = events("binance", &recording, &ids("NKNUSDT,BLZETH,LRCBTC,RUNEEUR"), Some(settings)).await;
    let nine_places = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        format!("{whole}{fraction:0<9}").parse::<i128>().expect("digits")
    };
    let found: Vec<_> =
        observed(&found).into_iter().map(|(id, value, sequence)| (id, nine_places(&value), sequence)).collect();
    assert!(expected.len() > 50);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_recorded_gate_session_is_read_as_it_stands() {
    let Some(recording) = recordings().map(|place| place.join("gateio.jsonl.zst")) else { return };
    let mut expected = Vec::new();
    for payload in received(&recording) {
        let message: Json = serde_json::from_str(&payload).expect("JSON");
        if message["channel"] == "spot.tickers" && message["event"] == "update" {
            let field = |name: &str| message["result"][name].as_str().expect("text").to_owned();
            expected.push((field("currency_pair"), field("last"), None));
        }
    }
    let pairs = ids("INK_USDT,HAI_ETH,BTC_USDC,NANO_USDT,QTUM3S_USDT,DIS_USDT,NEO_BTC,FAST_USDT,ZKS_ETH,OMG_USDT");
    let found = observed(&events("gate", &recording, &pairs, None).await);
    assert!(expected.len() > 20);
    assert_eq!(found, expected);
}

/// The recorder left the token's answer out; it is put in front here.
#[tokio::test]
async fn a_recorded_kucoin_session_is_read_as_it_stands() {
    let Some(recording) = recordings().map(|place| place.join("kucoin.jsonl.zst")) else { return };
    let mut expected = Vec::new();
    for payload in received(&recording) {
        let message: Json = serde_json::from_str(&payload).expect("JSON");
        if message["subject"] == "trade.ticker" {
            let field = |name: &str| message["data"][name].as_str().expect("text").to_owned();
            let symbol = message["topic"].as_str().expect("text").rsplit(':').next().unwrap_or_default();
            expected.push((symbol.to_owned(), field("price"), field("sequence").parse().ok()));
        }
    }
    let url = "https://api.kucoin.com/api/v1/bullet-public";
    let data = r#"{"code":"200000","data":{"token":"t","instanceServers":[{"endpoint":"wss://push-private.kucoin.com/endpoint","pingInterval":18000,"pingTimeout":10000}]}}"#;
    let token = json!({ "t": "http", "conn": "http", "ts": 1, "url": url, "status": 200, "data": data });
    let lines: Vec<String> =
        recording::open(&recording).expect("readable").lines().map(|line| line.expect("UTF-8")).collect();
    let (header, rest) = lines.split_first().expect("a recording");
    let place = tempfile::TempDir::new().expect("a temporary directory");
    let whole = place.path().join("kucoin.jsonl");
    std::fs::write(&whole, [&[header.clone(), token.to_string()], rest].concat().join("\n")).expect("writable");
    let symbols = ids("ANKR-BTC,NRG-BTC,BCHSV-USDT,CAPP-BTC,FET-BTC,SNX-BTC,DAPPT-BTC,COV-BTC,EQZ-BTC,LTX-USDT");
    let found = observed(&events("kucoin", &whole, &symbols, None).await);
    assert!(expected.len() > 500);
    assert_eq!(found, expected);
}

/// Its channels are others than the plugin's; its pings are not.
#[tokio::test]
async fn the_pings_of_a_recorded_htx_session_are_answered_in_kind() {
    let Some(recording) = recordings().map(|place| place.join("huobi.jsonl.zst")) else { return };
    let mut expected = Vec::new();
    for line in recording::open(&recording).expect("readable").lines() {
        let record: Json = serde_json::from_str(&line.expect("UTF-8")).expect("JSON");
        let Some(packed) = record["b64"].as_str() else { continue };
        let packed = BASE64.decode(packed).expect("base64");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("gzip");
        if text.starts_with("{\"ping\"") {
            expected.push(text.replace("ping", "pong"));
        }
    }
    let found = events("htx", &recording, &ids("trioeth,borusdt,omgbtc"), None).await;
    assert_eq!(observed(&found), []);
    let replies = found.iter().filter(|event| event["event"] == "reply");
    let replies: Vec<_> = replies.map(|event| event["text"].as_str().expect("text").to_owned()).collect();
    assert!(expected.len() > 5);
    assert_eq!(replies, expected);
}

#[tokio::test]
async fn a_session_in_an_old_protocol_gives_nothing_rather_than_something_wrong() {
    let Some(recording) = recordings().map(|place| place.join("kraken.jsonl.zst")) else { return };
    let found = events("kraken", &recording, &ids("KSM/BTC,XMR/USD,ADA/BTC"), None).await;
    assert_eq!(observed(&found), []);
}

/// A recording that nobody reads shows nothing.
#[test]
fn every_recording_has_a_test() {
    let Some(place) = recordings() else { return };
    let tests = include_str!("plugins.rs");
    let found: Vec<String> = files(&place)
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|name| name.ends_with(".jsonl.zst"))
        .collect();
    for name in &found {
        assert!(tests.contains(&format!("\"{name}\"")), "{name}: no test reads it");
    }
    assert!(!found.is_empty(), "{}: no recordings", place.display());
}

fn directories(of: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = files(of).into_iter().filter(|path| path.join("Cargo.toml").is_file()).collect();
    found.sort();
    found
}

fn files(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).into_iter().flatten();
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_recorded_okx_session_is_read_as_it_stands() {
    let Some(recording) = recordings().map(|place| place.join("okx.jsonl.zst")) else { return };
    let mut expected = Vec::new();
    for payload in received(&recording) {
        let message: Json = serde_json::from_str(&payload).expect("JSON");
        if message["arg"]["channel"] != "tickers" {
            continue;
        }
        for ticker in message["data"].as_array().into_iter().flatten() {
            let field = |name: &str| ticker[name].as_str().expect("text").to_owned();
            expected.push((field("instId"), field("last"), None));
        }
    }
    let found = observed(&events("okx", &recording, &ids("BTC-USD-220527,UNI-USD-SWAP,BTC-USDT"), None).await);
    assert!(expected.len() > 20);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_recorded_bitstamp_session_is_read_as_it_stands() {
    let Some(recording) = recordings().map(|place| place.join("bitstamp.jsonl.zst")) else { return };
    let mut expected = Vec::new();
    for payload in received(&recording) {
        let message: Json = serde_json::from_str(&payload).expect("JSON");
        if message["event"] == "trade" {
            let market = message["channel"].as_str().and_then(|channel| channel.strip_prefix("live_trades_"));
            let price = message["data"]["price_str"].as_str().expect("text").to_owned();
            expected.push((market.expect("a channel of trades").to_owned(), price, None));
        }
    }
    let markets = "sgbeur,ethusd,xrpeur,bateur,usdteur,usdtusd,xlmgbp,adaeur,batbtc,galaeur";
    // Other answers over HTTP in the recording are none of this plugin's.
    let events = events("bitstamp", &recording, &ids(markets), None).await;
    let streamed: Vec<Json> = events.into_iter().filter(|event| event["conn"] == "BITSTAMP.ws.1").collect();
    assert!(expected.len() >= 10);
    assert_eq!(observed(&streamed), expected);
}

/// The recording has derivatives too, on another connection and in messages of the same form.
#[tokio::test]
async fn a_recorded_bybit_session_is_read_as_it_stands() {
    let Some(recording) = recordings().map(|place| place.join("bybit.jsonl.zst")) else { return };
    let mut expected = Vec::new();
    for payload in received(&recording) {
        let message: Json = serde_json::from_str(&payload).expect("JSON");
        let is_ticker = message["topic"].as_str().is_some_and(|topic| topic.starts_with("tickers."));
        if is_ticker && let Some(price) = message["data"]["lastPrice"].as_str() {
            let symbol = message["data"]["symbol"].as_str().expect("text");
            expected.push((symbol.to_owned(), price.to_owned(), message["cs"].as_u64()));
        }
    }
    let found = observed(&events("bybit", &recording, &ids("BTCUSDT,ETHUSDT,SOLUSDT,DOGEUSDT"), None).await);
    assert!(expected.len() > 100);
    assert_eq!(found, expected);
}

/// Of the version before, whose tickers have the same form but for numbers that are no strings.
#[tokio::test]
async fn a_recorded_crypto_com_session_is_read_as_it_stands() {
    let Some(recording) = recordings().map(|place| place.join("crypto-com.jsonl.zst")) else { return };
    let mut expected = Vec::new();
    for payload in received(&recording) {
        // The price by its text, without a reader of JSON: it follows `"a":` in tickers and nowhere else.
        if !payload.contains(r#""channel":"ticker""#) {
            continue;
        }
        let after = |name: &str| {
            let rest = payload.split_once(name).expect("it stands there").1;
            rest.split([',', '"']).next().expect("something follows").to_owned()
        };
        expected.push((after(r#""i":""#), after(r#""a":"#), None));
    }
    let symbols = "MATIC_USDT,HNT_USDT,LPT_USDC,GRT_CRO,HOT_USDT,BAND_USDT,SUSHI_USDT,RGT_USDC,FLOW_CRO,ONE_USDT";
    let found = observed(&events("crypto-com", &recording, &ids(symbols), None).await);
    assert!(expected.len() > 1_000);
    assert_eq!(found, expected);
}
