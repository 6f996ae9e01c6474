//! A connection on its way, from the first request before it to the open socket, and what can happen next on that way.
//! Only the states: `opening` begins a step, `connection` decides what follows from it.

use std::future::Future;
use std::pin::Pin;

use super::end::End;
use super::websocket::{Heard, Socket};
use crate::contract::codec::Response;
use crate::contract::origin::Origin;
use crate::logic::session::Overrides;
use crate::transport::http::FetchError;

/// What is under way.
pub(super) type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A connection on its way: codec and socket belong together, so neither can be without the other.
pub(super) enum Link<C> {
    Down,
    Fetching { codec: Box<C>, fetches: usize, answer: Pending<Result<Response, FetchError>> },
    Dialing { codec: Box<C>, origin: Origin, overrides: Overrides, socket: Pending<Result<Box<Socket>, End>> },
    Up { codec: Box<C>, origin: Origin, socket: Box<Socket> },
}

/// Why the loop woke.
pub(super) enum Happened {
    Fetched(Result<Response, FetchError>),
    Dialed(Result<Box<Socket>, End>),
    Heard(Heard),
}

impl<C> Link<C> {
    /// Waits for the next thing on the way. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Happened {
        match self {
            Self::Down => std::future::pending().await,
            Self::Fetching { answer, .. } => Happened::Fetched(answer.await),
            Self::Dialing { socket, .. } => Happened::Dialed(socket.await),
            Self::Up { socket, .. } => Happened::Heard(socket.next().await),
        }
    }
}
