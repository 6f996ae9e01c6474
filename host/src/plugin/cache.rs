//! Compiled plugins on disk, so that a start need not compile: each sealed as only this installation can seal it.
//!
//! A file here is code that will be run. So it is believed only with a good tag, over its name and its content, by the
//! key in the state directory; whatever is wrong with it costs a compilation. What is here may be deleted at any time.
//!
//! A file is a nonce, and what AES-256-GCM makes of the content with the name beside it. Nobody needs the content to be
//! secret: with it encrypted the tag costs a quarter of what one over plain bytes costs.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::{Deref, Range};
use std::time::{Duration, SystemTime};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};

use super::compile::MAX_ANSWER;
use super::worlds;
use crate::contract::digest::Digest;
use crate::store::state_dir::StateDir;

/// The file of the key in the state directory, and its length.
const KEY: &str = "key";
const KEY_BYTES: usize = 32;

/// What the key in the file is used for here.
const PURPOSE: &[u8] = b"feedgate compiled plugins";

/// Another number for another layout of the files.
const LAYOUT: u32 = 2;

/// What is kept; what was used least recently goes first.
const MAX_FILES: usize = 256;
const MAX_BYTES: u64 = 1 << 30;

/// A use is noted in the file's time when the last one is so long ago.
const USE_NOTED: Duration = Duration::from_secs(3_600);

pub(super) struct Cache {
    directory: StateDir,
    key: LessSafeKey,
    /// The end of every name: what must be equal for code to run here.
    engine: String,
}

/// A file's content where it was unsealed: moving most of a megabyte would cost.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    content: Range<usize>,
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.content.clone()]
    }
}

impl Cache {
    /// Makes the key where there is none that is good.
    pub(super) fn open(state: &StateDir, engine: &wasmtime::Engine) -> io::Result<Self> {
        let directory = state.inside("compiled")?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        // What was checked before it was compiled.
        (env!("CARGO_PKG_VERSION"), worlds::CONTRACT, LAYOUT).hash(&mut hasher);
        let cache = Self { directory, key: key(state)?, engine: format!("-{:016x}", hasher.finish()) };
        cache.sweep()?;
        cache.bound()?;
        Ok(cache)
    }

    fn name(&self, digest: Digest) -> String {
        format!("{digest}{}", self.engine)
    }

    /// What is kept for a file of this digest; the error says why what is there is not believed.
    pub(super) fn read(&self, digest: Digest) -> io::Result<Option<Kept>> {
        let name = self.name(digest);
        let path = self.directory.path().join(&name);
        let used = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => found.modified().ok(),
            // Opening some of these would wait for ever.
            Ok(_) => return Err(invalid("it is no file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(mut bytes) = self.directory.read(&name, MAX_ANSWER + (2 << 20))? else { return Ok(None) };
        let (nonce, sealed) = bytes.split_first_chunk_mut().ok_or_else(|| invalid("it is cut short"))?;
        let opened = self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(&name), sealed);
        let length = opened.map_err(|_| invalid("its tag is not of this installation's key, for this plugin"))?.len();
        // Only decides who is dropped first, so it need not be exact.
        let now = SystemTime::now();
        if used.and_then(|used| now.duration_since(used).ok()).is_none_or(|since| since > USE_NOTED) {
            let _ = File::open(&path).and_then(|file| file.set_modified(now));
        }
        Ok(Some(Kept { bytes, content: NONCE_LEN..NONCE_LEN + length }))
    }

    /// Keeps these parts, one behind the other, in place of what was there for the same file.
    pub(super) fn write(&self, digest: Digest, content: &[&[u8]]) -> io::Result<()> {
        let name = self.name(digest);
        // No two of them are ever the same: there would have to be billions of files.
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        let mut bytes = [&[&nonce[..]], content].concat().concat();
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&name), &mut bytes[NONCE_LEN..])
            .map_err(|_| invalid("it is too long"))?;
        bytes.extend_from_slice(tag.as_ref());
        self.directory.write(&name, &bytes)?;
        self.bound()
    }

    /// Drops what no engine of this program can run, and what interrupted writes have left.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.directory.path())? {
            let name = entry?.file_name();
            if !name.to_str().is_some_and(|name| name.ends_with(&self.engine) && !name.starts_with('.')) {
                let gone = fs::remove_file(self.directory.path().join(&name));
                if let Err(why) = gone {
                    tracing::warn!(file = ?name, %why, "cannot be removed from the compiled plugins");
                }
            }
        }
        Ok(())
    }

    fn bound(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for name in self.directory.list()? {
            let Ok(found) = fs::symlink_metadata(self.directory.path().join(&name)) else { continue };
            files.push((found.modified().unwrap_or(SystemTime::UNIX_EPOCH), found.len(), name));
        }
        for name in surplus(files, MAX_FILES, MAX_BYTES) {
            self.directory.remove(&name)?;
        }
        Ok(())
    }
}

