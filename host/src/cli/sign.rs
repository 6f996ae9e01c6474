//! `feedgate plugin keygen | sign | verify`: who vouches for a plugin's file.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use zeroize::Zeroizing;

use super::fail;
use crate::builds::directory::{read, read_signatures, signatures_of};
use crate::builds::file_error::FileError;
use crate::builds::provenance::{PublicKey, SigningKey};
use crate::contract::digest::Digest;
use crate::contract::limits::PluginLimits;
use crate::plugin::{LoadError, digest_of};

/// Far beyond any key.
const MAX_KEY: usize = 64 << 10;

/// Writes a new key, readable by its owner only, and prints what to trust. Never over an old one.
pub fn keygen(file: &Path) -> ExitCode {
    let (key, pem) = match SigningKey::generate() {
        Ok(made) => made,
        Err(error) => return fail(&error),
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(file).and_then(|mut file| {
        file.write_all(pem.as_bytes())?;
        file.sync_all()
    });
    if let Err(error) = written {
        return fail(&format!("{}: {error}", file.display()));
    }
    println!("{}", key.public());
    eprintln!("feedgate: the key is in {}; keep it off the machines that only run plugins", file.display());
    eprintln!("feedgate: [plugins] trusted_keys = [\"{}\"], require = \"signature\"", key.public());
    ExitCode::SUCCESS
}

/// Signs each file, beside the signatures that are there already.
pub fn sign(key: &Path, plugins: &[std::path::PathBuf]) -> ExitCode {
    let pem = match read(key, MAX_KEY) {
        Ok(pem) => Zeroizing::new(pem),
        Err(FileError::Content(LoadError::TooLarge { .. })) => {
            return fail(&format!("{}: longer than any key", key.display()));
        }
        Err(error) => return fail(&format!("{}: {error}", key.display())),
    };
    let key = match SigningKey::from_pem(&pem) {
        Ok(signing) => signing,
        Err(error) => return fail(&format!("{}: {error}", key.display())),
    };
    for plugin in plugins {
        match sign_one(&key, plugin) {
            Ok(digest) => println!("{}  sha256 {digest}  signed by {}", plugin.display(), key.public()),
            Err(error) => return fail(&format!("{}: {error}", plugin.display())),
        }
    }
    ExitCode::SUCCESS
}

fn sign_one(key: &SigningKey, plugin: &Path) -> Result<Digest, String> {
    let bytes = read(plugin, PluginLimits::default().max_file_bytes).map_err(|error| error.to_string())?;
    let digest = digest_of(&bytes);
    let known = read_signatures(plugin).map_err(|error| error.to_string())?;
    let signatures = signatures_of(plugin);
    // A daemon that watches the directory never sees half of it.
    let name = signatures.file_name().ok_or("it has no name")?.to_string_lossy().into_owned();
    let hidden = signatures.with_file_name(format!(".{name}.tmp"));
    std::fs::write(&hidden, key.sign(digest, known.as_deref())).map_err(|error| error.to_string())?;
    std::fs::rename(&hidden, &signatures).map_err(|error| error.to_string())?;
    Ok(digest)
}

/// Exit code 0 when the key signed this very file, 1 when it did not, 2 when that cannot be said.
pub fn verify(key: &str, plugin: &Path) -> ExitCode {
    let key: PublicKey = match key.parse() {
        Ok(key) => key,
        Err(why) => return fail(&format!("--key {key}: {why}")),
    };
    let bytes = match read(plugin, PluginLimits::default().max_file_bytes) {
        Ok(bytes) => bytes,
        Err(error) => return fail(&format!("{}: {error}", plugin.display())),
    };
    let digest = digest_of(&bytes);
    match read_signatures(plugin) {
        Err(error) => fail(&format!("{}: {error}", plugin.display())),
        Ok(Some(signatures)) if key.signed_one_of(digest, &signatures) => {
            println!("{}  sha256 {digest}  signed by {key}", plugin.display());
            ExitCode::SUCCESS
        }
        Ok(Some(_)) => {
            println!("{}  sha256 {digest}  NOT signed by {key}, or changed since", plugin.display());
            ExitCode::FAILURE
        }
        Ok(None) => {
            println!("{}  sha256 {digest}  NOT signed: no {}", plugin.display(), signatures_of(plugin).display());
            ExitCode::FAILURE
        }
    }
}
