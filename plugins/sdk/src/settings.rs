//! The operator's settings as a plugin's own type, or none at all. Which settings there are is each plugin's.

use serde::{Deserialize, de::DeserializeOwned};

/// The schema of a plugin without settings.
pub const NONE: &str = r#"{"type":"object","additionalProperties":false}"#;

/// The settings do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The field, as a path (`price`), or empty for the whole.
    pub field: String,
    /// What is wrong and what would be right, for people.
    pub why: String,
}

impl SettingsError {
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

/// For a plugin without settings, beside [`NONE`]: any that an operator gives is an error.
pub fn none(settings: &str) -> Result<(), SettingsError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {}

    let Settings {} = parse(settings)?;
    Ok(())
}

/// Reads the settings, and names the field that does not fit. Give the type `#[serde(deny_unknown_fields)]`, so that a
/// misspelt field is an error, and defaults, so that `{}` is enough.
pub fn parse<T: DeserializeOwned>(settings: &str) -> Result<T, SettingsError> {
    let mut json = serde_json::Deserializer::from_str(settings);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        // The root's path is a dot.
        SettingsError::new(if path == "." { String::new() } else { path }, error.into_inner().to_string())
    })?;
    json.end().map_err(|error| SettingsError::new("", error.to_string()))?;
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Settings {
        depth: u8,
    }

    #[test]
    fn the_field_is_named() {
        assert_eq!(parse("{}"), Ok(Settings { depth: 0 }));
        assert_eq!(parse(r#"{"depth":5}"#), Ok(Settings { depth: 5 }));
        assert_eq!(parse::<Settings>(r#"{"depth":"five"}"#).unwrap_err().field, "depth");
        let unknown = parse::<Settings>(r#"{"deep":5}"#).unwrap_err();
        assert_eq!(unknown.field, "deep");
        assert!(unknown.why.contains("unknown field `deep`, expected `depth`"), "{}", unknown.why);
        assert_eq!(parse::<Settings>("7").unwrap_err().field, "");
        assert!(parse::<Settings>("{} {}").is_err());
        assert_eq!(none("{}"), Ok(()));
        assert_eq!(none(r#"{"depth":5}"#).unwrap_err().field, "depth");
    }
}
