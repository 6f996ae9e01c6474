//! A plugin from its file to its first message: cold, from the state directory, an instance of it, and the whole way of a
//! build that takes over.

use divan::Bencher;
use feedgate::contract::codec::{Incoming, OpenCodec, Subscription, WebSocketCodec};
use feedgate::contract::observation::Key;
use feedgate::plugin::{Plugin, PluginInstance};
use feedgate::store::state_dir::StateDir;

use crate::shared::{self, CONTEXT, at_once, engine, file};

/// Read, made a component, compared with the contract, compiled, described; nothing is known of it from before.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn a_plugin_loaded_cold(bencher: Bencher<'_, '_>) {
    let (engine, file) = (engine(None), file("binance"));
    bencher.bench_local(|| engine.load_blocking(file).expect("a good plugin"));
}

/// The same, from the state directory, as often as a start with so many plugins.
#[divan::bench(args = [1, 50], sample_count = 20, sample_size = 1)]
fn plugins_loaded_from_the_state_directory(bencher: Bencher<'_, '_>, plugins: usize) {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let state = StateDir::open(directory.path()).expect("writable");
    let (engine, file) = (engine(Some(&state)), file("binance"));
    // A note makes each a file of its own.
    let files: Vec<_> = (0..plugins).map(|number| [file, &[0, 3, 2, b'#', number as u8]].concat()).collect();
    for file in &files {
        engine.load_blocking(file).expect("a good plugin");
    }
    bencher.bench_local(|| {
        let loaded = files.iter().map(|file| engine.load_blocking(file).expect("a good plugin"));
        loaded.collect::<Vec<_>>()
    });
}

fn open(plugin: &Plugin) -> PluginInstance {
    at_once(plugin.configured("bench".into(), "{}".to_owned()).open()).expect("it opens").0
}

/// An instance that is subscribed to so many ids.
fn subscribed(plugin: &Plugin, ids: u32) -> PluginInstance {
    let mut codec = open(plugin);
    // The one that the messages are about, and others.
    let id = |key| if key == 0 { "BTCUSDT".into() } else { format!("A{key}USDT").into() };
    let subscriptions: Vec<_> = (0..ids).map(|key| Subscription { key: Key(key), id: id(key) }).collect();
    at_once(codec.connect(CONTEXT, &subscriptions, None)).expect("it dials");
    at_once(codec.subscribe(CONTEXT, &subscriptions)).expect("it subscribes");
    codec
}

fn read(codec: &mut PluginInstance, frame: &str) {
    let events = at_once(codec.handle_messages(CONTEXT, &[Incoming::Text(frame)])).expect("it reads");
    assert_eq!(events.len(), 1);
}

#[divan::bench]
fn an_instance_opened_and_configured(bencher: Bencher<'_, '_>) {
    let plugin = engine(None).load_blocking(file("binance")).expect("a good plugin");
    bencher.bench_local(|| open(&plugin));
}

#[divan::bench(sample_size = 1)]
fn the_first_message_of_an_instance(bencher: Bencher<'_, '_>) {
    let plugin = engine(None).load_blocking(file("binance")).expect("a good plugin");
    let frame = shared::mini_ticker(0);
    bencher.with_inputs(|| subscribed(&plugin, 1)).bench_local_refs(|codec| read(codec, &frame));
}

/// A build that was compiled before, from its file's bytes to its first message, with so many ids to hand over.
#[divan::bench(args = [1, 200, 2_500], sample_size = 1)]
fn a_cached_plugin_swapped_in(bencher: Bencher<'_, '_>, ids: u32) {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let state = StateDir::open(directory.path()).expect("writable");
    let (engine, file) = (engine(Some(&state)), file("binance"));
    engine.load_blocking(file).expect("a good plugin");
    let frame = shared::mini_ticker(0);
    // What is loaded is given back with the instance, so that the next one finds nothing in memory.
    bencher.bench_local(|| {
        let plugin = engine.load_blocking(file).expect("a good plugin");
        let mut codec = subscribed(&plugin, ids);
        read(&mut codec, &frame);
    });
}
