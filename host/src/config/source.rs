//! Reading one file: its errors with file, line and field.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Why a configuration is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    pub path: PathBuf,
    /// From 1; `None` where the file as a whole is meant.
    pub line: Option<usize>,
    /// `provider.binance.max_age_ms`; empty where the file as a whole is meant.
    pub field: String,
    pub why: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.why)
    }
}

pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |why: String| ConfigError { path: path.to_owned(), line: None, field: String::new(), why };
    let size = std::fs::metadata(path).map_err(|e| failed(format!("cannot be read: {e}")))?.len();
    if size > MAX_FILE {
        return Err(failed(format!("{size} bytes, more than {MAX_FILE}")));
    }
    std::fs::read_to_string(path).map_err(|e| failed(format!("cannot be read: {e}")))
}

/// Far beyond any hand-written file.
const MAX_FILE: u64 = 16 << 20;

pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

/// A part of a text that is TOML as a whole.
pub(super) type Section<'a> = toml::Spanned<toml::de::DeValue<'a>>;

impl Source<'_> {
    pub(super) fn parse<T: for<'de> Deserialize<'de>>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|error| self.failed(&error))
    }

    /// The tables inside of one, each to be read by itself.
    pub(super) fn sections(&self, table: &str) -> Result<Vec<(String, Section<'_>)>, ConfigError> {
        let document = toml::de::DeTable::parse(self.text).map_err(|error| self.failed(&error))?;
        let found = document.into_inner().remove(table).map(toml::Spanned::into_inner);
        let Some(toml::de::DeValue::Table(inner)) = found else { return Ok(Vec::new()) };
        Ok(inner.into_iter().map(|(name, section)| (name.into_inner().into_owned(), section)).collect())
    }

    /// As [`Source::parse`], for one section.
    pub(super) fn parse_section<T: for<'de> Deserialize<'de>>(&self, section: Section<'_>) -> Result<T, ConfigError> {
        T::deserialize(toml::de::ValueDeserializer::from(section)).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &toml::de::Error) -> ConfigError {
        let line = error.span().map(|span| self.line_at(span.start));
        let field = error.span().map_or_else(String::new, |span| self.field_at(span.start));
        let why = error.message().trim().replace('\n', "; ");
        ConfigError { path: self.path.to_owned(), line, field, why }
    }

    fn line_at(&self, offset: usize) -> usize {
        self.text.get(..offset).unwrap_or(self.text).bytes().filter(|b| *b == b'\n').count() + 1
    }

    /// The key that stands around a place: for the words of an error, so a rough reading of the text is enough.
    fn field_at(&self, offset: usize) -> String {
        let line = self.line_at(offset);
        let lines: Vec<&str> = self.text.lines().take(line).map(str::trim).collect();
        let table = lines.iter().rev().find_map(|l| l.strip_prefix('[')?.split(']').next());
        let key = lines.last().and_then(|l| l.split_once('=')).map(|(key, _)| key.trim());
        [table, key].into_iter().flatten().collect::<Vec<_>>().join(".")
    }

    /// An error at a field, with the line on which it stands.
    pub(super) fn invalid(&self, field: &str, why: String) -> ConfigError {
        let line = self.line_of(field);
        ConfigError { path: self.path.to_owned(), line, field: field.to_owned(), why }
    }

    fn line_of(&self, field: &str) -> Option<usize> {
        let document = toml::de::DeTable::parse(self.text).ok()?;
        let mut table = document.get_ref();
        let mut rest = field;
        let mut span = None;
        // Keys may hold dots themselves (origins do), so each table is asked for the longest name that fits.
        while !rest.is_empty() {
            let fits = |name: &str| rest == name || rest.strip_prefix(name).is_some_and(|r| r.starts_with('.'));
            let (key, value) =
                table.iter().filter(|(key, _)| fits(key.get_ref())).max_by_key(|(key, _)| key.get_ref().len())?;
            span = Some(key.span());
            rest = rest.get(key.get_ref().len() + 1..).unwrap_or("");
            match value.get_ref() {
                toml::de::DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        span.map(|span| self.line_at(span.start))
    }
}
