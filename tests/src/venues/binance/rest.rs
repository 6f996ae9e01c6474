//! Binance's [price ticker] over HTTP: one unknown symbol fails the whole list.
//!
//! [price ticker]: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints

use crate::http::{Request, Response};
use crate::session::{World, quoted};

/// One symbol costs 2, a list or everything 4.
pub(super) fn weight(request: &Request) -> u64 {
    if request.parameter("symbol").is_some() { 2 } else { 4 }
}

pub(super) fn answer(request: &Request, used: u64, world: &World<'_>) -> Response {
    if request.path() != "/api/v3/ticker/price" {
        return Response::html(404);
    }
    let (status, body) = match prices(request, world) {
        Ok(body) => (200, body),
        Err((code, message)) => (400, format!("{{\"code\":{code},\"msg\":{}}}", quoted(message))),
    };
    Response::json(status, body).with_header("x-mbx-used-weight-1m", used.to_string())
}

fn prices(request: &Request, world: &World<'_>) -> Result<String, (i32, &'static str)> {
    let price = |index: usize| {
        let listing = world.listing(index);
        format!("{{\"symbol\":\"{}\",\"price\":\"{}\"}}", listing.id, listing.quote.last)
    };
    let find = |symbol: &str| world.find(symbol).ok_or((-1121, "Invalid symbol."));
    if request.method != "GET" {
        return Err((-1000, "Request method is not supported."));
    }
    let known = |(name, _): &(String, String)| matches!(name.as_str(), "symbol" | "symbols");
    if !request.query().iter().all(known) {
        return Err((-1104, "Not all sent parameters were read."));
    }
    let all = match (request.parameter("symbol"), request.parameter("symbols")) {
        (Some(_), Some(_)) => return Err((-1128, "Combination of optional parameters invalid.")),
        (Some(symbol), None) => return find(&symbol).map(price),
        (None, None) => (0..world.market.listings().len()).collect::<Vec<_>>(),
        (None, Some(symbols)) => {
            let illegal = (-1100, "Illegal characters found in parameter 'symbols'.");
            // Quotes must not stand in a URL as they are, and the list has no spaces.
            if request.target.contains('"') || symbols.contains(' ') {
                return Err(illegal);
            }
            let symbols: Vec<String> = serde_json::from_str(&symbols).map_err(|_| illegal)?;
            let indices: Vec<_> = symbols.iter().map(|symbol| find(symbol)).collect::<Result<_, _>>()?;
            if (1..indices.len()).any(|at| indices[..at].contains(&indices[at])) {
                return Err((-1151, "Symbol is present multiple times in the list."));
            }
            indices
        }
    };
    Ok(format!("[{}]", all.into_iter().map(price).collect::<Vec<_>>().join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::Bench;

    #[test]
    fn requests_and_their_answers() {
        let btc = r#"{"symbol":"BTCUSDT","price":"67250.01000000"}"#;
        let eth = r#"{"symbol":"ETHUSDT","price":"3512.44"}"#;
        let rows = [
            ("?symbol=BTCUSDT", 200, btc.to_owned()),
            ("?symbols=%5B%22ETHUSDT%22%2C%22BTCUSDT%22%5D", 200, format!("[{eth},{btc}]")),
            ("?symbols=[%22ETHUSDT%22]", 200, format!("[{eth}]")),
            ("", 200, format!("[{btc},{eth}]")),
            ("?symbols=%5B%5D", 200, "[]".into()),
            ("?symbol=NOPE", 400, refusal(-1121, "Invalid symbol.")),
            ("?symbol=btcusdt", 400, refusal(-1121, "Invalid symbol.")),
            ("?symbols=%5B%22ETHUSDT%22,%22NOPE%22%5D", 400, refusal(-1121, "Invalid symbol.")),
            ("?symbols=[\"ETHUSDT\"]", 400, illegal()),
            ("?symbols=%5B%22ETHUSDT%22,%20%22BTCUSDT%22%5D", 400, illegal()),
            ("?symbols=ETHUSDT", 400, illegal()),
            (
                "?symbols=%5B%22ETHUSDT%22,%22ETHUSDT%22%5D",
                400,
                refusal(-1151, "Symbol is present multiple times in the list."),
            ),
            ("?symbol=A&symbols=%5B%5D", 400, refusal(-1128, "Combination of optional parameters invalid.")),
            ("?pair=A", 400, refusal(-1104, "Not all sent parameters were read.")),
        ];
        let bench = Bench::new(&[("BTCUSDT", "67250.01000000"), ("ETHUSDT", "3512.44")]);
        for (query, status, body) in rows {
            let request =
                Request { method: "GET".into(), target: format!("/api/v3/ticker/price{query}"), ..Request::default() };
            let response = answer(&request, 6, &bench.world());
            let found = (response.status, String::from_utf8_lossy(&response.body).into_owned());
            assert_eq!(found, (status, body), "{query}");
            assert!(response.headers.contains(&("x-mbx-used-weight-1m".into(), "6".into())));
        }
    }

    fn refusal(code: i32, message: &str) -> String {
        format!("{{\"code\":{code},\"msg\":\"{message}\"}}")
    }

    fn illegal() -> String {
        refusal(-1100, "Illegal characters found in parameter 'symbols'.")
    }
}
