//! Between the generated types and the host's own. No decisions but one: what a plugin says that cannot be true in the
//! host's types (a literal that is no number) becomes an outcome of its id, never an error of the whole call.

use std::time::Duration;

use super::bindings::{describe, polling, streaming, types};
use crate::contract::codec::{
    Context, Endpoint, Event, Frame, Incoming, Method, Missing, Outcome, PlannedRequest, Reconnect, Refusal, Rejection,
    Request, Response, Step, Subscription,
};
use crate::contract::observation::{Decimal, Key, Observation, UnixNanos, Value, ValueKind};

pub(super) fn context(context: Context) -> types::Context {
    types::Context { now_ms: context.now_ms, nonce: context.nonce }
}

pub(super) fn subscriptions(subscriptions: &[Subscription]) -> Vec<types::Subscription> {
    subscriptions.iter().map(|s| types::Subscription { key: s.key.0, id: s.id.to_string() }).collect()
}

pub(super) fn headers(headers: &[(String, String)]) -> Vec<types::Header> {
    headers.iter().map(|(name, value)| types::Header { name: name.clone(), value: value.clone() }).collect()
}

pub(super) fn response(response: &Response) -> super::bindings::ResponseParam<'_> {
    super::bindings::ResponseParam {
        status: response.status,
        headers: headers(&response.headers),
        body: &response.body,
    }
}

/// Where each of the frames ends when they stand one behind the other.
pub(super) fn ends(frames: &[Incoming<'_>]) -> Vec<u32> {
    let mut end = 0;
    let end_of = |frame: &Incoming<'_>| {
        end += frame.bytes().len();
        // No guest has room for more; it is refused where room is asked for.
        u32::try_from(end).unwrap_or(u32::MAX)
    };
    frames.iter().map(end_of).collect()
}

pub(super) fn value_kind(kind: types::ValueKind) -> ValueKind {
    match kind {
        types::ValueKind::LastTrade => ValueKind::LastTrade,
        types::ValueKind::Mid => ValueKind::Mid,
        types::ValueKind::Vwap => ValueKind::Vwap,
        types::ValueKind::Index => ValueKind::Index,
        types::ValueKind::Other => ValueKind::Other,
    }
}

pub(super) fn settings_error(error: describe::SettingsError) -> crate::contract::codec::Death {
    crate::contract::codec::Death::Settings { field: error.field, why: error.why }
}

pub(super) fn refusal(error: types::Error) -> Refusal {
    match error {
        types::Error::Rejected(list) => Refusal::Rejected(list.into_iter().map(rejection).collect()),
        types::Error::Malformed(text) => Refusal::Malformed(text),
        types::Error::Unavailable(text) => Refusal::Unavailable(text),
        types::Error::RateLimited(wait) => Refusal::RateLimited { wait: wait.ms.map(millis), reason: wait.reason },
    }
}

pub(super) fn step(step: streaming::Step) -> Step {
    match step {
        streaming::Step::Fetch(fetch) => Step::Fetch(request(fetch)),
        streaming::Step::Dial(endpoint) => Step::Dial(Endpoint {
            url: endpoint.url,
            headers: pairs(endpoint.headers),
            subprotocols: endpoint.subprotocols,
            heartbeat_interval: endpoint.heartbeat_interval_ms.map(millis),
            idle_timeout: endpoint.idle_timeout_ms.map(millis),
        }),
    }
}

pub(super) fn frame(frame: types::Frame) -> Frame {
    match frame {
        types::Frame::Text(text) => Frame::Text(text),
        types::Frame::Binary(bytes) => Frame::Binary(bytes),
        types::Frame::Ping(bytes) => Frame::Ping(bytes),
    }
}

