//! The directory that plugins are dropped into: what lies there, and reading one file. Decides nothing.

use std::fs::{File, OpenOptions};
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::builds::file_error::FileError;
use crate::builds::provenance::{MAX_SIGNATURES, Unproven};
use crate::logic::reload::{Listing, Stamp};
use crate::plugin::LoadError;

/// Behind a plugin's whole name.
const SIGNATURE: &str = ".sig";

/// Plugins (`NAME.wasm`, with `NAME.wasm.sig`) and their configurations (`NAME.toml`). Left out: other files, directories, hidden files, and
/// what editors and copies name while they write (`.NAME.wasm.tmp`, `NAME.wasm~`).
pub fn scan(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing::new();
    let mut signatures = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let signed = name.strip_suffix(SIGNATURE);
        if stem(signed.unwrap_or(&name)).is_none_or(|(_, plugin)| signed.is_some() && !plugin) {
            continue;
        }
        // Follows links; where one leads to is looked at when it is read. One that vanished since is not there.
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        // A pipe would hold the reader up for ever.
        if metadata.is_file() {
            match name.strip_suffix(SIGNATURE) {
                Some(signed) => signatures.push((signed.to_owned(), stamp(&metadata))),
                None => drop(listing.insert(name, stamp(&metadata))),
            }
        }
    }
    // A signature that comes after its plugin, or another one, is a reason to look at the plugin again.
    for (signed, stamp) in signatures {
        if let Some(plugin) = listing.get_mut(&signed) {
            let mut hasher = std::hash::DefaultHasher::new();
            (stamp.len, stamp.modified_ns, stamp.inode).hash(&mut hasher);
            plugin.beside = hasher.finish().max(1);
        }
    }
    Ok(listing)
}

/// One file's stamp; `None` when it is not there.
pub fn stamp_of(path: &Path) -> Option<Stamp> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| stamp(&metadata))
}

/// `binance` and whether it is a plugin, of `binance.wasm` or `binance.toml`; `None` for any other name.
pub fn stem(name: &str) -> Option<(&str, bool)> {
    let (stem, plugin) = match (name.strip_suffix(".wasm"), name.strip_suffix(".toml")) {
        (Some(stem), _) => (stem, true),
        (_, Some(stem)) => (stem, false),
        _ => return None,
    };
    let fits = !stem.is_empty()
        && stem.len() <= 64
        && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    fits.then_some((stem, plugin))
}

/// Where a file of the directory really lies. Links within the directory are as good as their files; one that leads out
/// of it is refused: whoever may only make names here shall not choose among all files of this machine.
pub fn inside(path: &Path) -> io::Result<PathBuf> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (directory, real) = (directory.canonicalize()?, path.canonicalize()?);
    if real.starts_with(&directory) {
        return Ok(real);
    }
    Err(io::Error::other("a link that leads out of plugins_dir: copy the file, or link to one inside"))
}

/// As [`read`], of what lies in the directory. Never waits, as opening a pipe would.
pub fn read_inside(path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        // A link that was put there meanwhile is not followed.
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    let open = || {
        let file = options.open(inside(path)?)?;
        // Asked of what was opened: the name may stand for something else by now.
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a file")) }
    };
    read_opened(open(), max)
}

/// The signatures beside a plugin's file; `None` when there are none.
pub fn read_signatures(plugin: &Path) -> Result<Option<Vec<u8>>, Unproven> {
    let path = signatures_of(plugin);
    // Also a pipe, which would hold the reader up for ever, is none.
    if !path.is_file() {
        return Ok(None);
    }
    match read_inside(&path, MAX_SIGNATURES) {
        Ok(signatures) => Ok(Some(signatures)),
        Err(FileError::Content(LoadError::TooLarge { .. })) => {
            Err(Unproven::Signatures(format!("more than {} KiB", MAX_SIGNATURES >> 10)))
        }
        Err(error) => Err(Unproven::Signatures(error.to_string())),
    }
}

/// Where they lie.
pub fn signatures_of(plugin: &Path) -> PathBuf {
    let mut path = plugin.as_os_str().to_owned();
    path.push(SIGNATURE);
    path.into()
}

/// A file's content, if it is no longer than `max` bytes.
pub fn read(path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    read_opened(File::open(path), max)
}

fn read_opened(file: io::Result<File>, max: usize) -> Result<Vec<u8>, FileError> {
    let failed = |e: io::Error| FileError::Read(e.to_string());
    let file = file.map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let too_large = |size: u64| -> FileError {
        LoadError::TooLarge { size: usize::try_from(size).unwrap_or(usize::MAX), max }.into()
    };
    if size > max as u64 {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).map_or(0, |size| size + 1));
    // The file may grow while it is read.
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > max { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    let modified = metadata.modified().ok();
    let modified_ns = modified.map_or(0, |time| match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos().cast_signed(),
        Err(before) => -before.duration().as_nanos().cast_signed(),
    });
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Stamp { len: metadata.len(), modified_ns, inode, beside: 0 }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Reads `plugins/NAME`; beside `plugins` lies a file that is none of its.
    #[track_caller]
    fn check(make: impl Fn(&Path), name: &str, expected: Result<&[u8], &str>) {
        let root = std::env::temp_dir().join(format!("feedgate-{name}-{}", std::process::id()));
        let directory = root.join("plugins");
        fs::create_dir_all(directory.join("within")).expect("writable");
        fs::write(root.join("secret"), "secret").expect("writable");
        fs::write(directory.join("within/a"), "good").expect("writable");
        make(&directory);
        let read = read_inside(&directory.join(name), 100).map_err(|error| error.to_string());
        fs::remove_dir_all(&root).expect("ours");
        match (read, expected) {
            (Ok(bytes), Ok(good)) => assert_eq!(bytes, good),
            (Err(error), Err(words)) => assert!(error.contains(words), "{error}"),
            (read, _) => panic!("{name}: {read:?}"),
        }
    }

    #[test]
    fn what_lies_in_the_directory_is_read_and_what_leads_out_of_it_is_not() {
        check(|at| fs::write(at.join("plain"), "good").expect("writable"), "plain", Ok(b"good"));
        check(|at| symlink("within/a", at.join("near")).expect("writable"), "near", Ok(b"good"));
        check(|at| symlink(at.join("within/a"), at.join("full")).expect("writable"), "full", Ok(b"good"));
        let out = Err("leads out of plugins_dir");
        check(|at| symlink("../secret", at.join("far")).expect("writable"), "far", out);
        check(|at| symlink("/etc/passwd", at.join("absolute")).expect("writable"), "absolute", out);
        check(
            |at| {
                symlink("../..", at.join("within/up")).expect("writable");
                symlink("within/up/secret", at.join("around")).expect("writable");
            },
            "around",
            out,
        );
        check(|at| symlink("loop", at.join("loop")).expect("writable"), "loop", Err("symbolic links"));
        check(|_| (), "nothing", Err("No such file"));
        check(|_| (), "within", Err("not a file"));
    }

    /// It may have been put there after the directory was listed.
    #[test]
    fn a_pipe_holds_nobody_up() {
        let make = |at: &Path| {
            let made = std::process::Command::new("mkfifo").arg(at.join("pipe")).status();
            assert!(made.expect("mkfifo is everywhere").success());
        };
        check(make, "pipe", Err("not a file"));
    }
}
