//! Compiling: from a file's bytes to code that this machine runs, and where that is done.
//!
//! Everything that reads bytes of unknown origin (parser, check against the contract, compiler) is in [`compile`], and
//! what comes of it is one answer in bytes: a line of JSON and, after it, the code. So it can be done in a process that
//! may be killed (`child`), and be kept (`cache`).

use std::path::{Path, PathBuf};
use std::{fmt, io};

use serde::{Deserialize, Serialize};
use wasmtime::OutOfMemory;
use wasmtime::component::Component;

use super::bindings::description::Description;
use super::cache::Cache;
use super::worlds::{self, Fit, Misfit};
use super::{Digest, LoadError, PluginLimits, child, instance};

/// Longest first line of an answer.
const MAX_HEAD: usize = 1 << 20;

/// Differences from the contract that are told; whoever has more has another contract.
const MAX_PROBLEMS: usize = 50;

/// Where plugins are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In a process of its own, with limits on time and memory. `program` is `feedgate`, or one that calls
    /// [`super::compile_plugin`] when it is started as `feedgate compile-plugin` would be.
    Child { program: PathBuf },
    /// Right here, with no limit on time or memory. For files of one's own making only: a hostile one takes whatever
    /// this process has.
    InThisProcess,
}

impl Default for Compiler {
    /// In a child of the program that runs now.
    fn default() -> Self {
        // Leads to the running file also after another one was put in its place.
        let running = Path::new("/proc/self/exe");
        let program = if running.exists() {
            running.to_owned()
        } else {
            std::env::current_exe().unwrap_or_else(|_| "feedgate".into())
        };
        Self::Child { program }
    }
}

impl Compiler {
    /// The answer to a file, which may be a refusal.
    pub(super) fn answer(
        &self,
        engine: &wasmtime::Engine,
        file: &[u8],
        limits: &PluginLimits,
    ) -> Result<Vec<u8>, LoadError> {
        match self {
            Self::Child { program } => child::compile(program, file, limits),
            Self::InThisProcess => {
                compile(engine, file).map_err(|_| LoadError::CompileMemory { mib: limits.compile_memory_bytes >> 20 })
            }
        }
    }
}

/// Checked and compiled, not yet linked.
pub(super) struct Compiled {
    pub(super) fit: Fit,
    pub(super) component: Component,
}

/// The first line of an answer.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Head {
    /// So many bytes of code follow.
    Compiled {
        fit: Fit,
        code: usize,
    },
    Misfit(Misfit),
    DoesNotCompile(String),
}

/// Does everything that a hostile file may use up time and memory with. Memory that is not
/// given is an error only where wasmtime asked for it; anywhere else it ends the process.
pub(super) fn compile(engine: &wasmtime::Engine, file: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    let compiled = worlds::componentize(file).and_then(|component| {
        let fit = worlds::check(&component)?;
        Ok((fit, engine.precompile_component(&component)))
    });
    let (head, mut code) = match compiled {
        Ok((fit, Ok(code))) => (Head::Compiled { fit, code: code.len() }, code),
        Ok((_, Err(error))) => match error.downcast::<OutOfMemory>() {
            Ok(refused) => return Err(refused),
            Err(error) => (Head::DoesNotCompile(words(&error)), Vec::new()),
        },
        Err(Misfit::World(mut problems)) => {
            problems.truncate(MAX_PROBLEMS);
            let cut = problems.iter().map(|problem| instance::cut(problem, 400).to_owned());
            (Head::Misfit(Misfit::World(cut.collect())), Vec::new())
        }
        Err(misfit) => (Head::Misfit(misfit), Vec::new()),
    };
    let line = |head: &Head| serde_json::to_vec(head).unwrap_or_default();
    let mut answer = line(&head);
    if answer.is_empty() || answer.len() > MAX_HEAD {
        answer = line(&Head::DoesNotCompile("the names in it are longer than 1 MiB".to_owned()));
        code.clear();
    }
    answer.push(b'\n');
    answer.append(&mut code);
    Ok(answer)
}

/// Keeps an answer, behind a line with what the plugin tells of itself: that is constant, so it need not be asked again.
/// `null` where it told nothing, or too much.
pub(super) fn keep(cache: &Cache, digest: Digest, told: Option<&Description>, answer: &[u8]) -> io::Result<()> {
    let mut line = serde_json::to_vec(&told)?;
    if line.len() > MAX_HEAD {
        line = b"null".to_vec();
    }
    cache.write(digest, &[&line, b"\n", answer])
}

/// Takes apart what was kept.
///
/// # Safety
/// As [`revive`]: the bytes must be what [`keep`] wrote.
#[expect(unsafe_code, reason = "as in `revive`")]
pub(super) unsafe fn revive_kept(
    engine: &wasmtime::Engine,
    kept: &[u8],
) -> Result<(Compiled, Option<Description>), LoadError> {
    let (told, answer) = first_line(kept)?;
    let told = serde_json::from_slice(told).map_err(garbage)?;
    // SAFETY: the caller's promise; what is behind the first line is an answer.
    Ok((unsafe { revive(engine, answer) }?, told))
}

/// Takes an answer apart. The error is the answer's own refusal, or says that it is no answer.
///
/// # Safety
/// The bytes must be what [`compile`] gave in this program or an equal one: the code in them will be run.
#[expect(unsafe_code, reason = "compiled code is believed; who calls this says why it may be")]
pub(super) unsafe fn revive(engine: &wasmtime::Engine, answer: &[u8]) -> Result<Compiled, LoadError> {
    let (head, code) = first_line(answer)?;
    match serde_json::from_slice(head).map_err(garbage)? {
        Head::Compiled { fit, code: length } if length == code.len() => {
            // SAFETY: the caller's promise. Version, target and settings of the engine are compared in here.
            let component = unsafe { Component::deserialize(engine, code) }.map_err(|e| garbage(words(&e)))?;
            Ok(Compiled { fit, component })
        }
        Head::Compiled { code: length, .. } => {
            Err(garbage(format!("{} bytes of code where {length} are announced", code.len())))
        }
        Head::Misfit(misfit) => Err(misfit.into()),
        Head::DoesNotCompile(why) => Err(LoadError::Compile(why)),
    }
}

fn first_line(bytes: &[u8]) -> Result<(&[u8], &[u8]), LoadError> {
    let head = &bytes[..bytes.len().min(MAX_HEAD + 1)];
    let end = head.iter().position(|&byte| byte == b'\n').ok_or_else(|| garbage("it has no first line"))?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}

fn garbage(why: impl fmt::Display) -> LoadError {
    LoadError::Compiler(format!("its answer is not understood: {why}"))
}

/// What wasmtime says, cut.
pub(super) fn words(error: &wasmtime::Error) -> String {
    instance::cut(&format!("{error:#}"), 1_000).to_owned()
}
