//! One message into the store's slots, natively and by a plugin; what a tape costs beside it; one step of a session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use feedgate::builds::tape::Tapes;
use feedgate::contract::codec::Incoming;
use feedgate::contract::observation::Key;
use feedgate::logic::backoff::BackoffConfig;
use feedgate::logic::session::{Action, Overrides, Session, SessionConfig};

use crate::shared::{self, CONTEXT, Shape, Ways, shapes};

#[divan::bench(args = shapes())]
fn into_the_store_natively(bencher: Bencher<'_, '_>, shape: &Shape) {
    let mut ways = Ways::new(shape);
    bencher.bench_local(|| ways.natively());
}

#[divan::bench(args = shapes())]
fn into_the_store_by_the_plugins_own_code_natively(bencher: Bencher<'_, '_>, shape: &Shape) {
    let mut ways = Ways::new(shape);
    bencher.bench_local(|| ways.by_same_code());
}

#[divan::bench(args = shapes())]
fn into_the_store_by_a_plugin(bencher: Bencher<'_, '_>, shape: &Shape) {
    let mut ways = Ways::new(shape);
    bencher.bench_local(|| ways.by_plugin(1));
}

#[divan::bench(args = shapes().into_iter().filter(Shape::is_streamed), consts = [16, 64])]
fn into_the_store_by_a_plugin_in_batches<const FRAMES: usize>(bencher: Bencher<'_, '_>, shape: &Shape) {
    let mut ways = Ways::new(shape);
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| ways.by_plugin(FRAMES));
}

/// What is kept for the next build to be tried on: its part of the above is what recording costs.
#[divan::bench(args = [1, 16, 64])]
fn frames_onto_a_tape(bencher: Bencher<'_, '_>, frames: usize) {
    let mut recorder = Arc::new(Tapes::default()).recorder();
    let frame = shared::mini_ticker(0);
    let batch = vec![Incoming::Text(&frame); frames];
    bencher.counter(ItemsCount::new(frames)).bench_local(|| recorder.frames(CONTEXT, &batch));
}

#[divan::bench]
fn a_step_of_a_session(bencher: Bencher<'_, '_>) {
    let start = Instant::now();
    let config = SessionConfig {
        backoff: BackoffConfig::default(),
        connect_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(60),
        heartbeat: None,
        first_send_delay: Duration::ZERO,
        waits_for_ready: false,
        ids_per_message: None,
        acknowledges: false,
        ack_timeout: Duration::from_secs(10),
        revive_gap: Duration::from_secs(30),
        first_data_timeout: None,
        max_age: None,
    };
    let mut session = Session::new(config, (0..200).map(Key).collect(), start, Duration::ZERO);
    while let Some(action) = session.poll_action(start) {
        match action {
            Action::Connect => session.handle_opened(start, Overrides::default()),
            _ => session.handle_sent(start),
        }
    }
    let mut now = start;
    bencher.bench_local(|| {
        now += Duration::from_micros(10);
        session.handle_received(now);
        assert!(session.poll_action(now).is_none());
        session.poll_timeout()
    });
}
