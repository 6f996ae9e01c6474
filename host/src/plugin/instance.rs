//! One live instance: a store of its own, budgets on every call, and the codec traits.
//!
//! A trap poisons the whole store, so a dead instance is never entered again and is dropped with its connection. Calls
//! are synchronous (half the cost of asynchronous ones); only a plugin that imports WASI, whose host functions may
//! block, is called the other way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Func, Instance, InstancePre, Lift, Lower, ResourceTable, TypedFunc,
};
use wasmtime::{Store, Trap};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::bindings::{ReceivedParam, ResponseParam, describe, description, log, polling, streaming, types};
use super::clock::{Clock, TICK};
use super::lift::Listed;
use super::limits::Limiter;
use super::log::{LogLines, MAX_LINE, cut};
use super::{convert, wasi};
use crate::access::secret::Secrets;
use crate::contract::codec::{
    CodecError, Context, Death, Event, Frame, HttpCodec, Incoming, Outcome, PlannedRequest, Response, Step,
    Subscription, WebSocketCodec,
};
use crate::contract::limits::PluginLimits;
use crate::contract::observation::{Key, ValueKind};

/// What host functions see.
pub(super) struct Inside {
    provider: Arc<str>,
    /// Not to be seen in what it logs.
    secrets: Arc<Secrets>,
    limiter: Limiter,
    /// One budget for what is logged and what is printed.
    log_lines: Arc<Mutex<LogLines>>,
    /// Only for plugins that import it.
    wasi: Option<WasiCtx>,
    table: ResourceTable,
}

impl WasiView for Inside {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Present before the first call of a plugin that imports WASI, and nobody else has these functions linked.
        let ctx = self.wasi.get_or_insert_with(|| wasi::context(&self.provider, &self.secrets, &self.log_lines));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl types::Host for Inside {}
impl description::Host for Inside {}
impl streaming::Host for Inside {}
impl polling::Host for Inside {}

impl log::Host for Inside {
    fn log(&mut self, level: log::Level, text: String) {
        if !LogLines::admit(&self.log_lines) {
            return;
        }
        // First, so that no half of one is left.
        let text = self.secrets.redact(cut(&text, 4 * MAX_LINE));
        let text = cut(&text, MAX_LINE);
        let provider = &*self.provider;
        match level {
            log::Level::Debug => tracing::debug!(provider, "{text}"),
            log::Level::Info => tracing::info!(provider, "{text}"),
            log::Level::Warn => tracing::warn!(provider, "{text}"),
            log::Level::Error => tracing::error!(provider, "{text}"),
        }
    }
}

/// Where the exports are, found once for each plugin.
#[derive(Clone)]
pub(super) struct Exports {
    pub(super) describe: ComponentExportIndex,
    pub(super) configure: ComponentExportIndex,
    pub(super) http: Option<[ComponentExportIndex; 2]>,
    pub(super) websocket: Option<[ComponentExportIndex; 5]>,
}

type Subscriptions = (types::Context, Vec<types::Subscription>);
type Connect = (types::Context, Vec<types::Subscription>, Option<types::Response>);
type Frames = (Result<Vec<types::Frame>, types::Error>,);
type HandleMessages<'a> = (types::Context, ReceivedParam<'a>, Option<&'a [u32]>);
type ParseResponse<'a> = (types::Context, &'a [u32], ResponseParam<'a>);
type Events = (Listed<streaming::Event>,);
type Outcomes = (Result<Listed<polling::Outcome>, types::Error>,);

struct HttpCalls {
    create_requests: TypedFunc<Subscriptions, (Result<Vec<polling::PlannedRequest>, types::Error>,)>,
    parse_response: Borrowing,
}

struct WebSocketCalls {
    connect: TypedFunc<Connect, (Result<streaming::Step, types::Error>,)>,
    subscribe: TypedFunc<Subscriptions, Frames>,
    unsubscribe: TypedFunc<Subscriptions, Frames>,
    heartbeat: TypedFunc<(types::Context,), (Vec<types::Frame>,)>,
    handle_messages: Borrowing,
}

/// A function that takes borrowed arguments. Its type is checked once; a typed handle cannot be kept, because it would
/// name one lifetime for all calls.
struct Borrowing(Func);

impl Borrowing {
    fn check<P, R>(store: &mut Store<Inside>, instance: &Instance, at: &ComponentExportIndex) -> wasmtime::Result<Self>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        Ok(Self(*instance.get_typed_func::<P, R>(store, at)?.func()))
    }

