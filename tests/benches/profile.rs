//! So many messages one way into the store, and nothing else that is counted: for callgrind and perf.
//!
//! ```text
//! cargo bench --bench profile --no-run
//! valgrind --tool=callgrind --smc-check=all-non-file --toggle-collect='*measured*' PROGRAM plugin "mini ticker" 64 500
//! valgrind --tool=callgrind --toggle-collect='*measured*' PROGRAM native "mini ticker" 1 32000
//! ```

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "shared/mod.rs"]
mod shared;

use shared::{Ways, shapes};

const USAGE: &str = "arguments: native|same|plugin, a part of a shape's name, messages a call, calls";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [way, name, batch, times] = &arguments[..] else { return println!("{USAGE}") };
    let shape = shapes().into_iter().find(|shape| shape.to_string().contains(name));
    let (Some(shape), Ok(batch), Ok(times)) = (shape, batch.parse(), times.parse()) else { return println!("{USAGE}") };
    measured(&mut Ways::new(&shape), way, batch, times);
    println!("{times} times {batch} of {shape}");
}

#[inline(never)]
fn measured(ways: &mut Ways, way: &str, batch: usize, times: usize) {
    for _ in 0..times {
        match way {
            "plugin" => ways.by_plugin(batch),
            "same" => (0..batch).for_each(|_| ways.by_same_code()),
            _ => (0..batch).for_each(|_| ways.natively()),
        }
    }
}
