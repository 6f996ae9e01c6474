//! Polymarket's midpoints: a list of tokens in a body, and those without a book are simply missing.
//!
//! After the [page of the endpoint].
//!
//! [page of the endpoint]: https://docs.polymarket.com/api-reference/market-data/get-midpoint-prices-request-body

use serde_json::Value;

use crate::http::{Request, Response};
use crate::session::World;
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "polymarket",
    origins: &["https://clob.polymarket.com"],
    prices: PRICES,
    // 500 in 10 seconds.
    budget: 3_000,
    answer: |request, _, world| answer(request, world),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("71321045679252212594626385532706912750332728571942532289631379312455583992563", "0.515"),
    ("52114319501245915516055106046884209969926127482827954674443846427813813222426", "0.485"),
    ("95128817762909535143571435260705470642391662537976312011260538371392879420759", "0.0115"),
    ("98022490269692409998126496127597032490334070080325855126491859374983463996227", "0.9885"),
    ("10000000000000000000000000000000000000000000000000000000000000000000000000001", "0.25"),
    ("10000000000000000000000000000000000000000000000000000000000000000000000000002", "0.75"),
    ("10000000000000000000000000000000000000000000000000000000000000000000000000003", "0.105"),
    ("10000000000000000000000000000000000000000000000000000000000000000000000000004", "0.895"),
    ("10000000000000000000000000000000000000000000000000000000000000000000000000005", "0.3325"),
    ("10000000000000000000000000000000000000000000000000000000000000000000000000006", "0.6675"),
];

fn answer(request: &Request, world: &World<'_>) -> Response {
    if request.path() != "/midpoints" || request.method != "POST" {
        return Response::json(404, r#"{"error":"not found"}"#);
    }
    let invalid = || Response::json(400, r#"{"error":"Invalid payload"}"#);
    if request.header("content-type") != Some("application/json") {
        return invalid();
    }
    let Some(tokens) = tokens(&request.body) else { return invalid() };
    if tokens.len() > 500 {
        return Response::json(400, r#"{"error":"Payload exceeds the limit"}"#);
    }
    let midpoints = tokens.iter().filter_map(|token| {
        let quote = world.quote(world.find(token)?);
        Some(format!("\"{token}\":\"{}\"", quote.last))
    });
    Response::json(200, format!("{{{}}}", midpoints.collect::<Vec<_>>().join(",")))
}

/// Numbers as text, none twice.
fn tokens(body: &[u8]) -> Option<Vec<String>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let mut tokens = Vec::new();
    for asked in body.as_array().filter(|asked| !asked.is_empty())? {
        let token = asked.get("token_id")?.as_str()?.to_owned();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_digit()) || tokens.contains(&token) {
            return None;
        }
        tokens.push(token);
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::Bench;

    #[test]
    fn requests_and_their_answers() {
        let bench = Bench::new(&[("71", "0.515"), ("52", "0.485")]);
        let invalid = r#"{"error":"Invalid payload"}"#;
        let too_many: Vec<String> = (1..=501).map(|token| format!(r#"{{"token_id":"{token}"}}"#)).collect();
        let too_many = format!("[{}]", too_many.join(","));
        for (sent, status, body) in [
            (r#"[{"token_id":"71"},{"token_id":"52"}]"#, 200, r#"{"71":"0.515","52":"0.485"}"#),
            (r#"[{"token_id":"71"},{"token_id":"99"}]"#, 200, r#"{"71":"0.515"}"#),
            (r#"[{"token_id":"99"}]"#, 200, "{}"),
            (r#"[{"token_id":"71"},{"token_id":"71"}]"#, 400, invalid),
            (r#"[{"token_id":71}]"#, 400, invalid),
            (r#"[{"token_id":"0xab"}]"#, 400, invalid),
            (r#"{"token_id":"71"}"#, 400, invalid),
            ("[]", 400, invalid),
            ("", 400, invalid),
            (&too_many, 400, r#"{"error":"Payload exceeds the limit"}"#),
        ] {
            let request = Request {
                method: "POST".into(),
                target: "/midpoints".into(),
                headers: vec![("Content-Type".into(), "application/json".into())],
                body: sent.into(),
            };
            let response = answer(&request, &bench.world());
            let found = (response.status, String::from_utf8_lossy(&response.body).into_owned());
            assert_eq!(found, (status, body.to_owned()), "{sent}");
        }
        let get = Request { method: "GET".into(), target: "/midpoints".into(), ..Request::default() };
        assert_eq!(answer(&get, &bench.world()).status, 404);
        let plain = Request { method: "POST".into(), body: b"[]".to_vec(), ..get };
        assert_eq!(answer(&plain, &bench.world()).status, 400);
    }
}