    #[expect(unsafe_code, reason = "a type check for each frame would cost more than the call")]
    fn typed<P, R>(&self) -> TypedFunc<P, R>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        // SAFETY: `check` found the function to have these types; its two users name the same aliases as their checks,
        // which differ in lifetimes only.
        unsafe { TypedFunc::new_unchecked(self.0) }
    }
}

/// Time for one call, and the knob that sets it.
#[derive(Copy, Clone)]
pub(super) struct Budget {
    time: Duration,
    knob: &'static str,
}

/// A live component instance.
pub struct PluginInstance {
    store: Store<Inside>,
    clock: &'static Clock,
    limits: Arc<PluginLimits>,
    /// Bytes of linear memory after `configure`.
    begun_with: usize,
    /// Imports WASI: calls go the asynchronous way.
    wasi: bool,
    dead: bool,
    http: Option<HttpCalls>,
    websocket: Option<WebSocketCalls>,
    configure: TypedFunc<(String,), (Result<types::ValueKind, describe::SettingsError>,)>,
    describe: TypedFunc<(), (description::Description,)>,
}

impl PluginInstance {
    pub(super) async fn new(
        pre: &InstancePre<Inside>,
        exports: &Exports,
        wasi: bool,
        clock: &'static Clock,
        provider: &Arc<str>,
        secrets: &Arc<Secrets>,
        limits: &Arc<PluginLimits>,
    ) -> Result<Self, Death> {
        let inside = Inside {
            provider: provider.clone(),
            secrets: secrets.clone(),
            limiter: Limiter::new(limits),
            log_lines: Arc::new(Mutex::new(LogLines::new(limits.log_lines_per_second))),
            wasi: None,
            table: wasi::table(),
        };
        let mut store = Store::new(pre.engine(), inside);
        store.limiter(|inside| &mut inside.limiter);
        store.set_hostcall_fuel(limits.max_result_bytes);
        // Only a metered engine takes any: then what is missing of it was executed.
        let _ = store.set_fuel(u64::MAX);
        let budget = Budget { time: limits.init, knob: "init_ms" };
        store.set_epoch_deadline(clock.ticks(budget.time));
        // The start functions of a plugin are its code too: they run under the same budget.
        let made =
            if wasi { within(budget, pre.instantiate_async(&mut store)).await? } else { pre.instantiate(&mut store) };
        let instance = made.map_err(|e| match death(&e, &mut store, budget) {
            Death::BadResult(text) => Death::Instantiate(text),
            death => death,
        })?;
        let check = |e: wasmtime::Error| Death::BadResult(format!("{e:#}"));
        let describe = instance.get_typed_func(&mut store, exports.describe).map_err(check)?;
        let configure = instance.get_typed_func(&mut store, exports.configure).map_err(check)?;
        let http = match &exports.http {
            None => None,
            Some([create_requests, parse_response]) => Some(HttpCalls {
                create_requests: instance.get_typed_func(&mut store, create_requests).map_err(check)?,
                parse_response: Borrowing::check::<ParseResponse<'_>, Outcomes>(&mut store, &instance, parse_response)
                    .map_err(check)?,
            }),
        };
        let websocket = match &exports.websocket {
            None => None,
            Some([connect, subscribe, unsubscribe, heartbeat, handle_messages]) => Some(WebSocketCalls {
                connect: instance.get_typed_func(&mut store, connect).map_err(check)?,
                subscribe: instance.get_typed_func(&mut store, subscribe).map_err(check)?,
                unsubscribe: instance.get_typed_func(&mut store, unsubscribe).map_err(check)?,
                heartbeat: instance.get_typed_func(&mut store, heartbeat).map_err(check)?,
                handle_messages: Borrowing::check::<HandleMessages<'_>, Events>(&mut store, &instance, handle_messages)
                    .map_err(check)?,
            }),
        };
        Ok(Self {
            store,
            clock,
            limits: limits.clone(),
            begun_with: 0,
            wasi,
            dead: false,
            http,
            websocket,
            configure,
            describe,
        })
    }

    /// What the plugin says of itself. For an instance of its own.
    pub(super) async fn describe(&mut self) -> Result<description::Description, Death> {
        let budget = self.init();
        let describe = self.describe;
        self.call(describe, (), budget).await.map(|(description,)| description)
    }

