//! GeckoTerminal's token prices: one network and up to thirty addresses in a path, and unknown ones are simply missing.
//!
//! After the [API's own pages].
//!
//! [API's own pages]: https://www.geckoterminal.com/dex-api

use crate::http::{Request, Response};
use crate::session::World;
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "geckoterminal",
    origins: &["https://api.geckoterminal.com"],
    prices: PRICES,
    budget: 30,
    answer: |request, _, world| answer(request, world),
    error: |status, text| format!("{{\"errors\":[{{\"status\":\"{status}\",\"title\":{text}}}]}}"),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("eth/0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2", "3512.4412345678"),
    ("eth/0x2260fac5e5542a773aa44fbcfedf7c193bc2c599", "67250.0112345678"),
    ("eth/0xdac17f958d2ee523a2206206994597c13d831ec7", "0.9998712345678"),
    ("eth/0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", "1.0000112345678"),
    ("eth/0x514910771af9ca656af840dff83e8264ecf986ca", "17.2041234567"),
    ("eth/0x95ad61b0a150d79219dcf64e1e6cc01f0b64c4ce", "0.0000246712345"),
    ("base/0x4200000000000000000000000000000000000006", "3512.4098765432"),
    ("solana/So11111111111111111111111111111111111111112", "172.5198765432"),
    ("solana/EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "0.9999987654321"),
    ("bsc/0xbb4cdb9cbd36b01bd1cbaebf2de08d9173bc095c", "598.1198765432"),
];

fn answer(request: &Request, world: &World<'_>) -> Response {
    let rest = request.path().strip_prefix("/api/v2/simple/networks/");
    let Some((network, addresses)) = rest.and_then(|rest| rest.split_once("/token_price/")) else {
        return Response::html(404);
    };
    if request.method != "GET" {
        return Response::html(404);
    }
    let of_network = |id: &str| id.split_once('/').is_some_and(|(found, _)| found == network);
    if !world.market.listings().iter().any(|listing| of_network(&listing.id)) {
        return refusal(404, "Not Found");
    }
    let addresses: Vec<&str> = addresses.split(',').collect();
    if addresses.len() > 30 {
        return refusal(422, "Exceeded maximum number of addresses");
    }
    let prices = addresses.into_iter().filter_map(|address| {
        // Addresses come back as the venue keeps them.
        let address = if address.starts_with("0x") { address.to_lowercase() } else { address.to_owned() };
        let quote = world.quote(world.find(&format!("{network}/{address}"))?);
        Some(format!("\"{address}\":\"{}\"", quote.last))
    });
    let prices = prices.collect::<Vec<_>>().join(",");
    Response::json(
        200,
        format!(
            r#"{{"data":{{"id":"7a1e6c9e-7f6c-4f43-9d0c-5a3fb1a5f0a1","type":"simple_token_price","attributes":{{"token_prices":{{{prices}}}}}}}}}"#
        ),
    )
}

fn refusal(status: u16, title: &str) -> Response {
    let body = format!(r#"{{"errors":[{{"status":"{status}","title":"{title}"}}],"meta":{{}}}}"#);
    Response::json(status, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::Bench;

    #[test]
    fn requests_and_their_answers() {
        let bench = Bench::new(&[("eth/0xab", "1.50"), ("solana/So1", "172.51")]);
        let too_many = format!("eth/token_price/{}", ["0xab"; 31].join(","));
        for (path, status, part) in [
            ("eth/token_price/0xAB", 200, r#""token_prices":{"0xab":"1.50"}"#),
            ("eth/token_price/0xab,0xcd", 200, r#""token_prices":{"0xab":"1.50"}"#),
            ("eth/token_price/So1", 200, r#""token_prices":{}"#),
            ("solana/token_price/So1", 200, r#""token_prices":{"So1":"172.51"}"#),
            ("solana/token_price/so1", 200, r#""token_prices":{}"#),
            ("nowhere/token_price/0xab", 404, r#""title":"Not Found""#),
            (&too_many, 422, "Exceeded maximum"),
        ] {
            let target = format!("/api/v2/simple/networks/{path}");
            let response =
                answer(&Request { method: "GET".into(), target, ..Request::default() }, &bench.world());
            let body = String::from_utf8_lossy(&response.body);
            assert_eq!(response.status, status, "{path}: {body}");
            assert!(body.contains(part), "{path}: {body}");
        }
    }
}
