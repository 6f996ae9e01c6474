//! `feedgate plugin keygen | sign | verify`: who vouches for a plugin's file.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Error, anyhow, bail};
use zeroize::Zeroizing;

use crate::builds::directory::{read, read_signatures, signatures_of};
use crate::builds::file_error::FileError;
use crate::builds::provenance::{PublicKey, SigningKey};
use crate::contract::digest::Digest;
use crate::contract::limits::PluginLimits;
use crate::plugin::{LoadError, digest_of};

/// Far beyond any key.
const MAX_KEY: usize = 64 << 10;

/// Writes a new key, readable by its owner only, and prints what to trust. Never over an old one.
pub fn keygen(file: &Path) -> anyhow::Result<ExitCode> {
    let (key, pem) = SigningKey::generate().map_err(Error::msg)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(file).and_then(|mut file| {
        file.write_all(pem.as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| file.display().to_string())?;
    println!("{}", key.public());
    eprintln!("feedgate: the key is in {}; keep it off the machines that only run plugins", file.display());
    eprintln!("feedgate: [plugins] trusted_keys = [\"{}\"], require = \"signature\"", key.public());
    Ok(ExitCode::SUCCESS)
}

/// Signs each file, beside the signatures that are there already.
pub fn sign(key: &Path, plugins: &[std::path::PathBuf]) -> anyhow::Result<ExitCode> {
    let pem = match read(key, MAX_KEY) {
        Err(FileError::Content(LoadError::TooLarge { .. })) => bail!("{}: longer than any key", key.display()),
        pem => Zeroizing::new(pem.with_context(|| key.display().to_string())?),
    };
    let key = SigningKey::from_pem(&pem).map_err(|why| anyhow!("{}: {why}", key.display()))?;
    for plugin in plugins {
        let digest = sign_one(&key, plugin).with_context(|| plugin.display().to_string())?;
        println!("{}  sha256 {digest}  signed by {}", plugin.display(), key.public());
    }
    Ok(ExitCode::SUCCESS)
}

fn sign_one(key: &SigningKey, plugin: &Path) -> anyhow::Result<Digest> {
    let digest = digest_of(&read(plugin, PluginLimits::default().max_file_bytes)?);
    let known = read_signatures(plugin)?;
    let signatures = signatures_of(plugin);
    // A daemon that watches the directory never sees half of it.
    let name = signatures.file_name().context("it has no name")?.to_string_lossy().into_owned();
    let hidden = signatures.with_file_name(format!(".{name}.tmp"));
    std::fs::write(&hidden, key.sign(digest, known.as_deref()))?;
    std::fs::rename(&hidden, &signatures)?;
    Ok(digest)
}

/// Exit code 0 when the key signed this very file, 1 when it did not, 2 when that cannot be said.
pub fn verify(key: &str, plugin: &Path) -> anyhow::Result<ExitCode> {
    let key: PublicKey = key.parse().map_err(|why| anyhow!("--key {key}: {why}"))?;
    let place = || plugin.display().to_string();
    let digest = digest_of(&read(plugin, PluginLimits::default().max_file_bytes).with_context(place)?);
    let code = match read_signatures(plugin).with_context(place)? {
        Some(signatures) if key.signed_one_of(digest, &signatures) => {
            println!("{}  sha256 {digest}  signed by {key}", plugin.display());
            ExitCode::SUCCESS
        }
        Some(_) => {
            println!("{}  sha256 {digest}  NOT signed by {key}, or changed since", plugin.display());
            ExitCode::FAILURE
        }
        None => {
            println!("{}  sha256 {digest}  NOT signed: no {}", plugin.display(), signatures_of(plugin).display());
            ExitCode::FAILURE
        }
    };
    Ok(code)
}
