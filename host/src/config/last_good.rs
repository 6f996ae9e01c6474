//! The last text of the main configuration that was good as a whole, kept in the state directory: what a daemon starts
//! with when the file was broken while it was down.
//!
//! Where that directory is stands in the file itself: `state_dir` is looked for in what can be read of a broken one, and
//! is the default otherwise. A file that cannot be read at all is refused: whoever took it away may have meant it.

use std::io;
use std::path::{Path, PathBuf};

use super::source::{ConfigError, read};
use super::{Config, Loaded, state_dir};
use crate::store::state_dir::StateDir;

const FILE: &str = "config.toml";

/// Room for the line about whose text it is.
const MAX_KEPT: u64 = (16 << 20) + (64 << 10);

/// What the file says as far as it is good, and in place of the rest what it said when it last was.
pub(crate) fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let text = read(path)?;
    let salvaged = salvaged_state_dir(&text, path);
    match Config::read(text, path) {
        Ok(mut loaded) => {
            let directory = loaded.config.state_dir.as_deref().filter(|_| !loaded.is_whole());
            if let Some(kept) = directory.and_then(|directory| kept(directory, path)) {
                loaded.keep(&kept.config);
            }
            Ok(loaded)
        }
        Err(error) => match kept(&salvaged, path) {
            Some(kept) => Ok(Loaded { refused: Some(error), ..kept }),
            None => Err(error),
        },
    }
}

/// Says loudly what does not apply.
pub(crate) fn say_errors(loaded: &Loaded) {
    if let Some(error) = &loaded.refused {
        tracing::error!(%error, "configuration refused; starting with what it last said that was good");
    }
    if let Some(error) = &loaded.bad_grants {
        tracing::error!(%error, "the file of grants is refused; what it granted before stays");
    }
    for (provider, error) in &loaded.bad {
        let keeps = loaded.config.providers.contains_key(provider);
        tracing::error!(provider, %error, keeps, "a section of the configuration is refused; the rest applies");
    }
}

/// Keeps a text that is good as a whole. One that cannot be kept is no reason not to use it.
pub(crate) fn keep(loaded: &Loaded, path: &Path) {
    if let Some(state) = loaded.config.state_dir.as_deref().filter(|_| loaded.is_whole())
        && let Err(error) = save(state, path, &loaded.text)
    {
        tracing::warn!(%error, path = %state.display(), "the configuration cannot be kept in state_dir");
    }
}

fn save(directory: &Path, path: &Path, text: &str) -> io::Result<()> {
    let state = StateDir::open(directory)?;
    let kept = format!("{}{text}", heading(path));
    if state.read(FILE, MAX_KEPT).is_ok_and(|known| known.as_deref() == Some(kept.as_bytes())) {
        return Ok(());
    }
    state.write(FILE, kept.as_bytes())
}

fn kept(directory: &Path, path: &Path) -> Option<Loaded> {
    // Looked for, not made.
    if !directory.is_dir() {
        return None;
    }
    let kept = StateDir::open(directory).ok()?.read(FILE, MAX_KEPT).ok()??;
    let text = String::from_utf8(kept).ok()?.strip_prefix(&heading(path))?.to_owned();
    Config::read(text, path).ok().filter(|loaded| loaded.bad.is_empty())
}

/// Two files may share a state directory, and neither is to start with what the other said.
fn heading(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("# The last good text of {path:?}\n")
}

fn salvaged_state_dir(text: &str, path: &Path) -> PathBuf {
    let (document, _) = toml::de::DeTable::parse_recoverable(text);
    let written = document.get_ref().get("state_dir").and_then(|value| value.get_ref().as_str().map(PathBuf::from));
    state_dir(path, written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_good_last_is_found_again() {
        let place = tempfile::TempDir::new().expect("a temporary directory");
        let path = place.path().join("feedgate.toml");
        let write = |text: &str| std::fs::write(&path, text).expect("writable");
        let good = "state_dir = \"kept\"\n[provider.a]\nids = [\"X\"]\n[provider.b]\n";
        write(good);
        let loaded = load(&path).expect("good");
        assert!(loaded.is_whole());
        save(loaded.config.state_dir.as_deref().expect("said"), &path, &loaded.text).expect("writable");
        let check = |text: &str, expected: Result<(&[&str], &[&str]), &str>| {
            write(text);
            match (load(&path), expected) {
                (Ok(loaded), Ok((providers, words))) => {
                    assert_eq!(loaded.config.providers.keys().collect::<Vec<_>>(), providers, "{text}");
                    let errors: Vec<String> = loaded.errors().map(ToString::to_string).collect();
                    assert_eq!(errors.len(), words.len(), "{errors:?}");
                    assert!(errors.iter().zip(words).all(|(error, words)| error.contains(words)), "{errors:?}");
                }
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{text}: {error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        };
        check(good, Ok((&["a", "b"], &[])));
        // Broken as a whole: everything is as it was.
        check("state_dir = \"kept\"\n[provider.a]\nids = [\n", Ok((&["a", "b"], &["unclosed array"])));
        check("state_dir = \"kept\"\nautostart = 1", Ok((&["a", "b"], &["autostart: invalid type"])));
        // One bad section is as it was, and one that never was is left out.
        let sections = "[provider.b]\nplugin = 1\n[provider.c]\nplugin = 1\n[provider.d]";
        check(&format!("state_dir = \"kept\"\n{sections}"), Ok((&["b", "d"], &["b.plugin", "c.plugin"])));
        // Nothing was kept there.
        check("state_dir = \"other\"\nautostart = 1", Err("autostart: invalid type"));
        check("autostart = 1", Err("autostart: invalid type"));
        // Another file's.
        let other = place.path().join("other.toml");
        std::fs::write(&other, "state_dir = \"kept\"\nautostart = 1").expect("writable");
        assert!(load(&other).is_err());
        assert!(!place.path().join("state").exists(), "nothing is made in passing");
        std::fs::remove_file(&path).expect("it is there");
        assert!(load(&path).is_err());
    }
}
