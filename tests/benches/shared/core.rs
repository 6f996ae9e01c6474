//! A plugin without the component model: its core module, called by hand as `wit-bindgen` laid its exports out. What is left
//! of a call then is its floor: nothing is lifted, and nothing reaches a store.

use feedgate::contract::codec::{Context, Subscription};
use wasmtime::{Config, Engine, Instance, Linker, Memory, Module, Store, TypedFunc, WasmParams};

const INTERFACES: &str = "feedgate:provider/";
const VERSION: &str = "@0.1.0";

/// One instance, configured and subscribed.
pub(crate) struct Core {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    realloc: TypedFunc<(u32, u32, u32, u32), u32>,
}

/// An export and the one that gives back what it returned.
pub(crate) struct Export<P> {
    call: TypedFunc<P, u32>,
    give_back: TypedFunc<u32, ()>,
}

pub(crate) type HandleMessages = Export<(u64, u64, u32, u32, u32, u32, u32, u32)>;
/// Context, keys, status, headers, body.
pub(crate) type ParseResponse = Export<(u64, u64, u32, u32, u32, u32, u32, u32, u32)>;

impl Core {
    pub(crate) fn open(file: &[u8], settings: &str) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.epoch_interruption(true);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, file)?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap(&format!("{INTERFACES}log{VERSION}"), "log", |_: u32, _: u32, _: u32| {})?;
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = linker.instantiate(&mut store, &module)?;
        let memory = instance.get_memory(&mut store, "memory").ok_or_else(|| wasmtime::Error::msg("no memory"))?;
        let realloc = instance.get_typed_func(&mut store, "cabi_realloc")?;
        let mut core = Self { store, instance, memory, realloc };
        let configure: Export<(u32, u32)> = core.export("describe", "configure")?;
        let settings = core.bytes(settings.as_bytes())?;
        core.call(&configure, settings)?;
        Ok(core)
    }

    pub(crate) fn subscribe(&mut self, context: Context, subscriptions: &[Subscription]) -> wasmtime::Result<()> {
        self.subscribed("websocket", "subscribe", context, subscriptions)
    }

    pub(crate) fn create_requests(&mut self, context: Context, subscriptions: &[Subscription]) -> wasmtime::Result<()> {
        self.subscribed("http", "create-requests", context, subscriptions)
    }

    fn subscribed(
        &mut self,
        interface: &str,
        function: &str,
        context: Context,
        subscriptions: &[Subscription],
    ) -> wasmtime::Result<()> {
        let export: Export<(u64, u64, u32, u32)> = self.export(interface, function)?;
        let mut records = Vec::new();
        for Subscription { key, id } in subscriptions {
            let (place, length) = self.bytes(id.as_bytes())?;
            records.extend([key.0, place, length]);
        }
        let (place, _) = self.words(&records)?;
        let count = u32::try_from(subscriptions.len())?;
        self.call(&export, (context.now_ms, context.nonce, place, count))
    }

    pub(crate) fn handle_messages(&mut self) -> wasmtime::Result<HandleMessages> {
        self.export("websocket", "handle-messages")
    }

    pub(crate) fn parse_response(&mut self) -> wasmtime::Result<ParseResponse> {
        self.export("http", "parse-response")
    }

    /// One text frame.
    pub(crate) fn handle(&mut self, export: &HandleMessages, context: Context, frame: &str) -> wasmtime::Result<()> {
        let (place, length) = self.bytes(frame.as_bytes())?;
        // The case `text`, and no ends.
        self.call(export, (context.now_ms, context.nonce, 0, place, length, 0, 0, 0))
    }

    /// An answer with status 200 and without headers.
    pub(crate) fn parse(
        &mut self,
        export: &ParseResponse,
        context: Context,
        keys: &[u32],
        body: &[u8],
    ) -> wasmtime::Result<()> {
        let (keys, count) = self.words(keys)?;
        let (body, length) = self.bytes(body)?;
        self.call(export, (context.now_ms, context.nonce, keys, count, 200, 4, 0, body, length))
    }

    fn export<P: WasmParams>(&mut self, interface: &str, function: &str) -> wasmtime::Result<Export<P>> {
        let name = format!("{INTERFACES}{interface}{VERSION}#{function}");
        Ok(Export {
            call: self.instance.get_typed_func(&mut self.store, &name)?,
            give_back: self.instance.get_typed_func(&mut self.store, &format!("cabi_post_{name}"))?,
        })
    }

    fn call<P: WasmParams>(&mut self, export: &Export<P>, params: P) -> wasmtime::Result<()> {
        let returned = export.call.call(&mut self.store, params)?;
        export.give_back.call(&mut self.store, returned)
    }

    /// Puts bytes into the guest's memory, where the call that gets them frees them. Their place and number.
    fn bytes(&mut self, bytes: &[u8]) -> wasmtime::Result<(u32, u32)> {
        self.put(bytes, bytes.len(), 1)
    }

    fn words(&mut self, words: &[u32]) -> wasmtime::Result<(u32, u32)> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(&bytes, words.len(), 4)
    }

    fn put(&mut self, bytes: &[u8], count: usize, alignment: u32) -> wasmtime::Result<(u32, u32)> {
        let place = self.realloc.call(&mut self.store, (0, 0, alignment, u32::try_from(bytes.len())?))?;
        self.memory.write(&mut self.store, place as usize, bytes)?;
        Ok((place, u32::try_from(count)?))
    }
}
