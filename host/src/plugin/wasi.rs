//! WASI with nothing behind it, for plugins whose language brings it along: no environment, arguments, files, sockets
//! or stdin. What they print becomes log lines.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use super::log::{LogLines, MAX_LINE, cut};
use crate::access::secret::Secrets;

/// Streams, waits and the like that an instance may hold at once.
const MAX_RESOURCES: usize = 1_000;

pub(super) fn context(provider: &Arc<str>, secrets: &Arc<Secrets>, budget: &Arc<Mutex<LogLines>>) -> WasiCtx {
    let lines = |stream| Lines { provider: provider.clone(), secrets: secrets.clone(), stream, budget: budget.clone() };
    WasiCtxBuilder::new()
        // Else there would be sockets: good for nothing, but each a descriptor of the daemon's.
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .stdout(lines("stdout"))
        .stderr(lines("stderr"))
        .build()
}

pub(super) fn table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_RESOURCES);
    table
}

#[derive(Clone)]
struct Lines {
    provider: Arc<str>,
    secrets: Arc<Secrets>,
    stream: &'static str,
    budget: Arc<Mutex<LogLines>>,
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(LineWriter { lines: self.clone(), pending: Vec::new() })
    }
}

/// Cuts what is written into lines. An unterminated last line is logged when the stream is dropped.
struct LineWriter {
    lines: Lines,
    pending: Vec<u8>,
}

impl LineWriter {
    fn log(&mut self) {
        if !self.pending.is_empty() && LogLines::admit(&self.lines.budget) {
            let text = String::from_utf8_lossy(&self.pending);
            // A secret that is cut in two is not found.
            let text = self.lines.secrets.redact(&text);
            let text = cut(&text, MAX_LINE);
            tracing::info!(provider = %self.lines.provider, stream = self.lines.stream, "{text}");
        }
        self.pending.clear();
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.log();
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        for byte in bytes {
            match byte {
                b'\n' => this.log(),
                _ if this.pending.len() < 4 * MAX_LINE => this.pending.push(*byte),
                _ => {}
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_printed_has_the_budget_of_what_is_logged() {
        let budget = Arc::new(Mutex::new(LogLines::new(401)));
        let lines = |stream| Lines { provider: "p".into(), secrets: Arc::default(), stream, budget: budget.clone() };
        for stream in ["stdout", "stderr"] {
            let mut writer = Box::into_pin(lines(stream).async_stream());
            // Empty lines are none, and a long one is one.
            let text = [&b"a line\n\n"[..], &[b'x'; 5_000], b"\n"].concat();
            for _ in 0..100 {
                writer.write_all(&text).await.expect("it takes everything");
            }
        }
        // Each line took its part: this is the last one of its second.
        assert_eq!([(); 2].map(|()| LogLines::admit(&budget)), [true, false]);
    }
}
