//! Inputs that nobody would think of, made from those that somebody did: cut, doubled, spliced, sprinkled with what
//! matters to the reader. Each target runs a fixed number of them, the same every time; with `FEEDGATE_FUZZ_SECONDS` it
//! runs others for so long. What breaks something is written to `tests/fuzz/corpus/TARGET` and tried first from then on;
//! where it ends the process, `FEEDGATE_FUZZ_LAST` names a file that keeps the last input.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::root;

mod targets;

/// A cheap generator: an xorshift.
pub struct Chance(u64);

impl Chance {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % end.max(1) as u64).expect("an index")
    }

    pub fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

pub struct Fuzz {
    target: &'static str,
    /// What is changed.
    seeds: Vec<Vec<u8>>,
    /// What means something to whoever reads the input.
    words: &'static [&'static str],
    /// How many inputs, where no time is given.
    count: usize,
}

impl Fuzz {
    fn corpus(&self) -> PathBuf {
        root().join("tests/fuzz/corpus").join(self.target)
    }

    /// `run` panics where something is wrong.
    pub fn run(mut self, mut run: impl FnMut(&[u8])) {
        let entries = std::fs::read_dir(self.corpus()).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.sort();
        self.seeds.extend(files.into_iter().map(|file| std::fs::read(file).expect("readable")));
        assert!(!self.seeds.is_empty(), "{} has nothing to begin with", self.target);
        let seconds = std::env::var("FEEDGATE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
        let seed = seconds.map_or(0, |_| std::process::id().into());
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ seed);
        let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        // An abort leaves no time to write anything.
        let last = std::env::var_os("FEEDGATE_FUZZ_LAST");
        let (mut done, mut slowest) = (0, Duration::ZERO);
        loop {
            let input = match self.seeds.get(done) {
                Some(seed) => seed.clone(),
                None => self.changed(&mut chance),
            };
            if let Some(last) = &last {
                std::fs::write(last, &input).expect("writable");
            }
            let started = Instant::now();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&input))) {
                let name = feedgate::plugin::digest_of(&input).to_string();
                let file = self.corpus().join(&name[..16]);
                std::fs::create_dir_all(self.corpus()).expect("writable");
                std::fs::write(&file, &input).expect("writable");
                eprintln!("{} breaks {}", file.display(), self.target);
                std::panic::resume_unwind(panic);
            }
            slowest = slowest.max(started.elapsed());
            done += 1;
            if done >= self.seeds.len() && end.map_or(done >= self.count, |end| Instant::now() >= end) {
                break;
            }
        }
        eprintln!("{}: {done} inputs, the slowest took {slowest:?}", self.target);
    }

    fn changed(&self, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.seeds[chance.below(self.seeds.len())].clone();
        for _ in 0..=chance.below(6) {
            let at = chance.below(bytes.len() + 1);
            let until = (at + chance.below(32)).min(bytes.len());
            match chance.below(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
                1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\n'][chance.below(7)],
                2 => drop(bytes.drain(at..until)),
                3 => {
                    let part = bytes[at..until].to_vec();
                    bytes.splice(at..at, part);
                }
                4 => bytes.truncate(at),
                5 => {
                    let other = &self.seeds[chance.below(self.seeds.len())];
                    let from = chance.below(other.len() + 1);
                    let part = other[from..(from + chance.below(64)).min(other.len())].to_vec();
                    bytes.splice(at..until, part);
                }
                _ if !self.words.is_empty() => drop(bytes.splice(at..at, chance.one(self.words).bytes())),
                _ => {}
            }
        }
        bytes
    }
}