    /// Hands the settings over. Before anything else.
    pub(super) async fn configure(&mut self, settings: &str) -> Result<ValueKind, Death> {
        let budget = self.init();
        let configure = self.configure;
        let (result,) = self.call(configure, (settings.to_owned(),), budget).await?;
        self.begun_with = self.memory();
        result.map(convert::value_kind).map_err(convert::settings_error)
    }

    /// Bytes of linear memory. It never gets less.
    pub fn memory(&self) -> usize {
        self.store.data().limiter.memory()
    }

    /// Instructions executed until now, where the engine is metered.
    pub fn spent(&self) -> Option<u64> {
        self.store.get_fuel().ok().map(|left| u64::MAX - left)
    }

    fn init(&self) -> Budget {
        Budget { time: self.limits.init, knob: "init_ms" }
    }

    fn build(&self) -> Budget {
        Budget { time: self.limits.build, knob: "build_ms" }
    }

    fn parse(&self, bytes: usize) -> Budget {
        let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX);
        Budget {
            time: self.limits.parse.saturating_add(self.limits.parse_per_kib.saturating_mul(kib)),
            knob: "parse_ms",
        }
    }

    /// Frames of one kind.
    async fn handle_run(&mut self, context: Context, frames: &[Incoming<'_>]) -> Result<Vec<Event>, CodecError> {
        let calls = self.websocket.as_ref().ok_or_else(|| not_exported("websocket"))?;
        let function = calls.handle_messages.typed::<HandleMessages<'_>, Events>();
        let (text, binary, ends);
        let (received, ends) = match frames {
            // A quiet connection's, from where it lies.
            [Incoming::Text(text)] => (ReceivedParam::Text(text), None),
            [Incoming::Binary(binary)] => (ReceivedParam::Binary(binary), None),
            [Incoming::Text(_), ..] => {
                text = frames.iter().filter_map(Incoming::text).collect::<Vec<_>>().concat();
                ends = convert::ends(frames);
                (ReceivedParam::Text(&text), Some(&*ends))
            }
            _ => {
                binary = frames.iter().map(Incoming::bytes).collect::<Vec<_>>().concat();
                ends = convert::ends(frames);
                (ReceivedParam::Binary(&binary), Some(&*ends))
            }
        };
        let budget = self.parse(frames.iter().map(|frame| frame.bytes().len()).sum());
        let (Listed(events),) = self.call(function, (convert::context(context), received, ends), budget).await?;
        Ok(events)
    }

    async fn call<P, R>(&mut self, function: TypedFunc<P, R>, params: P, budget: Budget) -> Result<R, Death>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        if self.dead {
            return Err(Death::Trap("called after it died".to_owned()));
        }
        self.store.set_epoch_deadline(self.clock.ticks(budget.time));
        let result = if self.wasi {
            // Whatever ends this call early leaves an instance that must not be entered again.
            self.dead = true;
            // On the heap, so that those who never wait do not carry what waiting needs.
            let result = Box::pin(within(budget, function.call_async(&mut self.store, params))).await?;
            self.dead = result.is_err();
            result
        } else {
            function.call(&mut self.store, params)
        };
        result.map_err(|e| {
            self.dead = true;
            death(&e, &mut self.store, budget)
        })
    }
}

/// A plugin that waits in a host function of WASI runs no code that could look at the clock.
async fn within<T>(budget: Budget, call: impl Future<Output = T>) -> Result<T, Death> {
    let time = budget.time.saturating_add(TICK * 4);
    let late = |_| Death::Deadline { budget: budget.time, knob: budget.knob };
    tokio::time::timeout(time, call).await.map_err(late)
}

fn death(error: &wasmtime::Error, store: &mut Store<Inside>, budget: Budget) -> Death {
    let refused = store.data_mut().limiter.refused.take();
    match (error.downcast_ref::<Trap>(), refused) {
        (Some(Trap::Interrupt), _) => Death::Deadline { budget: budget.time, knob: budget.knob },
        (Some(Trap::StackOverflow), _) => Death::StackOverflow,
        (_, Some((limit, knob))) => Death::Memory { limit, knob },
        (Some(trap), None) => Death::Trap(trap.to_string()),
        (None, None) => {
            let text = cut(&format!("{:#}", error), 400).to_owned();
            // wasmtime has no type for these.
            if text.contains("fuel allocated for hostcalls") {
                Death::ResultTooLarge(format!("{} KiB", store.hostcall_fuel() >> 10))
            } else if text.contains("resource limit exceeded") {
                Death::Memory { limit: format!("core instances, tables or memories: {text}"), knob: "max_instances" }
            } else {
                Death::BadResult(text)
            }
        }
    }
}

