//! The process in which a plugin is compiled: how it is started and watched, and what it does with itself.
//!
//! It gets no environment, a pipe on each end and nothing else; it bounds its own memory and processor time before it
//! reads a byte, and is killed when its time is up. However it ends, the file is refused and nothing else happens.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::time::Instant;

use super::compile::{self, MAX_ANSWER};
use super::load_error::LoadError;
use super::log::cut;
use super::wasmtime_config::config;
use crate::contract::limits::PluginLimits;

/// The subcommand.
const COMMAND: &str = "compile-plugin";

/// So much of what the child says on stderr is read.
const MAX_SAID: u64 = 16 << 10;

/// Below everything that moves data: compiling waits, feeds do not.
const NICENESS: i32 = 10;

/// How often a child that has answered is asked whether it has ended, which takes it no time.
const EXIT_LOOK: Duration = Duration::from_millis(1);

/// A child that does not outlive whoever started it.
struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    fn wait(&mut self, until: Instant) -> Result<Option<ExitStatus>, io::Error> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                return Ok(Some(status));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            std::thread::park_timeout(EXIT_LOOK);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // With whatever it has started: one that holds a pipe would keep our threads.
        #[cfg(unix)]
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has `program` compile a file, and gives its answer.
pub(super) fn compile(program: &Path, file: &[u8], limits: &PluginLimits) -> Result<Vec<u8>, LoadError> {
    let deadline = Instant::now() + limits.compile;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |e: io::Error| LoadError::Compiler(format!("{what}: {e}"))
    };
    let mut command = Command::new(program);
    command
        .arg(COMMAND)
        .args(["--bytes", &file.len().to_string()])
        .args(["--memory", &limits.compile_memory_bytes.to_string()])
        .args(["--seconds", &limits.compile.as_millis().div_ceil(1_000).to_string()])
        // No secret of the daemon's gets near what a stranger wrote.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    #[cfg(unix)]
    {
        std::os::unix::process::CommandExt::arg0(&mut command, "feedgate");
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
    }
    let child = command.spawn().map_err(failed(&format!("cannot start {}", program.display())))?;
    let mut running = Running { child, ended: false };

    // Each pipe has a thread of its own, so that neither side ever waits for the other one to read.
    let pipes = (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(LoadError::Compiler("the child has no pipes".to_owned()));
    };
    let input = file.to_vec();
    // A child that does not read to the end says why in its answer, or by how it ends.
    let write = move || drop(stdin.write_all(&input));
    std::thread::Builder::new().spawn(write).map_err(failed("no thread"))?;
    let longest = MAX_ANSWER.min(limits.compile_memory_bytes as u64);
    let answer = read(stdout, longest).map_err(failed("no thread"))?;
    let said = read(stderr, MAX_SAID).map_err(failed("no thread"))?;

    let late = || LoadError::CompileTime { ms: limits.compile.as_millis() };
    let answer = match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => return Err(late()),
        Err(RecvTimeoutError::Disconnected) => return Err(LoadError::Compiler("its answer was lost".to_owned())),
    };
    if answer.len() as u64 > longest {
        return Err(LoadError::Compile(format!("its code takes more than {} MiB", longest >> 20)));
    }
    match running.wait(deadline).map_err(failed("cannot wait for the child"))? {
        None => Err(late()),
        Some(status) if status.success() => Ok(answer),
        Some(status) => {
            let said = said.recv_timeout(deadline.saturating_duration_since(Instant::now())).unwrap_or_default();
            Err(ended(status, &said, limits))
        }
    }
}

/// Reads a pipe to its end, or to one byte more than `max`.
fn read(pipe: impl Read + Send + 'static, max: u64) -> io::Result<Receiver<Vec<u8>>> {
    let (give, take) = sync_channel(1);
    let read = move || {
        let mut bytes = Vec::new();
        // What came before an error counts; whether it is whole is seen later.
        let _ = pipe.take(max + 1).read_to_end(&mut bytes);
        let _ = give.send(bytes);
    };
    std::thread::Builder::new().spawn(read)?;
    Ok(take)
}

/// Why a child ended without an answer.
fn ended(status: ExitStatus, said: &[u8], limits: &PluginLimits) -> LoadError {
    let said = String::from_utf8_lossy(said);
    #[cfg(unix)]
    {
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        if signal == Some(rustix::process::Signal::XCPU.as_raw()) {
            return LoadError::CompileTime { ms: limits.compile.as_millis() };
        }
    }
    // The words of Rust and of wasmtime for memory that was not given.
    if said.contains("memory allocation of") || said.contains("out of memory") {
        return LoadError::CompileMemory { mib: limits.compile_memory_bytes >> 20 };
    }
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    LoadError::Compiler(format!(
        "the compiler ended with {status} (knobs: plugin_limits.compile_memory_mib = {}, plugin_limits.compile_ms = {}); \
         it said {:?}",
        limits.compile_memory_bytes >> 20,
        limits.compile.as_millis(),
        cut(&said, 400),
    ))
}

/// The child itself: limits itself, reads a file of `bytes` from stdin, writes the answer to stdout. Not to be called
/// by a process that has anything else to do.
pub fn compile_plugin(bytes: u64, memory: u64, seconds: u64) -> ExitCode {
    let answered = (|| {
        limit(memory, seconds)?;
        let mut file = Vec::new();
        io::stdin().lock().take(bytes + 1).read_to_end(&mut file)?;
        if file.len() as u64 != bytes {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file did not come whole"));
        }
        let engine = wasmtime::Engine::new(&config()).map_err(|e| io::Error::other(compile::words(&e)))?;
        let answer = compile::compile(&engine, &file).map_err(io::Error::other)?;
        let mut out = io::stdout().lock();
        out.write_all(&answer)?;
        out.flush()
    })();
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Who would read it may be gone.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Bounds this process for the rest of its life.
#[cfg(unix)]
fn limit(memory: u64, seconds: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // Both as far as the system lets us. Where memory is short, this process goes and not the daemon.
    let _ = nice(NICENESS);
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    for (resource, wanted) in
        [(Resource::As, memory), (Resource::Cpu, seconds), (Resource::Core, 0), (Resource::Nofile, 16)]
    {
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        // A second after the signal that can be told apart comes the one that cannot be survived.
        let last = if resource == Resource::Cpu { wanted.saturating_add(1) } else { wanted };
        setrlimit(resource, Rlimit { current: Some(wanted.min(most)), maximum: Some(last.min(most)) })?;
    }
    Ok(())
}

/// Its starter's deadline is all that there is.
#[cfg(not(unix))]
fn limit(_: u64, _: u64) -> io::Result<()> {
    Ok(())
}
