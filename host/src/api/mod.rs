//! The HTTP/JSON API: what [`Status`] and its store hold, for reading.
//!
//! Nothing here changes anything, and nothing here waits for a venue: an answer is made of what is known when the
//! question arrives. The shapes on the wire live here, since the core's types are not `Serialize`; they are written
//! down for readers in `openapi.json`, and the tests compare the two. Absent means unknown or not applicable; no field
//! is ever `null`, and 0 means zero. Reading order: `routes` (what there is), `observations`, `providers`, `plugins`,
//! `health`, then `query` and `refusal`.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::status::Status;

mod health;
mod observations;
mod plugins;
mod providers;
mod query;
mod refusal;
mod routes;

pub use health::{Missing, Readiness};
pub use observations::{Observation, Observations, Value};
pub use plugins::{Config, Plugin, Plugins};
pub use providers::{Connection, Poller, Provider, Providers, Trouble};
pub use routes::router;

/// How long open answers may take once the daemon stops: a reader that never finishes must not hold it up.
const GRACE: Duration = Duration::from_secs(5);

/// Answers until `stop` completes, then finishes what was asked before, within five seconds.
pub async fn serve(
    listener: TcpListener,
    status: Arc<Status>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // Answers are written whole: waiting for more to send only adds delay.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "an API connection keeps Nagle's delay");
        }
    });
    let (tell, told) = oneshot::channel();
    let stop = async move {
        stop.await;
        // Nobody listens any more only when the server has ended already.
        let _ = tell.send(());
    };
    let serving = axum::serve(listener, router(status)).with_graceful_shutdown(stop);
    let late = async {
        match told.await {
            Ok(()) => tokio::time::sleep(GRACE).await,
            // The server ended by itself: its own result counts.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = serving.into_future() => ended,
        () = late => {
            tracing::warn!("readers of the API did not finish within {GRACE:?}: cut off");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
