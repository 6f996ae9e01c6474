//! Temporary.
mod support;
mod faults;
mod misfits;
mod plugins;
mod tidy;
