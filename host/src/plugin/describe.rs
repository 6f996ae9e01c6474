//! Turns the description that a plugin gives into one that can be relied on.

use std::num::NonZeroU32;
use std::time::Duration;

use super::bindings::description as wit;
use super::convert;
use super::log::cut;
use crate::contract::description::{
    Bucket, Compression, Description, HttpLimits, Limited, Resources, Scope, SecretRequest, WebSocketLimits,
};
use crate::contract::origin::Origin;

/// Most characters in any one text of a description.
const MAX_TEXT: usize = 64 << 10;
const MAX_IDS: usize = 100_000;

/// Checks every field; the error names the field and what would be right. `http` and `websocket`: whether the plugin
/// exports them.
pub(super) fn check(found: wit::Description, http: bool, websocket: bool) -> Result<Description, String> {
    let name_fits = !found.name.is_empty()
        && found.name.len() <= 64
        && found.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !name_fits {
        return Err(format!(
            "name: {:?} is not made of lower-case letters, digits and hyphens, at most 64",
            cut(&found.name, 80)
        ));
    }
    for (field, text) in [
        ("version", &found.version),
        ("summary", &found.summary),
        ("documentation", &found.documentation),
        ("settings-schema", &found.settings_schema),
    ] {
        if text.len() > MAX_TEXT {
            return Err(format!("{field}: longer than {} KiB", MAX_TEXT >> 10));
        }
    }
    if found.default_ids.len() > MAX_IDS {
        return Err(format!("default-ids: more than {MAX_IDS}"));
    }
    if found.values.is_empty() {
        return Err("values: none, so nobody would know what its numbers are".to_owned());
    }
    let origins: Vec<_> = found.origins.iter().map(|text| origin(text, "origins")).collect::<Result<_, _>>()?;
    let mirrors = found.mirrors.iter().map(|found| mirror(found, &origins)).collect::<Result<_, _>>()?;
    serde_json::from_str::<serde_json::Value>(&found.settings_schema)
        .map_err(|e| format!("settings-schema: not JSON: {e}"))?;
    for (present, exported, interface) in
        [(found.http.is_some(), http, "http"), (found.websocket.is_some(), websocket, "websocket")]
    {
        if present != exported {
            let (says, does) = if present { ("present", "not exported") } else { ("absent", "exported") };
            return Err(format!("{interface}: the limits are {says}, but the interface is {does}"));
        }
    }
    Ok(Description {
        origins,
        mirrors,
        settings_schema: found.settings_schema,
        values: found.values.into_iter().map(convert::value_kind).collect(),
        secrets: found.secrets.into_iter().map(secret).collect::<Result<_, _>>()?,
        resources: found.resources.map(resources).transpose()?.unwrap_or_default(),
        buckets: found.buckets.into_iter().map(bucket).collect::<Result<_, _>>()?,
        websocket: found.websocket.map(websocket_limits).transpose()?,
        http: found.http.map(http_limits).transpose()?,
        name: found.name,
        version: found.version,
        summary: found.summary,
        documentation: found.documentation,
        default_ids: found.default_ids,
    })
}

fn origin(text: &str, field: &str) -> Result<Origin, String> {
    Origin::parse(text).map_err(|why| format!("{field}: {text:?}: {why}"))
}

fn mirror(found: &wit::Mirror, origins: &[Origin]) -> Result<(Origin, Vec<Origin>), String> {
    let of = origin(&found.origin, "mirrors")?;
    if !origins.contains(&of) {
        return Err(format!("mirrors: {of} is not among the origins"));
    }
    let instead = found.instead.iter().map(|text| {
        let instead = origin(text, "mirrors")?;
        if instead.scheme() == of.scheme() {
            Ok(instead)
        } else {
            Err(format!("mirrors: {instead} has not the scheme of {of}"))
        }
    });
    Ok((of.clone(), instead.collect::<Result<_, _>>()?))
}

fn secret(found: wit::Secret) -> Result<SecretRequest, String> {
    if found.name.is_empty() || !found.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(format!("secrets: {:?} is not made of letters, digits and underscores", found.name));
    }
    Ok(SecretRequest { name: found.name, purpose: found.purpose, required: found.required })
}

