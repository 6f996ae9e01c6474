//! The names by which a type asks the reader for something that serde has no call for. Types and reader share them, so that
//! neither needs the other.

/// Of `Number`: hand out a number by its text.
pub(super) const NUMBER: &str = "$feedgate_sdk::Number";

/// Of `Item`: go back to the beginning of a value, and read it a second time.
pub(super) const ITEM: &str = "$feedgate_sdk::Item";

/// Of `serde_json::value::RawValue`: hand out a value's text.
pub(super) const RAW: &str = "$serde_json::private::RawValue";
