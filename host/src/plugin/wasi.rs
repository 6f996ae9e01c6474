//! WASI with nothing behind it, for plugins whose language brings it along: no environment, arguments, files, sockets
//! or stdin. What they print becomes log lines.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use crate::secret::Secrets;

/// Longest line that is logged; the rest of it is dropped.
pub(super) const MAX_LINE: usize = 1024;

pub(super) fn context(provider: &Arc<str>, secrets: &Arc<Secrets>) -> WasiCtx {
    let lines = |stream| Lines { provider: provider.clone(), secrets: secrets.clone(), stream };
    WasiCtxBuilder::new().stdout(lines("stdout")).stderr(lines("stderr")).build()
}

#[derive(Clone)]
struct Lines {
    provider: Arc<str>,
    secrets: Arc<Secrets>,
    stream: &'static str,
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
        if !self.pending.is_empty() {
            let text = String::from_utf8_lossy(&self.pending);
            let text = self.lines.secrets.redact(&text);
            tracing::info!(provider = %self.lines.provider, stream = self.lines.stream, "{text}");
            self.pending.clear();
        }
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
                _ if this.pending.len() < MAX_LINE => this.pending.push(*byte),
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
