//! The names of providers and plugins.

/// A name stands in URLs, metrics and file names.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits { Ok(()) } else { Err("a provider's name is made of letters, digits, - and _, at most 64".to_owned()) }
}
