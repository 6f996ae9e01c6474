//! A thread for one provider, with a runtime of its own.
//!
//! What one provider's plugin burns is taken from its own thread: others wait for a processor, never for a plugin. Its
//! connections, its codecs and the writes to its slots stay on that thread. No decisions here.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// For looking up names, which blocks.
const BLOCKING_THREADS: usize = 2;

/// The thread ends when this is dropped; what it still runs is dropped with it.
#[derive(Debug)]
pub(crate) struct Lane {
    handle: Handle,
    /// The thread waits for this to go.
    _alive: oneshot::Sender<()>,
}

impl Lane {
    /// Fails when the system gives no more threads or descriptors.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
        let handle = runtime.handle().clone();
        let (alive, gone) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || {
            // An error is what it waits for.
            let _ = runtime.block_on(gone);
            // A name that is being looked up holds nobody up.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _alive: alive })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}
