//! What plugins and operators say, in the host's own types: observations, the codec traits, descriptions, origins.
//!
//! Plain data and the checks that make it valid. No I/O: how it was read, sent or stored is another room's business.

pub mod observation;

pub mod codec;
pub mod description;
pub mod digest;
pub mod header;
pub mod limits;
pub mod origin;
