//! Types generated from `wit/`. Nothing else: conversions are in `convert`, calls in `instance`.

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "provider",
        // What a plugin says of itself is kept.
        additional_derives: [serde::Serialize, serde::Deserialize],
    });
}

pub(crate) use generated::Provider;
pub(crate) use generated::exports::feedgate::provider::describe;
pub(crate) use generated::feedgate::provider::{description, log, polling, streaming, types};

use wasmtime::component::{ComponentType, Lower};

/// `streaming.received` on its way in, borrowed: a lone frame from the socket's buffer.
#[derive(Copy, Clone, ComponentType, Lower)]
#[component(variant)]
pub(crate) enum ReceivedParam<'a> {
    #[component(name = "text")]
    Text(&'a str),
    #[component(name = "binary")]
    Binary(&'a [u8]),
}

/// `types.response` on its way in: the body is borrowed.
#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct ResponseParam<'a> {
    pub(crate) status: u16,
    pub(crate) headers: Vec<types::Header>,
    pub(crate) body: &'a [u8],
}
