//! The directory that plugins are dropped into: what lies there, and reading one file. Decides nothing.

use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::logic::reload::{Listing, Stamp};
use crate::plugin::LoadError;
use crate::provenance::{MAX_SIGNATURES, Unproven};

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
        // Follows links: a link is as good as its file. One that vanished since is not there.
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

/// The signatures beside a plugin's file; `None` when there are none.
pub fn read_signatures(plugin: &Path) -> Result<Option<Vec<u8>>, Unproven> {
    let path = signatures_of(plugin);
    // Also a pipe, which would hold the reader up for ever, is none.
    if !path.is_file() {
        return Ok(None);
    }
    match read(&path, MAX_SIGNATURES) {
        Ok(signatures) => Ok(Some(signatures)),
        Err(LoadError::TooLarge { .. }) => Err(Unproven::Signatures(format!("more than {} KiB", MAX_SIGNATURES >> 10))),
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
pub fn read(path: &Path, max: usize) -> Result<Vec<u8>, LoadError> {
    use std::io::Read;
    let failed = |e: io::Error| LoadError::Read(e.to_string());
    let file = std::fs::File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let too_large = |size: u64| LoadError::TooLarge { size: usize::try_from(size).unwrap_or(usize::MAX), max };
    if size > max as u64 {
        return Err(too_large(size));
    }
    let mut bytes = Vec::new();
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
