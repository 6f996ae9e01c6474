//! What every request passes first: is it meant for us, may it be asked, is it one too many, too large, too slow.
//!
//! A page in a browser can make the browser send requests to this machine. It cannot send a token that it does not know,
//! nor read an answer, since nothing here allows other origins (CORS). What is left is a name of its own that it lets lead
//! to 127.0.0.1: so, where no token is asked for, only requests to an address or to `localhost` are answered.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};

use super::access::{Class, allow};
use super::refusal::{Refusal, echo};
use crate::config::{ApiConfig, ApiTokens};
use crate::logic::rate_limit::RateLimit;

/// No question is longer.
const MAX_BODY: usize = 4 << 10;

/// Of the requests of one second: how many may be refused for what they show. More is somebody who guesses.
const REFUSED_PART: u32 = 10;

/// Stands before every route.
#[derive(Debug)]
pub(super) struct Guard {
    tokens: RwLock<ApiTokens>,
    /// Those that are answered, and those that may not ask. Who is refused must not use up what others may ask.
    admitted: Mutex<RateLimit>,
    refused: Mutex<RateLimit>,
    timeout: Duration,
    /// What kind of question a path is; `None` where there is no such path.
    class_of: fn(&str) -> Option<Class>,
}

impl Guard {
    pub(super) fn new(config: &ApiConfig, tokens: ApiTokens, class_of: fn(&str) -> Option<Class>) -> Self {
        let limit = |count| Mutex::new(RateLimit::new(count, Duration::from_secs(1)));
        let count = config.max_requests_per_second;
        let refused = NonZeroU32::new(count.get() / REFUSED_PART).unwrap_or(NonZeroU32::MIN);
        Self {
            tokens: RwLock::new(tokens),
            admitted: limit(count),
            refused: limit(refused),
            timeout: config.request_timeout,
            class_of,
        }
    }

    pub(super) fn set_tokens(&self, tokens: ApiTokens) {
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    fn admit(&self, class: Class, headers: &HeaderMap) -> Result<(), Refusal> {
        if class == Class::Open {
            return Ok(());
        }
        let tokens = *self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let may_ask = if tokens.read.is_none() { check_host(headers) } else { Ok(()) };
        let header = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let may_ask = may_ask.and_then(|()| allow(&tokens, class, header));
        count(if may_ask.is_ok() { &self.admitted } else { &self.refused })?;
        may_ask
    }
}

/// Takes one, or says that there is none left.
fn count(limit: &Mutex<RateLimit>) -> Result<(), Refusal> {
    let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now().into_std();
    if limit.peek(now) > now {
        return Err(Refusal::TooMany);
    }
    limit.reserve(now);
    Ok(())
}

/// A request without the header comes from no browser.
fn check_host(headers: &HeaderMap) -> Result<(), Refusal> {
    let foreign = headers.get_all(HOST).iter().find(|host| !host.to_str().is_ok_and(is_local_name));
    match foreign {
        None => Ok(()),
        Some(host) => Err(Refusal::Forbidden(format!(
            "this API asks for no token, so it answers only requests to an IP address or to localhost, not to {}: \
             a web page may have made a browser send this (configure api.token)",
            echo(&String::from_utf8_lossy(host.as_bytes()))
        ))),
    }
}

fn is_local_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

pub(super) async fn pass(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    // What does not exist is told to readers alone.
    let class = path.and_then(|path| (guard.class_of)(path.as_str())).unwrap_or(Class::Read);
    if let Err(refusal) = guard.admit(class, request.headers()) {
        tracing::debug!(method = %request.method(), path = request.uri().path(), ?refusal, "the API refuses");
        return refusal.into_response();
    }
    let (head, body) = request.into_parts();
    // Whole before anything is done with it, so that who sends slowly holds up nothing but itself.
    match timeout(guard.timeout, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => next.run(Request::from_parts(head, Body::from(body))).await,
        Ok(Err(_)) => Refusal::TooLong(MAX_BODY).into_response(),
        Err(_) => Refusal::Late.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_uses_up_nothing_of_the_others() {
        let config =
            ApiConfig { max_requests_per_second: NonZeroU32::new(20).expect("not zero"), ..ApiConfig::default() };
        let token = crate::access::token::Token::new("the-token-of-readers").expect("long enough");
        let guard = Guard::new(&config, ApiTokens { read: Some(token), admin: None }, |_| None);
        let headers =
            |token: &'static str| HeaderMap::from_iter([(AUTHORIZATION, axum::http::HeaderValue::from_static(token))]);
        let (right, wrong) = (headers("Bearer the-token-of-readers"), headers("Bearer the-token-of-others"));
        let admit = |headers: &HeaderMap| guard.admit(Class::Read, headers);
        for _ in 0..2 {
            assert_eq!(admit(&wrong), Err(Refusal::WrongToken));
            assert_eq!(admit(&HeaderMap::new()), Err(Refusal::NoToken));
            assert_eq!(admit(&wrong), Err(Refusal::TooMany));
            assert!((0..20).all(|_| admit(&right) == Ok(())));
            assert_eq!(admit(&right), Err(Refusal::TooMany));
            assert!((0..99).all(|_| guard.admit(Class::Open, &wrong) == Ok(())));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[test]
    fn a_page_that_calls_itself_something_else_is_no_local_name() {
        for (host, local) in [
            ("127.0.0.1", true),
            ("127.0.0.1:8787", true),
            ("[::1]:8787", true),
            ("10.1.2.3:80", true),
            ("localhost", true),
            ("LocalHost:8787", true),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("example.com:8787", false),
            ("notlocalhost", false),
            ("::1", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(is_local_name(host), local, "{host:?}");
        }
    }
}
