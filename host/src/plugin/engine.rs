//! From a file's bytes to a plugin: checked, compiled or found compiled, linked, and asked to describe itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use wasmtime::Config;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use super::bindings;
use super::bindings::description::Description as Told;
use super::cache::Cache;
use super::clock::Clock;
use super::compile::{self, Compiled};
use super::compiler::Compiler;
use super::describe;
use super::instance::{self, PluginInstance};
use super::load_error::LoadError;
use super::loaded::{Inner, Plugin};
use super::wasmtime_config::config;
use super::worlds::Fit;
use crate::contract::digest::Digest;
use crate::contract::limits::PluginLimits;
use crate::store::state_dir::StateDir;

/// The digest of a file's content.
pub fn digest_of(bytes: &[u8]) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    digest.into()
}

/// What all engines of the process share: the compiler, its clock, and what was compiled.
struct Shared {
    engine: wasmtime::Engine,
    clock: Clock,
    /// By the digest of the file, as long as somebody uses it: the same content under two names, or in two daemons of
    /// one process, is compiled once.
    compiled: Mutex<HashMap<Digest, Weak<Compiled>>>,
}

impl Shared {
    /// Made once. Fails only when this machine cannot run WebAssembly.
    fn get() -> Result<&'static Self, String> {
        static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(&config())).as_ref().map_err(Clone::clone)
    }

    /// As `get`, with code that counts the instructions it executes.
    fn metered() -> Result<&'static Self, String> {
        static METERED: OnceLock<Result<Shared, String>> = OnceLock::new();
        METERED.get_or_init(|| Self::new(config().consume_fuel(true))).as_ref().map_err(Clone::clone)
    }

    fn new(config: &Config) -> Result<Self, String> {
        let engine = wasmtime::Engine::new(config).map_err(|e| format!("{e:#}"))?;
        let ticking = engine.clone();
        let clock = Clock::start(move || ticking.increment_epoch());
        let clock = clock.map_err(|e| format!("cannot start the clock's thread: {e}"))?;
        Ok(Self { engine, clock, compiled: Mutex::default() })
    }

    fn known(&self, digest: Digest) -> Option<Arc<Compiled>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).and_then(Weak::upgrade)
    }

    fn remember(&self, digest: Digest, compiled: &Arc<Compiled>) {
        let mut all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, compiled| compiled.strong_count() > 0);
        all.insert(digest, Arc::downgrade(compiled));
    }
}

/// A compiled file, and how it came.
struct Found {
    compiled: Arc<Compiled>,
    /// What was kept of it.
    told: Option<Told>,
    /// The compiler's answer, if it was asked now.
    fresh: Option<Vec<u8>>,
}

type Linked = (InstancePre<instance::Inside>, instance::Exports, Told);