fn resources(found: wit::Resources) -> Result<Resources, String> {
    let optional = |count: Option<u32>, field: &str, most: u32| match count {
        Some(count) if count > most => Err(format!("resources: {field} is {count}; at most {most}")),
        count => count.map(|count| at_least_one(count, &format!("resources: {field}"))).transpose(),
    };
    Ok(Resources {
        memory_mib: optional(found.memory_mib, "memory-mib", 4096)?,
        init_ms: optional(found.init_ms, "init-ms", 60_000)?,
        build_ms: optional(found.build_ms, "build-ms", 60_000)?,
        parse_ms: optional(found.parse_ms, "parse-ms", 60_000)?,
        result_kib: optional(found.result_kib, "result-kib", 1 << 20)?,
    })
}

fn bucket(found: wit::Bucket) -> Result<Bucket, String> {
    if found.per_ms == 0 {
        return Err("buckets: per-ms is 0".to_owned());
    }
    Ok(Bucket {
        what: match found.what {
            wit::Action::Connect => Limited::Connect,
            wit::Action::Send => Limited::Send,
            wit::Action::Subscribe => Limited::Subscribe,
            wit::Action::Request => Limited::Request,
        },
        count: at_least_one(found.count, "buckets: count")?,
        per: millis(found.per_ms),
        scope: match found.scope {
            wit::Scope::Connection => Scope::Connection,
            wit::Scope::Origin => Scope::Origin,
        },
        counts_control_frames: found.counts_control_frames,
    })
}

fn websocket_limits(found: wit::WebsocketLimits) -> Result<WebSocketLimits, String> {
    let heartbeat = match found.heartbeat {
        Some(heartbeat) if heartbeat.interval_ms < 100 => {
            return Err("websocket: the heartbeat interval is below 100 ms".to_owned());
        }
        Some(heartbeat) => Some((millis(heartbeat.interval_ms), heartbeat.when == wit::HeartbeatWhen::Idle)),
        None => None,
    };
    let positive = |ms: Option<u32>, field: &str| match ms {
        Some(0) => Err(format!("websocket: {field} is 0; `none` is for no limit")),
        ms => Ok(ms.map(millis)),
    };
    let optional = |count: Option<u32>, field: &str| count.map(|count| at_least_one(count, field)).transpose();
    Ok(WebSocketLimits {
        max_connections: optional(found.max_connections, "websocket: max-connections")?,
        ids_per_connection: optional(found.ids_per_connection, "websocket: ids-per-connection")?,
        ids_per_message: optional(found.ids_per_message, "websocket: ids-per-message")?,
        heartbeat,
        idle_timeout: positive(found.idle_timeout_ms, "idle-timeout-ms")?,
        max_age: positive(found.max_age_ms, "max-age-ms")?,
        first_send_delay: millis(found.first_send_delay_ms),
        waits_for_ready: found.waits_for_ready,
        compression: match found.compression {
            wit::Compression::None => Compression::None,
            wit::Compression::Gzip => Compression::Gzip,
            wit::Compression::Zlib => Compression::Zlib,
            wit::Compression::RawDeflate => Compression::RawDeflate,
        },
        acknowledges: found.acknowledges,
    })
}

fn http_limits(found: wit::HttpLimits) -> Result<HttpLimits, String> {
    if found.poll_interval_ms < 100 {
        return Err("http: poll-interval-ms is below 100".to_owned());
    }
    if found.timeout_ms == 0 {
        return Err("http: timeout-ms is 0".to_owned());
    }
    Ok(HttpLimits {
        poll_interval: millis(found.poll_interval_ms),
        timeout: millis(found.timeout_ms),
        max_in_flight: at_least_one(found.max_in_flight, "http: max-in-flight")?,
    })
}

fn at_least_one(count: u32, field: &str) -> Result<NonZeroU32, String> {
    NonZeroU32::new(count).ok_or_else(|| format!("{field} is 0; at least 1"))
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}
