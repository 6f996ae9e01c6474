//! Who may reach what: proxies, secrets, grants, tokens of the API.
//!
//! Nothing here does I/O, and nothing here can print a secret, a token or a proxy's password.

pub mod grants;
pub mod proxy;
pub mod secret;
pub mod token;
