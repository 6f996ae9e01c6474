//! Bitstamp's [tickers] over HTTP: every market in one answer.
//!
//! [tickers]: https://www.bitstamp.net/api/#tag/Tickers

use crate::http::{Request, Response};
use crate::session::World;

use super::url_symbol;

pub(super) fn answer(request: &Request, world: &World<'_>) -> Response {
    let Some(market) = request.path().strip_prefix("/api/v2/ticker/").filter(|_| request.method == "GET") else {
        return Response::html(404);
    };
    let listed = |index: &usize| world.find(&world.listing(*index).id).is_some();
    let mut indices = (0..world.market.listings().len()).filter(listed);
    if market.is_empty() {
        let rows: Vec<_> = indices.map(|index| ticker(index, world)).collect();
        return Response::json(200, format!("[{}]", rows.join(",")));
    }
    match indices.find(|index| url_symbol(&world.listing(*index).id) == market.trim_end_matches('/')) {
        Some(index) => Response::json(200, ticker(index, world)),
        None => Response::html(404),
    }
}

/// Only `last` is the last trade.
fn ticker(index: usize, world: &World<'_>) -> String {
    let (listing, seconds) = (world.listing(index), world.now / 1_000_000_000);
    let (pair, day, quote) = (&listing.id, &listing.day, &listing.quote);
    format!(
        r#"{{"timestamp":"{seconds}","open":"{}","high":"{}","low":"{}","last":"{}","volume":"1284.52018317","vwap":"{}","bid":"{}","ask":"{}","side":"0","open_24":"{}","percent_change_24":"5.26","pair":"{pair}","market":"{pair}","market_type":"SPOT"}}"#,
        day.open, day.high, day.low, quote.last, day.vwap, quote.bid, quote.ask, day.open,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::session::testing::Bench;

    #[test]
    fn every_market_is_in_one_answer() {
        let mut bench = Bench::new(&[("BTC/USD", "67249.90"), ("ETH/USD", "0")]);
        for reject_all in [false, true] {
            bench.reject_all = reject_all;
            let rows = [
                ("/api/v2/ticker/", 200, vec![("BTC/USD", "67249.90"), ("ETH/USD", "0")]),
                ("/api/v2/ticker/btcusd/", 200, vec![("BTC/USD", "67249.90")]),
                ("/api/v2/ticker/BTCUSD", 404, vec![]),
                ("/api/v2/tickers", 404, vec![]),
            ];
            for (target, status, expected) in rows {
                let request = Request { method: "GET".into(), target: target.into(), ..Request::default() };
                let response = answer(&request, &bench.world());
                let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
                let rows = body.as_array().cloned().unwrap_or_else(|| vec![body.clone()]);
                let found: Vec<_> =
                    rows.iter().filter_map(|row| Some((row["pair"].as_str()?, row["last"].as_str()?))).collect();
                assert_eq!(found, if reject_all { vec![] } else { expected }, "{target}");
                assert!(reject_all || response.status == status, "{target}: {}", response.status);
            }
        }
    }
}
