//! Compiling: from a file's bytes to code that this machine runs.
//!
//! Everything that reads bytes of unknown origin (parser, check against the contract, compiler) is in [`compile`], and
//! what comes of it is one answer in bytes: a line of JSON and, after it, the code. So it can be done in a process that
//! may be killed (`child`), and be kept (`cache`).

use std::fmt;

use serde::{Deserialize, Serialize};
use wasmtime::OutOfMemory;
use wasmtime::component::Component;

use super::bindings::description::Description;
use super::load_error::LoadError;
use super::log::cut;
use super::worlds::{self, Fit, Misfit};

/// Longest answer that is taken where the child's memory allows for more: the code of a component of over 100 MiB.
pub(super) const MAX_ANSWER: u64 = 256 << 20;

/// Longest first line of an answer.
const MAX_HEAD: usize = 1 << 20;

/// Differences from the contract that are told; whoever has more has another contract.
const MAX_PROBLEMS: usize = 50;

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
    let compiled = worlds::component_of(file).and_then(|component| {
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
            let cut = problems.iter().map(|problem| cut(problem, 400).to_owned());
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

/// What a plugin tells of itself, as a line to be kept before an answer: it is constant, so it need not be asked again.
/// `null` where it told nothing, or too much.
pub(super) fn told_line(told: Option<&Description>) -> Vec<u8> {
    let line = serde_json::to_vec(&told).unwrap_or_default();
    if line.is_empty() || line.len() > MAX_HEAD { b"null".to_vec() } else { line }
}

/// Takes apart what was kept.
///
/// # Safety
/// As [`revive`]: the bytes must be a [`told_line`], the end of that line, and what [`compile`] gave.
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
    cut(&format!("{error:#}"), 1_000).to_owned()
}