/// What goes when there are to be at most so many files and bytes: (last use, bytes, name).
fn surplus(mut files: Vec<(SystemTime, u64, String)>, max_files: usize, max_bytes: u64) -> Vec<String> {
    files.sort_by(|a, b| b.cmp(a));
    let mut bytes = 0_u64;
    let mut kept = 0;
    let goes = |(_, length, _): &(SystemTime, u64, String)| {
        bytes = bytes.saturating_add(*length);
        kept += 1;
        kept > max_files || bytes > max_bytes
    };
    let keep = files.iter().position(goes).unwrap_or(files.len());
    files.split_off(keep).into_iter().map(|(_, _, name)| name).collect()
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The key of this installation. One that others may know is of no use, and neither is what was tagged with it.
fn key(state: &StateDir) -> io::Result<LessSafeKey> {
    let path = state.path().join(KEY);
    let found = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(metadata) => {
            private(&metadata).and_then(|()| state.read(KEY, KEY_BYTES as u64)).and_then(|bytes| match bytes {
                Some(bytes) if bytes.len() != KEY_BYTES => {
                    Err(invalid(&format!("it has {} bytes, not {KEY_BYTES}", bytes.len())))
                }
                bytes => Ok(bytes),
            })
        }
    };
    match found {
        Ok(Some(bytes)) => return derived(&bytes),
        Ok(None) => {}
        Err(why) => {
            tracing::warn!(path = %path.display(), %why, "this key is no good; with a new one every plugin is compiled anew");
        }
    }
    let mut bytes = [0; KEY_BYTES];
    random(&mut bytes)?;
    state.write(KEY, &bytes)?;
    derived(&bytes)
}

/// The key for what is kept here, so that no other use of the installation's key can be mistaken for one of these.
fn derived(key: &[u8]) -> io::Result<LessSafeKey> {
    let derived = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key);
    let key = derived.expand(&[PURPOSE], &AES_256_GCM).map(UnboundKey::from).map(LessSafeKey::new);
    key.map_err(|_| io::Error::other("no key can be derived"))
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| io::Error::other("the system gives no random numbers"))
}

