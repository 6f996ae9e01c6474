//! Running plugins: the only place that names wasmtime.
//!
//! [`Engine::load_blocking`] takes a file's bytes to a checked, compiled, described [`Plugin`]; [`Plugin::configured`] gives an
//! [`OpenCodec`] that makes live instances. Reading order: `worlds` (does it fit?), `describe`, `instance` (calls and
//! budgets), `limits`, `clock`, `wasi`, `convert`, `lift`, `bindings`. Compiling: `compile`, the process it is done in (`child`), `cache`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Config, OptLevel};

use crate::access::secret::Secrets;
use crate::builds::provenance::Unproven;
use crate::contract::codec::{Death, OpenCodec};
use crate::contract::description::{Description, Resources};
use crate::contract::observation::ValueKind;
use crate::store::state_dir::StateDir;

use self::bindings::description::Description as Told;
use self::cache::Cache;
use self::clock::Clock;
use self::compile::Compiled;

mod bindings;
mod cache;
mod child;
mod clock;
mod compile;
mod convert;
mod describe;
mod instance;
mod lift;
mod limits;
mod wasi;
mod worlds;

pub use child::compile_plugin;
pub use compile::Compiler;
pub use instance::PluginInstance;
pub use limits::PluginLimits;
pub use worlds::{Fit, Misfit};

/// The sha256 of a plugin's file.
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = [0; 32];
        digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        Self(digest)
    }

    pub fn bytes(self) -> [u8; 32] {
        self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl std::str::FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
        let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
        let bytes = bytes.filter(|_| is_hex).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a sha256 is written as 64 hexadecimal digits")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::logic::builds::hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Why a file was not loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot be read: {0}")]
    Read(String),
    #[error("{size} bytes, more than {max} (knob: plugin_limits.max_file_mib)")]
    TooLarge { size: usize, max: usize },
    #[error(transparent)]
    Unproven(#[from] Unproven),
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error("does not compile: {0}")]
    Compile(String),
    #[error("does not compile within {ms} ms (knob: plugin_limits.compile_ms)")]
    CompileTime { ms: u128 },
    #[error("does not compile within {mib} MiB of memory (knob: plugin_limits.compile_memory_mib)")]
    CompileMemory { mib: usize },
    /// Nobody can say whether it is the file's fault.
    #[error("cannot be compiled: {0}")]
    Compiler(String),
    #[error("does not describe itself: {0}")]
    Describe(#[source] Death),
    #[error("describes itself wrongly: {0}")]
    Description(String),
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
            if let Err(why) = compile::keep(cache, digest, told, &answer) {
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
        self.load_known(Digest::of(bytes), bytes)
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

/// Only what plugins need: single-threaded, synchronous, linear memory. Every other feature is off, which is faster
/// and leaves out where most advisories were.
fn config() -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .concurrency_support(false)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(true)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .max_wasm_stack(512 << 10)
        // Dropping a component with unwind tables registered can take seconds.
        .native_unwind_info(false)
        // Where in a guest something went wrong says nothing of a plugin whose names are stripped, and the map to it is an
        // eighth of what a start reads, checks and copies.
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None)
        .memory_init_cow(true);
    config
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

/// Makes a component of what `cargo build` leaves behind; a component stays as it is.
pub fn componentize(bytes: &[u8]) -> Result<Vec<u8>, Misfit> {
    worlds::componentize(bytes).map(std::borrow::Cow::into_owned)
}

/// A checked, compiled and described file. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<Inner>,
    limits: Arc<PluginLimits>,
}

struct Inner {
    pre: InstancePre<instance::Inside>,
    exports: instance::Exports,
    clock: &'static Clock,
    /// Shared with whoever loads the same content meanwhile.
    compiled: Arc<Compiled>,
    description: Description,
    digest: Digest,
    size: usize,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugin({} {} {})", self.description().name, self.description().version, self.digest())
    }
}

impl Plugin {
    pub fn description(&self) -> &Description {
        &self.inner.description
    }

    /// Of the file as it was dropped, before it was made a component.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// The file's size in bytes.
    pub fn size(&self) -> usize {
        self.inner.size
    }

    /// What it exports and imports.
    pub fn fit(&self) -> &Fit {
        &self.inner.compiled.fit
    }

    /// What each of its instances may use.
    pub fn limits(&self) -> &PluginLimits {
        &self.limits
    }

    /// The same, whose instances may use what was granted beyond the defaults.
    #[must_use]
    pub fn granted(&self, resources: &Resources) -> Self {
        Self { inner: self.inner.clone(), limits: Arc::new(self.limits.raised(resources)) }
    }

    /// For a provider of this name with these settings, as JSON.
    pub fn configured(&self, provider: Arc<str>, settings: String) -> Configured {
        Configured { plugin: self.clone(), provider, settings: settings.into(), secrets: Arc::default() }
    }
}

/// A plugin with its settings: opens codecs.
#[derive(Clone, Debug)]
pub struct Configured {
    plugin: Plugin,
    provider: Arc<str>,
    settings: Arc<str>,
    secrets: Arc<Secrets>,
}

impl Configured {
    /// The same, where what the plugin logs does not show these secrets: it has none, but the venue may say them to it.
    #[must_use]
    pub fn redacting(self, secrets: Arc<Secrets>) -> Self {
        Self { secrets, ..self }
    }
}

impl Configured {
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }
}

impl OpenCodec for Configured {
    type Codec = PluginInstance;

    async fn open(&self) -> Result<(PluginInstance, ValueKind), Death> {
        let inner = &self.plugin.inner;
        let mut instance = PluginInstance::new(
            &inner.pre,
            &inner.exports,
            inner.compiled.fit.wasi,
            inner.clock,
            &self.provider,
            &self.secrets,
            &self.plugin.limits,
        )
        .await?;
        let kind = instance.configure(&self.settings).await?;
        if !inner.description.values.contains(&kind) {
            let text = format!("configure gives {:?} values, which describe does not name", kind.as_str());
            return Err(Death::BadResult(text));
        }
        Ok((instance, kind))
    }
}
