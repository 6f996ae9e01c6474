//! CoinGecko's simple price: one request for many ids and currencies, and unknown ones are simply
//! missing.
//!
//! After the [simple price] and [errors] pages.
//!
//! [simple price]: https://docs.coingecko.com/reference/simple-price
//! [errors]: https://docs.coingecko.com/docs/errors-and-rate-limits

use crate::http::{Request, Response};
use crate::market::{Decimal, Quote};
use crate::session::{World, quoted};
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "coingecko",
    origins: &["https://api.coingecko.com", "https://pro-api.coingecko.com"],
    prices: PRICES,
    // With a key of the free plan.
    budget: 100,
    answer: |request, _, world| answer(request, world),
    error: |status, text| format!("{{\"status\":{{\"error_code\":{status},\"error_message\":{text}}}}}"),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("bitcoin", "67248"),
    ("ethereum", "3512.31"),
    ("solana", "172.51"),
    ("ripple", "0.523114"),
    ("dogecoin", "0.158722"),
    ("cardano", "0.456604"),
    ("avalanche-2", "36.18"),
    ("chainlink", "17.2"),
    ("shiba-inu", "0.00002467"),
    ("tether", "0.999871"),
];

fn answer(request: &Request, world: &World<'_>) -> Response {
    if let Some(key) = &world.options.key {
        let names = ["x-cg-demo-api-key", "x-cg-pro-api-key"];
        let header = names.iter().find_map(|name| request.header(name)).map(str::to_owned);
        let parameter = || names.iter().find_map(|name| request.parameter(&name.replace('-', "_")));
        // A wrong key gets the same answer as none.
        if header.or_else(parameter).as_ref() != Some(key) {
            return Response::json(401, r#"{"status":{"error_code":10002,"error_message":"API Key Missing"}}"#);
        }
    }
    if request.path() != "/api/v3/simple/price" || request.method != "GET" {
        return Response::json(404, r#"{"error":"Incorrect path. Please check https://www.coingecko.com/api/"}"#);
    }
    match prices(request, world) {
        Ok(body) => Response::json(200, body),
        Err(why) => Response::json(422, format!("{{\"error\":{}}}", quoted(&why))),
    }
}

fn prices(request: &Request, world: &World<'_>) -> Result<String, String> {
    let list =
        |name: &str| request.parameter(name).filter(|list| !list.is_empty()).ok_or(format!("Missing parameter {name}"));
    let (currencies, ids) = (list("vs_currencies")?, list("ids")?);
    let precision = match request.parameter("precision").as_deref() {
        None | Some("full") => None,
        Some(digits) => Some(digits.parse().ok().filter(|digits| *digits <= 18).ok_or("Invalid precision")?),
    };
    let with_time = request.parameter("include_last_updated_at").as_deref() == Some("true");
    let mut rows: Vec<String> = Vec::new();
    for id in ids.split(',').map(str::trim) {
        let Some(index) = world.find(id) else {
            continue;
        };
        let quote = world.quote(index);
        let prices = currencies
            .split(',')
            .map(str::trim)
            .filter_map(|currency| Some(format!("\"{currency}\":{}", price(quote, currency, precision)?)));
        let time = with_time.then(|| format!("\"last_updated_at\":{}", quote.at / 1_000_000_000));
        let row = format!("{}:{{{}}}", quoted(id), prices.chain(time).collect::<Vec<_>>().join(","));
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    Ok(format!("{{{}}}", rows.join(",")))
}

/// What the listing costs in this currency, as a JSON number. Prices are kept in dollars; a euro
/// has its own, so that a plugin that reads the wrong currency is seen.
fn price(quote: &Quote, currency: &str, precision: Option<u32>) -> Option<String> {
    let percent = match currency {
        "usd" => 100,
        "eur" => 92,
        _ => return None,
    };
    Some(match Decimal::parse(&quote.last) {
        // Text that was pushed as it is.
        None => quote.last.to_string(),
        Some(_) if percent == 100 && precision.is_none() => quote.last.to_string(),
        Some(dollars) => {
            let price = dollars.percent(percent);
            precision.map_or(price.clone(), |digits| price.round(digits)).trimmed().to_string()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::Bench;

    #[test]
    fn requests_and_their_answers() {
        let rows = [
            ("ids=bitcoin&vs_currencies=usd", 200, r#"{"bitcoin":{"usd":67248.55}}"#),
            ("ids=bitcoin,nope&vs_currencies=usd,eur,xyz", 200, r#"{"bitcoin":{"usd":67248.55,"eur":61868.66}}"#),
            ("ids=bitcoin%2Cdai&vs_currencies=usd&precision=1", 200, r#"{"bitcoin":{"usd":67248.6},"dai":{"usd":1}}"#),
            ("ids=dai&vs_currencies=usd&precision=full", 200, r#"{"dai":{"usd":1.00}}"#),
            ("ids=dai&vs_currencies=usd&precision=99", 422, r#"{"error":"Invalid precision"}"#),
            ("ids=nope&vs_currencies=usd", 200, "{}"),
            ("ids=dai&vs_currencies=xyz", 200, r#"{"dai":{}}"#),
            (
                "ids=dai&vs_currencies=usd&include_last_updated_at=true",
                200,
                r#"{"dai":{"usd":1.00,"last_updated_at":1700000000}}"#,
            ),
            ("vs_currencies=usd", 422, r#"{"error":"Missing parameter ids"}"#),
            ("ids=dai", 422, r#"{"error":"Missing parameter vs_currencies"}"#),
        ];
        let bench = Bench::new(&[("bitcoin", "67248.55"), ("dai", "1.00")]);
        for (query, status, body) in rows {
            let response = answer(&get(query, &[]), &bench.world());
            assert_eq!((response.status, String::from_utf8_lossy(&response.body).as_ref()), (status, body), "{query}");
        }
    }

    #[test]
    fn the_key_must_be_right_where_one_is_required() {
        let mut bench = Bench::new(&[("dai", "1.00")]);
        bench.options.key = Some("CG-right".into());
        let query = "ids=dai&vs_currencies=usd";
        let with_parameter = format!("{query}&x_cg_demo_api_key=CG-right");
        for (query, headers, status) in [
            (query, vec![], 401),
            (query, vec![("x-cg-demo-api-key", "CG-wrong")], 401),
            (query, vec![("X-CG-Demo-API-Key", "CG-right")], 200),
            (query, vec![("x-cg-pro-api-key", "CG-right")], 200),
            (&with_parameter, vec![], 200),
        ] {
            assert_eq!(answer(&get(query, &headers), &bench.world()).status, status, "{headers:?}");
        }
    }

    fn get(query: &str, headers: &[(&str, &str)]) -> Request {
        Request {
            method: "GET".into(),
            target: format!("/api/v3/simple/price?{query}"),
            headers: headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            body: Vec::new(),
        }
    }
}