pub(super) fn event(event: streaming::Event) -> Event {
    match event {
        streaming::Event::Observed(observed) => match observation(observed) {
            Ok(observation) => Event::Observed(observation),
            Err((key, why)) => Event::Unusable { key, why },
        },
        streaming::Event::Unchanged(key) => Event::Unchanged(Key(key)),
        streaming::Event::Subscribed(key) => Event::Subscribed(Key(key)),
        streaming::Event::Rejected(refused) => Event::Rejected(rejection(refused)),
        streaming::Event::Reply(reply) => Event::Reply(frame(reply)),
        streaming::Event::Ready => Event::Ready,
        streaming::Event::Alive => Event::Alive,
        streaming::Event::Reconnect(when) => Event::Reconnect(match when {
            streaming::Reconnect::Now => Reconnect::Now,
            streaming::Reconnect::OverlapWithin(ms) => Reconnect::OverlapWithin(millis(ms)),
            streaming::Reconnect::After(ms) => Reconnect::After(millis(ms)),
        }),
        streaming::Event::Gap(gap) => Event::Gap { key: gap.key.map(Key), missing: gap.missing },
        streaming::Event::Malformed(bad) => Event::Malformed { index: bad.index, text: bad.text },
    }
}

pub(super) fn planned_request(planned: polling::PlannedRequest) -> PlannedRequest {
    PlannedRequest { request: request(planned.request), keys: planned.keys.into_iter().map(Key).collect() }
}

pub(super) fn outcome(outcome: polling::Outcome) -> Outcome {
    match outcome {
        polling::Outcome::Observed(observed) => match observation(observed) {
            Ok(observation) => Outcome::Observed(observation),
            Err((key, text)) => Outcome::Unresolved { key, why: Missing::Malformed, text },
        },
        polling::Outcome::Unchanged(key) => Outcome::Unchanged(Key(key)),
        polling::Outcome::Unresolved(unresolved) => Outcome::Unresolved {
            key: Key(unresolved.key),
            why: match unresolved.why {
                polling::Missing::UnknownId => Missing::UnknownId,
                polling::Missing::NoValue => Missing::NoValue,
                polling::Missing::Undecided => Missing::Undecided,
                polling::Missing::Malformed => Missing::Malformed,
            },
            text: unresolved.text,
        },
    }
}

fn rejection(rejection: types::Rejection) -> Rejection {
    Rejection { key: Key(rejection.key), reason: rejection.reason, permanent: rejection.permanent }
}

fn request(request: types::Request) -> Request {
    Request {
        method: match request.method {
            types::Method::Get => Method::Get,
            types::Method::Post => Method::Post,
        },
        url: request.url,
        headers: pairs(request.headers),
        body: request.body,
    }
}

fn pairs(headers: Vec<types::Header>) -> Vec<(String, String)> {
    headers.into_iter().map(|header| (header.name, header.value)).collect()
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

fn observation(observed: types::Observation) -> Result<Observation, (Key, String)> {
    let key = Key(observed.key);
    let value = match observed.value {
        types::Value::Decimal(d) => {
            Value::Decimal(Decimal::new(d.coefficient, d.exponent).map_err(|e| (key, format!("decimal: {e}")))?)
        }
        types::Value::Literal(literal) => Value::Decimal(
            literal
                .parse()
                .map_err(|e| (key, format!("literal {:?}: {e}", literal.chars().take(40).collect::<String>())))?,
        ),
        types::Value::Text(text) => Value::Text(text),
        types::Value::Flag(flag) => Value::Flag(flag),
        types::Value::Bytes(bytes) => Value::Bytes(bytes),
    };
    let observed_at = match observed.observed_at {
        None => None,
        Some(time) => Some(nanos(time).ok_or_else(|| (key, format!("time {time:?} is out of range")))?),
    };
    Ok(Observation { key, value, observed_at, sequence: observed.sequence })
}

fn nanos(time: types::Timestamp) -> Option<UnixNanos> {
    let (count, unit) = match time {
        types::Timestamp::Seconds(s) => (s, 1_000_000_000),
        types::Timestamp::Millis(ms) => (ms, 1_000_000),
        types::Timestamp::Micros(us) => (us, 1_000),
        types::Timestamp::Nanos(ns) => (ns, 1),
    };
    count.checked_mul(unit).map(UnixNanos)
}