/// A file of ours that nobody else can read or change.
#[cfg(unix)]
fn private(found: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    if !found.is_file() {
        return Err(invalid("it is no file"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(invalid("it belongs to another user"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(invalid("others may read it"));
    }
    Ok(())
}

#[cfg(not(unix))]
fn private(found: &fs::Metadata) -> io::Result<()> {
    if found.is_file() { Ok(()) } else { Err(invalid("it is no file")) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn cache(directory: &Path) -> Cache {
        let state = StateDir::open(directory).expect("writable");
        let engine =
            wasmtime::Engine::new(&super::super::wasmtime_config::config()).expect("this machine runs WebAssembly");
        Cache::open(&state, &engine).expect("writable")
    }

    /// What is read after something was done to the directory of a daemon that had kept `answer` for `file`.
    #[track_caller]
    fn check(tamper: impl Fn(&Path, &Path), expected: Result<Option<&[u8]>, &str>) {
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        let kept = cache(directory.path());
        let (digest, other) = (Digest::from([1; 32]), Digest::from([2; 32]));
        kept.write(digest, &[b"ans", b"wer"]).expect("writable");
        kept.write(other, &[b"of another"]).expect("writable");
        let path = |digest| directory.path().join("compiled").join(kept.name(digest));
        tamper(&path(digest), &path(other));
        // A new start.
        let found = cache(directory.path()).read(digest).map_err(|error| error.to_string());
        assert_eq!(found.as_ref().map(Option::as_deref).map_err(String::as_str), expected);
        // Whatever was wrong is mended by keeping it anew.
        let anew = cache(directory.path());
        anew.write(digest, &[b"again"]).expect("writable");
        assert_eq!(anew.read(digest).expect("readable").as_deref(), Some(&b"again"[..]));
    }

    fn flip(path: &Path, at: usize) {
        let mut bytes = fs::read(path).expect("it was kept");
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1;
        fs::write(path, bytes).expect("writable");
    }

    #[test]
    fn only_what_was_kept_under_this_name_with_this_key_is_believed() {
        let no_tag = Err("its tag is not of this installation's key, for this plugin");
        check(|_, _| {}, Ok(Some(b"answer")));
        check(|file, _| fs::remove_file(file).expect("it was kept"), Ok(None));
        check(|file, _| flip(file, 0), no_tag);
        check(|file, _| flip(file, NONCE_LEN + 3), no_tag);
        check(|file, _| flip(file, usize::MAX), no_tag);
        check(
            |file, other| {
                fs::copy(other, file).expect("writable");
            },
            no_tag,
        );
        check(|file, _| fs::write(file, &fs::read(file).expect("readable")[..30]).expect("writable"), no_tag);
        check(|file, _| fs::write(file, [0; NONCE_LEN]).expect("writable"), no_tag);
        check(|file, _| fs::write(file, b"x").expect("writable"), Err("it is cut short"));
        let foreign = |file: &Path, _: &Path| {
            let elsewhere = tempfile::TempDir::new().expect("a temporary directory");
            let other = cache(elsewhere.path());
            other.write(Digest::from([1; 32]), &[b"planted"]).expect("writable");
            fs::copy(elsewhere.path().join("compiled").join(other.name(Digest::from([1; 32]))), file)
                .expect("writable");
        };
        check(foreign, no_tag);
        #[cfg(unix)]
        check(
            |file, other| {
                fs::remove_file(file).expect("it was kept");
                std::os::unix::fs::symlink(other, file).expect("writable");
            },
            Err("it is no file"),
        );
    }

    #[test]
    fn a_key_that_others_may_know_is_replaced_and_what_it_tagged_is_compiled_anew() {
        let no_tag = Err("its tag is not of this installation's key, for this plugin");
        fn key(file: &Path) -> std::path::PathBuf {
            file.ancestors().nth(2).expect("the state directory").join(KEY)
        }
        check(|file, _| fs::remove_file(key(file)).expect("it was made"), no_tag);
        check(|file, _| fs::write(key(file), b"short").expect("writable"), no_tag);
        check(|file, _| fs::write(key(file), [7; 33]).expect("writable"), no_tag);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            check(|file, _| fs::set_permissions(key(file), fs::Permissions::from_mode(0o640)).expect("ours"), no_tag);
            let directory = tempfile::TempDir::new().expect("a temporary directory");
            cache(directory.path());
            let mode = fs::metadata(directory.path().join(KEY)).expect("it was made").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn what_no_engine_runs_and_what_a_kill_left_is_swept_away() {
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        let kept = cache(directory.path());
        kept.write(Digest::from([1; 32]), &[b"answer"]).expect("writable");
        for name in ["0123-0000000000000000", ".half.1.2.tmp", "notes"] {
            fs::write(directory.path().join("compiled").join(name), b"x").expect("writable");
        }
        let names = fs::read_dir(cache(directory.path()).directory.path()).expect("it is there");
        let names: Vec<_> = names.flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, [kept.name(Digest::from([1; 32])).as_str()]);
    }

    #[test]
    fn what_was_used_least_recently_goes_first() {
        let file = |seconds: u64, bytes: u64| {
            (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), bytes, format!("{seconds}"))
        };
        let all = vec![file(2, 10), file(4, 10), file(1, 10), file(3, 10)];
        assert_eq!(surplus(all.clone(), 4, 40), Vec::<String>::new());
        assert_eq!(surplus(all.clone(), 3, 40), ["1"]);
        assert_eq!(surplus(all.clone(), 4, 25), ["2", "1"]);
        assert_eq!(surplus(all, 0, 0).len(), 4);
    }
}
