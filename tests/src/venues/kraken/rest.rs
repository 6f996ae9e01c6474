//! Kraken's [ticker] over HTTP, which answers under names that nobody asked for and puts its errors
//! into a 200.
//!
//! [ticker]: https://docs.kraken.com/api/docs/rest-api/get-ticker-information

use crate::http::{Request, Response};
use crate::market::Quote;
use crate::session::World;

pub(super) fn answer(request: &Request, world: &World<'_>) -> Response {
    if request.path() != "/0/public/Ticker" {
        return Response::json(404, r#"{"error":["EGeneral:Unknown method"]}"#);
    }
    let wanted = request.parameter("pair");
    let indices: Option<Vec<usize>> = match wanted.as_deref().filter(|pairs| !pairs.is_empty()) {
        None => Some((0..world.market.listings().len()).collect()),
        Some(pairs) => pairs.split(',').map(|pair| find(pair, world)).collect(),
    };
    // One unknown pair fails them all.
    let Some(mut indices) = indices else {
        return Response::json(200, r#"{"error":["EQuery:Unknown asset pair"]}"#);
    };
    indices.sort_unstable();
    indices.dedup();
    let rows: Vec<_> = indices.into_iter().map(|index| rest_ticker(index, world)).collect();
    Response::json(200, format!(r#"{{"error":[],"result":{{{}}}}}"#, rows.join(",")))
}

/// Every array has the value of today first, or a price and its volumes; only `c` is the last
/// trade.
fn rest_ticker(index: usize, world: &World<'_>) -> String {
    let listing = world.listing(index);
    let (day, quote, key) = (&listing.day, &listing.quote, names(&listing.id).0);
    let Quote { last, bid, ask, .. } = quote;
    let (open, high, low, vwap) = (&day.open, &day.high, &day.low, &day.vwap);
    format!(
        r#""{key}":{{"a":["{ask}","1","1.000"],"b":["{bid}","1","1.000"],"c":["{last}","0.00067643"],"v":["4083.67001100","4412.73601799"],"p":["{vwap}","{vwap}"],"t":[34619,38907],"l":["{low}","{low}"],"h":["{high}","{high}"],"o":"{open}"}}"#
    )
}

fn find(pair: &str, world: &World<'_>) -> Option<usize> {
    if let Some(index) = world.find(pair) {
        return Some(index);
    }
    let named = |id: &str| names(id).0 == pair || names(id).1 == pair || id.replace('/', "") == pair;
    let index = world.market.listings().iter().position(|listing| named(&listing.id))?;
    world.find(&world.listing(index).id)
}

/// The name that answers come under, and the short one: `XXBTZUSD` and `XBTUSD` for `BTC/USD`.
fn names(id: &str) -> (String, String) {
    let old = |asset: &str| match asset {
        "BTC" => "XBT".to_owned(),
        "DOGE" => "XDG".to_owned(),
        other => other.to_owned(),
    };
    let (base, quote) = id.split_once('/').unwrap_or((id, ""));
    let (base, quote) = (old(base), old(quote));
    let prefix = match quote.as_str() {
        "USD" | "EUR" | "GBP" | "CAD" | "JPY" => "Z",
        "XBT" | "ETH" => "X",
        _ => "",
    };
    let short = format!("{base}{quote}");
    // Only pairs of two old assets have the long form.
    if OLD.contains(&base.as_str()) && !prefix.is_empty() {
        (format!("X{base}{prefix}{quote}"), short)
    } else {
        (short.clone(), short)
    }
}

const OLD: &[&str] = &["XBT", "ETH", "LTC", "XRP", "ETC", "XLM", "XMR", "ZEC", "REP", "MLN"];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::session::testing::Bench;

    #[test]
    fn rest_renames_pairs_and_puts_errors_into_a_200() {
        let bench = Bench::new(&[("BTC/USD", "67249.90"), ("SOL/USD", "172.54"), ("ETH/BTC", "0.05")]);
        let rows = [
            ("/0/public/Ticker?pair=XBTUSD", vec![("XXBTZUSD", "67249.90")]),
            ("/0/public/Ticker?pair=BTC/USD,SOLUSD", vec![("XXBTZUSD", "67249.90"), ("SOLUSD", "172.54")]),
            ("/0/public/Ticker?pair=XETHXXBT", vec![("XETHXXBT", "0.05")]),
            ("/0/public/Ticker?pair=XBTUSD%2CNOPE", vec![]),
        ];
        for (target, expected) in rows {
            let request = Request { method: "GET".into(), target: target.into(), ..Request::default() };
            let response = answer(&request, &bench.world());
            let body: Value = serde_json::from_slice(&response.body).expect("JSON");
            let found = body["result"].as_object().into_iter().flatten();
            let found: Vec<_> = found.map(|(key, row)| (key.as_str(), row["c"][0].as_str().expect("text"))).collect();
            assert_eq!((response.status, found), (200, expected), "{target}");
            assert_eq!(body["error"].as_array().expect("a list").is_empty(), !target.contains("NOPE"));
        }
    }
}
