//! The token that each connection begins with: where to connect, and how often to ping there.

use feedgate_sdk::{
    Context, Error, Method, Request, Response,
    http::{check_status, excerpt, json_text},
    json::{Text, object},
    url,
    websocket::{Endpoint, Step},
};
use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) const ORIGIN: &str = "https://api.kucoin.com";

/// The servers that answers have named: today's, and an older one. Any other is refused by the host, which says so.
pub(crate) const SERVERS: &[&str] = &["wss://ws-api-spot.kucoin.com", "wss://push-private.kucoin.com"];

const OK: &str = "200000";
const TOO_MANY_REQUESTS: &str = "429000";

/// The shortest interval that the host takes.
const SHORTEST_MS: u32 = 100;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(borrow)]
    msg: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Token<'a> {
    #[serde(borrow)]
    token: Text<'a>,
    #[serde(borrow, rename = "instanceServers")]
    servers: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Server<'a> {
    #[serde(borrow)]
    endpoint: Text<'a>,
    #[serde(rename = "pingInterval")]
    ping_interval: u32,
    #[serde(rename = "pingTimeout")]
    ping_timeout: u32,
}

pub(crate) fn request() -> Request {
    let url = format!("{ORIGIN}/api/v1/bullet-public");
    Request { method: Method::Post, url, headers: Vec::new(), body: None }
}

/// Where the token leads.
pub(crate) fn step(context: &Context, response: &Response) -> Result<Step, Error> {
    check_status(response)?;
    let answer: Answer<'_> = object(json_text(response)?)?;
    match (&*answer.code, answer.data) {
        (OK, Some(data)) => {
            let Token { token, servers } = object(data.get())?;
            let server = servers.first().ok_or_else(|| Error::Malformed("a token without a server".to_owned()))?;
            Ok(dial(context, &token, &object(server.get())?))
        }
        (TOO_MANY_REQUESTS, _) => Err(Error::rate_limited(None, answer.msg.as_deref().unwrap_or_default())),
        _ => Err(Error::Unavailable(excerpt(response))),
    }
}

fn dial(context: &Context, token: &str, server: &Server<'_>) -> Step {
    let Server { endpoint, ping_interval, ping_timeout } = server;
    let separator = if endpoint.contains('?') { '&' } else { '?' };
    let (token, connection) = (url::encode(token), context.nonce);
    Step::Dial(Endpoint {
        url: format!("{endpoint}{separator}token={token}&connectId={connection:016x}"),
        heartbeat_interval_ms: Some((*ping_interval).max(SHORTEST_MS)),
        idle_timeout_ms: Some(ping_interval.saturating_add(*ping_timeout).max(2 * SHORTEST_MS)),
        ..Endpoint::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context = Context { now_ms: 0, nonce: 0xabc };

    fn answered(status: u16, body: &str) -> Result<Step, Error> {
        step(&CONTEXT, &Response { status, headers: Vec::new(), body: body.into() })
    }

    fn server(rest: &str) -> String {
        format!(r#"{{"code":"200000","data":{{"token":"a+b=","instanceServers":[{rest}]}}}}"#)
    }

    #[test]
    fn the_answer_says_where_and_how_often() {
        let rest = r#"{"endpoint":"wss://ws-api-spot.kucoin.com/","encrypt":true,"protocol":"websocket","pingInterval":18000,"pingTimeout":10000}"#;
        let expected = Endpoint {
            url: "wss://ws-api-spot.kucoin.com/?token=a%2Bb%3D&connectId=0000000000000abc".to_owned(),
            heartbeat_interval_ms: Some(18_000),
            idle_timeout_ms: Some(28_000),
            ..Endpoint::default()
        };
        assert_eq!(answered(200, &server(rest)), Ok(Step::Dial(expected)));
        let rest =
            r#"{"endpoint":"wss://x.com/endpoint?acceptUserMessage=true","pingInterval":0,"pingTimeout":4294967295}"#;
        let Ok(Step::Dial(endpoint)) = answered(200, &server(rest)) else { panic!("refused") };
        assert!(endpoint.url.starts_with("wss://x.com/endpoint?acceptUserMessage=true&token="), "{}", endpoint.url);
        assert_eq!((endpoint.heartbeat_interval_ms, endpoint.idle_timeout_ms), (Some(100), Some(u32::MAX)));
    }

    #[test]
    fn what_is_no_token_is_an_error() {
        let malformed = |body: &str| assert!(matches!(answered(200, body), Err(Error::Malformed(_))), "{body}");
        for body in ["", "[]", "<html>", r#"{"code":200000}"#, r#"{"code":"200000","data":[]}"#] {
            malformed(body);
        }
        for rest in [
            "",
            "7",
            r#"{"endpoint":"wss://x.com"}"#,
            r#"{"endpoint":"wss://x.com","pingInterval":-1,"pingTimeout":1}"#,
        ] {
            malformed(&server(rest));
        }
        let busy = answered(200, r#"{"code":"429000","msg":"Too many requests"}"#);
        assert_eq!(busy, Err(Error::rate_limited(None, "Too many requests")));
        for (status, body) in [(200, r#"{"code":"200000"}"#), (200, r#"{"code":"500000","msg":"no"}"#), (503, "down")] {
            assert!(matches!(answered(status, body), Err(Error::Unavailable(_))), "{status} {body}");
        }
    }
}
