//! The pure part of feedgate: what plugins and operators say, and every decision.
//!
//! Two rooms of the host that need no clock, socket or runtime, and so none of its dependencies: their tests build and
//! run within seconds. The host shows them as `feedgate::contract` and `feedgate::logic`.

pub mod contract;

pub mod logic;