/// Loads plugins, within limits.
pub struct Engine {
    shared: &'static Shared,
    linker: Linker<instance::Inside>,
    wasi_linker: Linker<instance::Inside>,
    limits: Arc<PluginLimits>,
    compiler: Compiler,
    cache: Option<Cache>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Engine {
    /// Keeps what it has compiled in `state`, if there is one. Fails only when this machine cannot run WebAssembly.
    pub fn new(limits: PluginLimits, compiler: Compiler, state: Option<&StateDir>) -> Result<Self, String> {
        Self::with(Shared::get()?, limits, compiler, state)
    }

    /// For measuring: its instances count the instructions they execute, see [`PluginInstance::spent`], which makes them
    /// slower. Compiles in this process, so it is for plugins of one's own.
    pub fn metered(limits: PluginLimits) -> Result<Self, String> {
        Self::with(Shared::metered()?, limits, Compiler::InThisProcess, None)
    }

    fn with(
        shared: &'static Shared,
        limits: PluginLimits,
        compiler: Compiler,
        state: Option<&StateDir>,
    ) -> Result<Self, String> {
        let link = |wasi: bool| -> wasmtime::Result<Linker<instance::Inside>> {
            let mut linker = Linker::new(&shared.engine);
            bindings::Provider::add_to_linker::<_, HasSelf<_>>(&mut linker, |inside| inside)?;
            if wasi {
                wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
            }
            Ok(linker)
        };
        let linker = link(false).map_err(|e| format!("{e:#}"))?;
        let wasi_linker = link(true).map_err(|e| format!("{e:#}"))?;
        let cache = state.and_then(|state| {
            let why = match Cache::open(state, &shared.engine) {
                Ok(cache) => return Some(cache),
                Err(why) => why,
            };
            tracing::warn!(state_dir = %state.path().display(), %why, "compiled plugins are not kept");
            None
        });
        Ok(Self { shared, linker, wasi_linker, limits: Arc::new(limits), compiler, cache })
    }

    pub fn limits(&self) -> &PluginLimits {
        &self.limits
    }

    /// Checks, compiles, links and describes one file's content. Takes as long as compiling takes: call it off the
    /// runtime's threads, see [`Engine::load_blocking`].
    fn load(&self, digest: Digest, bytes: &[u8]) -> Result<Plugin, LoadError> {
        if bytes.len() > self.limits.max_file_bytes {
            return Err(LoadError::TooLarge { size: bytes.len(), max: self.limits.max_file_bytes });
        }
        let Found { compiled, told, fresh } = self.found(digest, bytes)?;
        let linked = self.link(&compiled, told);
        if let (Some(answer), Some(cache)) = (fresh, &self.cache) {
            let told = linked.as_ref().ok().map(|(.., told)| told);
            if let Err(why) = cache.write(digest, &[&compile::told_line(told), b"\n", &answer]) {
                tracing::warn!(%digest, %why, "a compiled plugin cannot be kept");
            }
        }
        let (pre, exports, told) = linked?;
        let (http, websocket) = (compiled.fit.http, compiled.fit.websocket);
        let description = describe::check(told, http, websocket).map_err(LoadError::Description)?;
        let size = bytes.len();
        Ok(Plugin {
            inner: Arc::new(Inner { pre, exports, clock: &self.shared.clock, compiled, description, digest, size }),
            limits: self.limits.clone(),
        })
    }

    /// Asks the plugin what it is, unless it has told before.
    fn link(&self, compiled: &Compiled, told: Option<Told>) -> Result<Linked, LoadError> {
        let (fit, component) = (&compiled.fit, &compiled.component);
        let exports = exports(component, fit).map_err(LoadError::Compile)?;
        let linker = if fit.wasi { &self.wasi_linker } else { &self.linker };
        let pre = linker.instantiate_pre(component).map_err(|e| LoadError::Compile(compile::words(&e)))?;
        if let Some(told) = told {
            return Ok((pre, exports, told));
        }
        let limits = Arc::new(self.limits.describing());
        let describe = async {
            let (probe, secrets) = (Arc::from("describe"), Arc::default());
            let clock = &self.shared.clock;
            let mut instance = PluginInstance::new(&pre, &exports, fit.wasi, clock, &probe, &secrets, &limits).await?;
            instance.describe().await
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| LoadError::Compile(format!("no runtime to load in: {e}")))?;
        let told = runtime.block_on(describe).map_err(LoadError::Describe)?;
        Ok((pre, exports, told))
    }

    /// What a file was compiled to: from memory, from disk, or now.
    #[expect(unsafe_code, reason = "compiled code is believed where it is known whose it is")]
    fn found(&self, digest: Digest, file: &[u8]) -> Result<Found, LoadError> {
        if let Some(compiled) = self.shared.known(digest) {
            return Ok(Found { compiled, told: None, fresh: None });
        }
        let engine = &self.shared.engine;
        let kept = self.cache.as_ref().and_then(|cache| {
            let kept = cache.read(digest).map_err(|why| why.to_string()).transpose()?;
            // SAFETY: the tag says that an engine with this key wrote these very bytes, and it writes only what its
            // compiler answered, behind a line of JSON in which no plugin can end a line. They were read whole before
            // they were checked, so nobody can change them now.
            let kept = kept.and_then(|kept| unsafe { compile::revive_kept(engine, &kept) }.map_err(|e| e.to_string()));
            kept.inspect_err(|why| tracing::warn!(%digest, why, "a compiled plugin on disk is refused; compiling anew"))
                .ok()
        });
        let (compiled, told, fresh) = match kept {
            Some((compiled, told)) => (compiled, told, None),
            None => {
                let started = tokio::time::Instant::now();
                let answer = self.compiler.answer(engine, file, &self.limits)?;
                // SAFETY: it comes from this program's own compiler, out of this process or over a pipe from a child
                // that nobody else can write to.
                let compiled = unsafe { compile::revive(engine, &answer) }?;
                tracing::debug!(%digest, ms = started.elapsed().as_millis(), "compiled");
                (compiled, None, Some(answer))
            }
        };
        // Two who compile the same at the same time are both right.
        let compiled = Arc::new(compiled);
        self.shared.remember(digest, &compiled);
        Ok(Found { compiled, told, fresh })
    }

    /// As `load`, for a blocking thread; a panic on hostile bytes is a load error.
    pub fn load_blocking(&self, bytes: &[u8]) -> Result<Plugin, LoadError> {
        self.load_known(digest_of(bytes), bytes)
    }

    /// As `load_blocking`, of bytes whose digest this is: what was compiled of them is found by it.
    pub(crate) fn load_known(&self, digest: Digest, bytes: &[u8]) -> Result<Plugin, LoadError> {
        let load = std::panic::AssertUnwindSafe(|| self.load(digest, bytes));
        std::panic::catch_unwind(load).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(LoadError::Compile(format!("loading it panicked: {text}")))
        })
    }
}

fn exports(component: &Component, fit: &Fit) -> Result<instance::Exports, String> {
    let find = |interface: &str, function: &str| {
        // The lookup matches any 0.1.x, as the check did.
        let name = format!("feedgate:provider/{interface}@0.1.0");
        component
            .get_export_index(None, &name)
            .and_then(|instance| component.get_export_index(Some(&instance), function))
            .ok_or_else(|| format!("export {name} {function} is not there"))
    };
    let http = ["create-requests", "parse-response"].map(|function| find("http", function));
    let websocket = ["connect", "subscribe", "unsubscribe", "heartbeat", "handle-messages"]
        .map(|function| find("websocket", function));
    fn all<T, const N: usize>(found: [Result<T, String>; N], wanted: bool) -> Result<Option<[T; N]>, String> {
        if !wanted {
            return Ok(None);
        }
        let list: Vec<T> = found.into_iter().collect::<Result<_, _>>()?;
        Ok(list.try_into().ok())
    }
    Ok(instance::Exports {
        describe: find("describe", "describe")?,
        configure: find("describe", "configure")?,
        http: all(http, fit.http)?,
        websocket: all(websocket, fit.websocket)?,
    })
}
