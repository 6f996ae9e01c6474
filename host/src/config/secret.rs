//! Where a secret comes from.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

/// Far beyond any key or token.
const MAX_SECRET: usize = 64 << 10;

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    Env(String),
    File(PathBuf),
    /// A file of that name in the directory that the service's manager made for it: `LoadCredential=` of systemd.
    Credential(String),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSecret {
    env: Option<String>,
    file: Option<PathBuf>,
    credential: Option<String>,
}

impl RawSecret {
    /// Paths are relative to `base`.
    pub(super) fn source(self, base: &Path) -> Result<SecretSource, String> {
        match (self.env, self.file, self.credential) {
            (Some(env), None, None) => Ok(SecretSource::Env(env)),
            (None, Some(file), None) => Ok(SecretSource::File(base.join(file))),
            (None, None, Some(name)) => {
                if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
                    return Err(format!("credential {name:?} is not the name of a file"));
                }
                Ok(SecretSource::Credential(name))
            }
            _ => Err("wants one of env, file and credential".to_owned()),
        }
    }
}

impl SecretSource {
    /// Reads the secret. Line ends around it, which editors leave, are not part of it.
    pub fn read(&self) -> Result<Zeroizing<String>, String> {
        let secret = match self {
            // The environment itself cannot be overwritten.
            Self::Env(name) => {
                std::env::var(name).map(Zeroizing::new).map_err(|_| format!("environment variable {name} is not set"))
            }
            Self::File(path) => read_file(path),
            Self::Credential(name) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    format!(
                        "CREDENTIALS_DIRECTORY is not set (LoadCredential={name}:FILE in the service's unit sets it)"
                    )
                })?;
                read_file(&Path::new(&directory).join(name))
            }
        }?;
        let trimmed = secret.trim_matches(['\r', '\n']);
        if trimmed.is_empty() { Err("it is empty".to_owned()) } else { Ok(Zeroizing::new(trimmed.to_owned())) }
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let failed = |why: String| format!("{} cannot be read: {why}", path.display());
    let metadata = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?;
    // A pipe would hold the reader up for ever.
    if !metadata.is_file() {
        return Err(failed("it is not a file".to_owned()));
    }
    let too_large = || failed(format!("it has more than {} KiB", MAX_SECRET >> 10));
    if metadata.len() > MAX_SECRET as u64 {
        return Err(too_large());
    }
    // Never grows, so no copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET + 1));
    let file = File::open(path).map_err(|e| failed(e.to_string()))?;
    file.take(MAX_SECRET as u64 + 1).read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
    if bytes.len() > MAX_SECRET {
        return Err(too_large());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is not text".to_owned()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_one_place() {
        let source = |text: &str| toml::from_str::<RawSecret>(text).expect("TOML").source(Path::new("/etc"));
        assert_eq!(source("env = \"A\""), Ok(SecretSource::Env("A".to_owned())));
        assert_eq!(source("file = \"key\""), Ok(SecretSource::File("/etc/key".into())));
        assert_eq!(source("credential = \"key\""), Ok(SecretSource::Credential("key".to_owned())));
        for bad in ["", "env = \"A\"\nfile = \"b\"", "credential = \"a\"\nfile = \"b\""] {
            assert_eq!(source(bad), Err("wants one of env, file and credential".to_owned()), "{bad}");
        }
        for name in ["", "..", "a/b", "../b"] {
            assert!(source(&format!("credential = {name:?}")).is_err(), "{name}");
        }
    }

    #[test]
    fn a_file_is_read_within_bounds() {
        let place = tempfile::TempDir::new().expect("a temporary directory");
        let check = |content: Vec<u8>, expected: Result<&str, &str>| {
            let path = place.path().join("key");
            std::fs::write(&path, content).expect("writable");
            match (SecretSource::File(path).read(), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(*found, expected),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (found, _) => panic!("{expected:?}: {found:?}"),
            }
        };
        check(b"a key\r\n".to_vec(), Ok("a key"));
        check(vec![b'a'; MAX_SECRET], Ok(&"a".repeat(MAX_SECRET)));
        check(vec![b'a'; MAX_SECRET + 1], Err("more than 64 KiB"));
        check(b"\n".to_vec(), Err("empty"));
        check(vec![0xff], Err("not text"));
        let directory = SecretSource::File(place.path().to_owned());
        assert!(directory.read().is_err_and(|why| why.contains("not a file")));
    }
}
