//! The store alone: a write, a read, a read beside a writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use divan::Bencher;
use feedgate::store::{ProviderSlots, Store};

use crate::shared::{write, write_on};

fn written(store: &Store) -> Arc<ProviderSlots> {
    let provider = store.provider("bench");
    provider.set_ids(&[("BTCUSDT".into(), Duration::from_secs(60))]);
    write(&provider, 1);
    provider
}

#[divan::bench]
fn a_read_alone(bencher: Bencher<'_, '_>) {
    let store = Store::default();
    written(&store);
    bencher.bench(|| store.read("bench", "BTCUSDT"));
}

/// A hundred thousand writes a second.
#[divan::bench]
fn a_read_beside_a_writer(bencher: Bencher<'_, '_>) {
    let store = Store::default();
    let provider = written(&store);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| write_on(&provider, &stop));
        bencher.bench(|| store.read("bench", "BTCUSDT"));
        stop.store(true, Ordering::Relaxed);
    });
}

#[divan::bench]
fn a_write(bencher: Bencher<'_, '_>) {
    let store = Store::default();
    let provider = written(&store);
    let mut price = 1;
    bencher.bench_local(|| {
        price += 1;
        write(&provider, price);
    });
}
