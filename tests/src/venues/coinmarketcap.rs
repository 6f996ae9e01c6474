//! CoinMarketCap's latest quotes: a key, numbers for ids, and a status inside every answer.
//!
//! After the [reference] and the page of [errors].
//!
//! [reference]: https://coinmarketcap.com/api/documentation/v1/#operation/getV2CryptocurrencyQuotesLatest
//! [errors]: https://coinmarketcap.com/api/resources/how-to-handle-coinmarketcap-api-errors-and-rate-limit--responses

use crate::clock;
use crate::http::{Request, Response};
use crate::market::{Decimal, Quote};
use crate::session::{World, quoted};
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "coinmarketcap",
    origins: &["https://pro-api.coinmarketcap.com"],
    prices: PRICES,
    // The free plan.
    budget: 30,
    answer: |request, _, world| answer(request, world),
    error: |status, text| body(if status == 429 { 1008 } else { status }, text, ""),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("1", "67248.553201"),
    ("1027", "3512.3142"),
    ("5426", "172.514"),
    ("52", "0.523114"),
    ("74", "0.158722"),
    ("2010", "0.456604"),
    ("5805", "36.18"),
    ("1975", "17.204"),
    ("5994", "0.00002467"),
    ("825", "0.999871"),
];

fn answer(request: &Request, world: &World<'_>) -> Response {
    let wanted = world.options.key.as_deref();
    match request.header("x-cmc_pro_api_key") {
        None | Some("") => return refusal(401, 1002, "API key missing."),
        Some(key) if wanted.is_some_and(|wanted| wanted != key) => {
            return refusal(401, 1001, "This API Key is invalid.");
        }
        Some(_) => {}
    }
    if request.path() != "/v2/cryptocurrency/quotes/latest" || request.method != "GET" {
        return refusal(404, 404, "Not Found");
    }
    match coins(request, world) {
        Ok(coins) => Response::json(200, body(0, "null", &format!(",\"data\":{{{coins}}}"))),
        Err(why) => refusal(400, 400, &why),
    }
}

fn coins(request: &Request, world: &World<'_>) -> Result<String, String> {
    let ids = request.parameter("id").unwrap_or_default();
    let mut ids: Vec<&str> = ids.split(',').collect();
    if !ids.iter().all(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("\"id\" should include only numeric comma-separated CoinMarketCap cryptocurrency ids".into());
    }
    ids.sort_unstable();
    ids.dedup();
    let currency = request.parameter("convert").unwrap_or_else(|| "USD".into());
    let percent = match currency.as_str() {
        "USD" => 100,
        "EUR" => 92,
        _ => return Err(format!("Invalid value for \"convert\": \"{currency}\"")),
    };
    let (known, unknown): (Vec<&str>, Vec<&str>) = ids.into_iter().partition(|id| world.find(id).is_some());
    if !unknown.is_empty() && request.parameter("skip_invalid").as_deref() != Some("true") {
        return Err(format!("Invalid values for \"id\": \"{}\"", unknown.join(",")));
    }
    let coins = known.into_iter().filter_map(|id| {
        let quote = world.quote(world.find(id)?);
        let time = clock::rfc3339(quote.at);
        let price = price(quote, percent);
        Some(format!(
            r#""{id}":{{"id":{id},"name":"Coin {id}","symbol":"C{id}","slug":"coin-{id}","is_active":1,"is_fiat":0,"last_updated":"{time}","quote":{{"{currency}":{{"price":{price},"volume_24h":1.5,"percent_change_1h":0.15,"market_cap":{price}1,"last_updated":"{time}"}}}}}}"#
        ))
    });
    Ok(coins.collect::<Vec<_>>().join(","))
}

/// Prices are kept in dollars; a euro has its own, so that a plugin that reads the wrong currency is seen.
fn price(quote: &Quote, percent: u128) -> String {
    match Decimal::parse(&quote.last) {
        Some(dollars) if percent != 100 => dollars.percent(percent).to_string(),
        _ => quote.last.to_string(),
    }
}

fn refusal(status: u16, code: u16, text: &str) -> Response {
    Response::json(status, body(code, &quoted(text), ""))
}

/// `text` is JSON, and `more` what stands beside the status.
fn body(code: u16, text: &str, more: &str) -> String {
    format!(
        r#"{{"status":{{"timestamp":"2023-11-14T22:13:20.000Z","error_code":{code},"error_message":{text},"elapsed":10,"credit_count":1}}{more}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::Bench;

    fn get(query: &str, key: Option<&str>) -> Request {
        Request {
            method: "GET".into(),
            target: format!("/v2/cryptocurrency/quotes/latest?{query}"),
            headers: key.into_iter().map(|key| ("X-CMC_PRO_API_KEY".into(), key.into())).collect(),
            body: Vec::new(),
        }
    }

    #[test]
    fn requests_and_their_answers() {
        let bench = Bench::new(&[("1", "67248.55"), ("825", "1.00")]);
        for (query, status, parts) in [
            ("id=1", 200, vec![r#""error_code":0"#, r#""1":{"id":1"#, r#""quote":{"USD":{"price":67248.55,"#]),
            ("id=825,1&convert=EUR", 200, vec![r#""EUR":{"price":61868.66,"#, r#""EUR":{"price":0.92,"#]),
            ("id=1,99", 400, vec![r#""error_code":400"#, r#"Invalid values for \"id\": \"99\""#]),
            ("id=1,99&skip_invalid=true", 200, vec![r#""data":{"1":"#]),
            ("id=99&skip_invalid=true", 200, vec![r#""data":{}"#]),
            ("id=bitcoin", 400, vec!["should include only numeric"]),
            ("", 400, vec!["should include only numeric"]),
            ("id=1&convert=XYZ", 400, vec![r#"Invalid value for \"convert\": \"XYZ\""#]),
        ] {
            let response = answer(&get(query, Some("any")), &bench.world());
            let body = String::from_utf8_lossy(&response.body).into_owned();
            assert_eq!(response.status, status, "{query}: {body}");
            serde_json::from_str::<serde_json::Value>(&body).expect("JSON");
            assert!(parts.iter().all(|part| body.contains(part)), "{query}: {body}");
        }
    }

    #[test]
    fn a_key_is_needed_and_must_be_right_where_one_is_named() {
        let mut bench = Bench::new(&[("1", "67248.55")]);
        assert_eq!(answer(&get("id=1", None), &bench.world()).status, 401);
        assert_eq!(answer(&get("id=1", Some("any")), &bench.world()).status, 200);
        bench.options.key = Some("right".into());
        assert_eq!(answer(&get("id=1", Some("wrong")), &bench.world()).status, 401);
        assert_eq!(answer(&get("id=1", Some("right")), &bench.world()).status, 200);
    }
}
