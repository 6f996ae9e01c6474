//! The section `[plugin_limits]`.

use std::time::Duration;

use serde::Deserialize;

use super::source::{ConfigError, Source};
use crate::contract::limits::PluginLimits;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPluginLimits {
    max_file_mib: Option<u32>,
    max_memory_mib: Option<u32>,
    max_table_elements: Option<u32>,
    max_instances: Option<u32>,
    max_result_kib: Option<u32>,
    init_ms: Option<u64>,
    build_ms: Option<u64>,
    parse_ms: Option<u64>,
    parse_per_kib_us: Option<u64>,
    compile_ms: Option<u64>,
    compile_memory_mib: Option<u32>,
    log_lines_per_second: Option<u32>,
}

pub(super) fn plugin_limits(source: &Source<'_>, raw: &RawPluginLimits) -> Result<PluginLimits, ConfigError> {
    let default = PluginLimits::default();
    let positive = |field: &str, value: Option<u64>, default: u64| match value {
        Some(0) => Err(source.invalid(&format!("plugin_limits.{field}"), "must be at least 1".to_owned())),
        value => Ok(value.unwrap_or(default)),
    };
    let bytes = |field: &str, value: Option<u32>, shift: u32, default: usize| {
        let units = positive(field, value.map(u64::from), (default >> shift) as u64)?;
        // At most 2^32 << 20, which a 64-bit usize holds.
        Ok::<usize, ConfigError>((units as usize) << shift)
    };
    let time = |field: &str, value: Option<u64>, default: Duration| {
        let ms = positive(field, value, u64::try_from(default.as_millis()).unwrap_or(u64::MAX))?;
        if ms > MAX_CALL_MS {
            let why = format!("at most {MAX_CALL_MS}: a call holds up its thread");
            return Err(source.invalid(&format!("plugin_limits.{field}"), why));
        }
        Ok(Duration::from_millis(ms))
    };
    let compile_ms =
        positive("compile_ms", raw.compile_ms, default.compile.as_millis().try_into().unwrap_or(u64::MAX))?;
    if compile_ms > MAX_COMPILE_MS {
        let why = format!("at most {MAX_COMPILE_MS}: other plugins wait for it");
        return Err(source.invalid("plugin_limits.compile_ms", why));
    }
    Ok(PluginLimits {
        max_file_bytes: bytes("max_file_mib", raw.max_file_mib, 20, default.max_file_bytes)?,
        max_memory_bytes: bytes("max_memory_mib", raw.max_memory_mib, 20, default.max_memory_bytes)?,
        max_table_elements: raw.max_table_elements.map_or(default.max_table_elements, |n| n as usize),
        max_instances: raw.max_instances.map_or(default.max_instances, |n| n as usize),
        max_result_bytes: bytes("max_result_kib", raw.max_result_kib, 10, default.max_result_bytes)?,
        init: time("init_ms", raw.init_ms, default.init)?,
        build: time("build_ms", raw.build_ms, default.build)?,
        parse: time("parse_ms", raw.parse_ms, default.parse)?,
        parse_per_kib: raw.parse_per_kib_us.map_or(default.parse_per_kib, Duration::from_micros),
        compile: Duration::from_millis(compile_ms),
        compile_memory_bytes: bytes("compile_memory_mib", raw.compile_memory_mib, 20, default.compile_memory_bytes)?,
        log_lines_per_second: raw.log_lines_per_second.unwrap_or(default.log_lines_per_second),
    })
}

const MAX_CALL_MS: u64 = 60_000;

const MAX_COMPILE_MS: u64 = 3_600_000;