fn not_exported(interface: &str) -> Death {
    Death::BadResult(format!("the plugin does not export {interface}"))
}

fn refused<T>(result: Result<T, types::Error>) -> Result<T, CodecError> {
    result.map_err(|error| CodecError::Refused(convert::refusal(error)))
}

impl WebSocketCodec for PluginInstance {
    async fn connect(
        &mut self,
        context: Context,
        subscriptions: &[Subscription],
        previous: Option<&Response>,
    ) -> Result<Step, CodecError> {
        let connect = self.websocket.as_ref().ok_or_else(|| not_exported("websocket"))?.connect;
        let previous = previous.map(|response| types::Response {
            status: response.status,
            headers: convert::headers(&response.headers),
            body: response.body.clone(),
        });
        let params = (convert::context(context), convert::subscriptions(subscriptions), previous);
        let (result,) = self.call(connect, params, self.build()).await?;
        refused(result).map(convert::step)
    }

    async fn subscribe(&mut self, context: Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, CodecError> {
        let subscribe = self.websocket.as_ref().ok_or_else(|| not_exported("websocket"))?.subscribe;
        let params = (convert::context(context), convert::subscriptions(subscriptions));
        let (result,) = self.call(subscribe, params, self.build()).await?;
        refused(result).map(|frames| frames.into_iter().map(convert::frame).collect())
    }

    async fn unsubscribe(
        &mut self,
        context: Context,
        subscriptions: &[Subscription],
    ) -> Result<Vec<Frame>, CodecError> {
        let unsubscribe = self.websocket.as_ref().ok_or_else(|| not_exported("websocket"))?.unsubscribe;
        let params = (convert::context(context), convert::subscriptions(subscriptions));
        let (result,) = self.call(unsubscribe, params, self.build()).await?;
        refused(result).map(|frames| frames.into_iter().map(convert::frame).collect())
    }

    async fn heartbeat(&mut self, context: Context) -> Result<Vec<Frame>, CodecError> {
        let heartbeat = self.websocket.as_ref().ok_or_else(|| not_exported("websocket"))?.heartbeat;
        let (frames,) = self.call(heartbeat, (convert::context(context),), self.build()).await?;
        Ok(frames.into_iter().map(convert::frame).collect())
    }

    async fn handle_messages(&mut self, context: Context, frames: &[Incoming<'_>]) -> Result<Vec<Event>, CodecError> {
        // A call takes one kind; connections that send both are rare.
        let mut runs = frames.chunk_by(|one, next| one.text().is_some() == next.text().is_some());
        let Some(first) = runs.next() else { return Ok(Vec::new()) };
        let mut events = self.handle_run(context, first).await?;
        let mut before = first.len();
        for run in runs {
            for mut event in self.handle_run(context, run).await? {
                if let Event::Malformed { index, .. } = &mut event {
                    *index = index.saturating_add(u32::try_from(before).unwrap_or(u32::MAX));
                }
                events.push(event);
            }
            before += run.len();
        }
        Ok(events)
    }

    /// Three quarters of what it may have, and twice what it began with: it leaks.
    fn is_worn(&self) -> bool {
        let memory = self.memory();
        memory >= self.limits.max_memory_bytes / 4 * 3 && memory >= self.begun_with.saturating_mul(2)
    }
}

impl HttpCodec for PluginInstance {
    async fn create_requests(
        &mut self,
        context: Context,
        subscriptions: &[Subscription],
    ) -> Result<Vec<PlannedRequest>, CodecError> {
        let create_requests = self.http.as_ref().ok_or_else(|| not_exported("http"))?.create_requests;
        let params = (convert::context(context), convert::subscriptions(subscriptions));
        let (result,) = self.call(create_requests, params, self.build()).await?;
        refused(result).map(|planned| planned.into_iter().map(convert::planned_request).collect())
    }

    async fn parse_response(
        &mut self,
        context: Context,
        keys: &[Key],
        response: &Response,
    ) -> Result<Vec<Outcome>, CodecError> {
        let calls = self.http.as_ref().ok_or_else(|| not_exported("http"))?;
        let function = calls.parse_response.typed::<ParseResponse<'_>, Outcomes>();
        let keys: Vec<u32> = keys.iter().map(|key| key.0).collect();
        let budget = self.parse(response.body.len());
        let params = (convert::context(context), &keys[..], convert::response(response));
        let (result,) = self.call(function, params, budget).await?;
        refused(result).map(|Listed(outcomes)| outcomes)
    }
}
