//! dYdX's indexer: every perpetual market in one object, or the one that is asked for.
//!
//! After the [indexer's page].
//!
//! [indexer's page]: https://docs.dydx.exchange/api_integration-indexer/indexer_api#listperpetualmarkets

use crate::http::{Request, Response};
use crate::session::{World, quoted};
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "dydx",
    origins: &["https://indexer.dydx.trade"],
    prices: PRICES,
    // 100 in 10 seconds.
    budget: 600,
    answer: |request, _, world| answer(request, world),
    error: |_, text| format!("{{\"errors\":[{{\"msg\":{text}}}]}}"),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("BTC-USD", "67250.01357"),
    ("ETH-USD", "3512.441357"),
    ("SOL-USD", "172.5113579"),
    ("XRP-USD", "0.5231413579"),
    ("DOGE-USD", "0.1587213579"),
    ("ADA-USD", "0.4566013579"),
    ("AVAX-USD", "36.18135792"),
    ("LINK-USD", "17.20413579"),
    ("UNI-USD", "10.11135792"),
    ("LTC-USD", "84.21135792"),
];

fn answer(request: &Request, world: &World<'_>) -> Response {
    if request.path() != "/v4/perpetualMarkets" || request.method != "GET" {
        return Response::json(404, r#"{"errors":[{"msg":"Not Found"}]}"#);
    }
    let markets: Vec<String> = match request.parameter("ticker") {
        None => world.market.listings().iter().filter_map(|listing| market(&listing.id, world)).collect(),
        Some(ticker) => match market(&ticker, world) {
            Some(market) => vec![market],
            None => {
                let value = quoted(&ticker);
                let body = format!(
                    r#"{{"errors":[{{"value":{value},"msg":"ticker must be a valid ticker (BTC-USD, etc)","param":"ticker","location":"query"}}]}}"#
                );
                return Response::json(400, body);
            }
        },
    };
    Response::json(200, format!("{{\"markets\":{{{}}}}}", markets.join(",")))
}

fn market(ticker: &str, world: &World<'_>) -> Option<String> {
    let index = world.find(ticker)?;
    let (listing, day) = (world.listing(index), &world.listing(index).day);
    Some(format!(
        r#""{ticker}":{{"clobPairId":"{index}","ticker":"{ticker}","status":"ACTIVE","oraclePrice":"{}","priceChange24H":"{}","volume24H":"1501.25","trades24H":7,"nextFundingRate":"0.0000125","initialMarginFraction":"0.05","maintenanceMarginFraction":"0.03","openInterest":"250.1","atomicResolution":-10,"tickSize":"1","stepSize":"0.0001","marketType":"CROSS","baseOpenInterest":"{}"}}"#,
        listing.quote.last, day.open, day.high,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::Bench;

    #[test]
    fn requests_and_their_answers() {
        let bench = Bench::new(&[("BTC-USD", "67250.01"), ("ETH-USD", "3512.44")]);
        for (target, status, parts) in [
            ("/v4/perpetualMarkets", 200, vec![r#""oraclePrice":"67250.01""#, r#""oraclePrice":"3512.44""#]),
            ("/v4/perpetualMarkets?ticker=ETH-USD", 200, vec![r#"{"markets":{"ETH-USD":{"#]),
            ("/v4/perpetualMarkets?ticker=NOPE-USD", 400, vec![r#""value":"NOPE-USD","msg":"ticker must be"#]),
            ("/v4/perpetualMarkets?ticker=eth-usd", 400, vec![r#""param":"ticker""#]),
            ("/v4/markets", 404, vec!["Not Found"]),
        ] {
            let request = Request { method: "GET".into(), target: target.into(), ..Request::default() };
            let response = answer(&request, &bench.world());
            let body = String::from_utf8_lossy(&response.body).into_owned();
            assert_eq!(response.status, status, "{target}: {body}");
            serde_json::from_str::<serde_json::Value>(&body).expect("JSON");
            assert!(parts.iter().all(|part| body.contains(part)), "{target}: {body}");
        }
    }
}
