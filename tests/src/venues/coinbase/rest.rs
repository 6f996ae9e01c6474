//! Coinbase's public market trades over HTTP: one product a request.

use crate::clock;
use crate::http::{Request, Response};
use crate::session::{World, quoted};

const BEFORE: &str = "/api/v3/brokerage/market/products/";
const AFTER: &str = "/ticker";

pub(super) fn answer(request: &Request, world: &World<'_>) -> Response {
    let product = request.path().strip_prefix(BEFORE).and_then(|rest| rest.strip_suffix(AFTER));
    let (Some(product), "GET") = (product, request.method.as_str()) else {
        return Response::html(404);
    };
    let limit = request.parameter("limit").and_then(|limit| limit.parse::<u16>().ok());
    if !limit.is_some_and(|limit| (1..=1000).contains(&limit)) {
        return refusal(400, "INVALID_ARGUMENT", "limit must be from 1 to 1000");
    }
    let Some(index) = world.find(product) else {
        return refusal(404, "NOT_FOUND", "valid product_id is required");
    };
    let quote = world.quote(index);
    // Each price of this market is a trade, numbered by its time.
    let trade = format!(
        r#"{{"trade_id":"{}","product_id":"{product}","price":"{}","size":"0.00041","time":"{}","side":"BUY","bid":"","ask":""}}"#,
        quote.at,
        quote.last,
        clock::rfc3339(quote.at),
    );
    Response::json(
        200,
        format!(r#"{{"trades":[{trade}],"best_bid":"{}","best_ask":"{}"}}"#, quote.bid, quote.ask),
    )
}

fn refusal(status: u16, error: &str, details: &str) -> Response {
    let details = quoted(details);
    Response::json(status, format!(r#"{{"error":"{error}","error_details":{details},"message":{details}}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::Bench;

    #[test]
    fn requests_and_their_answers() {
        let trade = r#"{"trades":[{"trade_id":"1700000000123456789","product_id":"BTC-USD","price":"67251.03","size":"0.00041","time":"2023-11-14T22:13:20.123456789Z","side":"BUY","bid":"","ask":""}],"best_bid":"67251.02","best_ask":"67251.04"}"#;
        let unknown = r#"{"error":"NOT_FOUND","error_details":"valid product_id is required","message":"valid product_id is required"}"#;
        let limit = r#"{"error":"INVALID_ARGUMENT","error_details":"limit must be from 1 to 1000","message":"limit must be from 1 to 1000"}"#;
        let bench = Bench::new(&[("BTC-USD", "67251.03")]);
        for (target, status, body) in [
            ("BTC-USD/ticker?limit=1", 200, trade),
            ("btc-usd/ticker?limit=1", 404, unknown),
            ("NOPE-USD/ticker?limit=1", 404, unknown),
            ("BTC-USD/ticker", 400, limit),
            ("BTC-USD/ticker?limit=0", 400, limit),
        ] {
            let request =
                Request { method: "GET".into(), target: format!("{BEFORE}{target}"), ..Request::default() };
            let response = answer(&request, &bench.world());
            let found = (response.status, String::from_utf8_lossy(&response.body).into_owned());
            assert_eq!(found, (status, body.to_owned()), "{target}");
        }
        let elsewhere = Request { method: "GET".into(), target: "/v2/prices/BTC-USD/spot".into(), ..Request::default() };
        assert_eq!(answer(&elsewhere, &bench.world()).status, 404);
    }
}
