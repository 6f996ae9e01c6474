//! The types that all plugins share, generated from the contract.
#![allow(unreachable_pub, reason = "generated: what is public here is picked out in lib.rs")]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
