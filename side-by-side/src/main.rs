//! feedgate and Bothan on the same feed, in the same run: CPU time per frame of each, in rounds that take turns, and
//! their ratios. What each side does is in `README.md`.
//!
//! This process only asks and prints. The feed is a process (`side-by-side feed`), each of Bothan's sides is one
//! (`side-by-side bothan …`), so is the floor (`side-by-side floor …`), and feedgate is the program that its users run.

mod bothan;
mod feed;
mod floor;
mod sides;

use std::time::Duration;

use sides::{Pace, Side};

/// Turns of each side.
const ROUNDS: usize = 9;

/// Frames of one turn under full load, and one a wake-up.
const FULL: u64 = 200_000;
const PACED: u64 = 20_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["feed"] => feed::serve(),
        ["floor", url] => floor::run(url),
        ["bothan", provider, store, url] => bothan::run(provider, store, url),
        [] => compare("../target/release/feedgate", "../plugins/target/wasm32-unknown-unknown/release/binance.wasm"),
        [feedgate, plugin] => compare(feedgate, plugin),
        _ => panic!("usage: side-by-side [FEEDGATE PLUGIN]: the built program and the built plugin binance.wasm"),
    }
}

fn compare(feedgate: &str, plugin: &str) {
    let mut sides = vec![Side::feedgate(feedgate, plugin), Side::floor()];
    for (provider, store) in bothan::SIDES {
        sides.push(Side::bothan(provider, store));
    }
    // Everybody has compiled what it compiles, and has connected.
    std::thread::sleep(Duration::from_secs(2));
    println!("{:<44} {:>12} {:>12} {:>14}", "CPU time per frame", "full load ns", "frames/s", "10,000/s ns");
    let full = in_turns(&mut sides, FULL, Pace::Full);
    let paced = in_turns(&mut sides, PACED, Pace::OneAWakeUp);
    for ((side, full), paced) in sides.iter().zip(&full).zip(&paced) {
        let (full, paced) = (Summary::of(full), Summary::of(paced));
        println!("{:<44} {:>12.0} {:>12.0} {:>14.0}", side.name, full.cpu, full.frames_a_second, paced.cpu);
    }
    println!("\n{:<44} {:>14} {:>14} {:>7} {:>9}", "times Bothan's", "full load", "10,000/s", "floor", "10,000/s");
    for ((side, full_of), paced_of) in sides.iter().zip(&full).zip(&paced).skip(2) {
        let targets = side.targets.map(|target| target.map_or(String::new(), |target| format!(" (≤ {target:.2})")));
        let [ours, floor] = [0, 1].map(|of| [ratio(&full[of], full_of), ratio(&paced[of], paced_of)]);
        print!("{:<44} {:>5.2}{:<9} {:>5.2}{:<9}", side.name, ours[0], targets[0], ours[1], targets[1]);
        println!(" {:>6.2} {:>9.2}", floor[0], floor[1]);
    }
}

/// One turn of one side.
struct Turn {
    /// Nanoseconds per frame.
    cpu: f64,
    frames_a_second: f64,
}

struct Summary {
    cpu: f64,
    frames_a_second: f64,
}

impl Summary {
    fn of(turns: &[Turn]) -> Self {
        let of = |what: fn(&Turn) -> f64| median(turns.iter().map(what));
        Self { cpu: of(|turn| turn.cpu), frames_a_second: of(|turn| turn.frames_a_second) }
    }
}

fn in_turns(sides: &mut [Side], frames: u64, pace: Pace) -> Vec<Vec<Turn>> {
    let mut turns: Vec<Vec<Turn>> = sides.iter().map(|_| Vec::new()).collect();
    // The first round warms up.
    for round in 0..=ROUNDS {
        for (side, turns) in sides.iter_mut().zip(&mut turns) {
            let (cpu, elapsed) = side.turn(frames, pace);
            let per_frame = cpu.as_secs_f64() * 1e9 / frames as f64;
            if round > 0 {
                turns.push(Turn { cpu: per_frame, frames_a_second: frames as f64 / elapsed.as_secs_f64() });
            }
        }
    }
    turns
}

fn ratio(ours: &[Turn], theirs: &[Turn]) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| ours.cpu / theirs.cpu))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
