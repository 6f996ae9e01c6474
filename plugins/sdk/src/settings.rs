//! The operator's settings as a plugin's own type.

use serde::de::DeserializeOwned;

/// The settings do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The field, as a path (`price`), or empty for the whole.
    pub field: String,
    /// What is wrong and what would be right, for people.
    pub why: String,
}

/// Reads the settings, and names the field that does not fit. Give the type `#[serde(deny_unknown_fields)]`, so that a
/// misspelt field is an error, and defaults, so that `{}` is enough.
pub fn parse<T: DeserializeOwned>(settings: &str) -> Result<T, SettingsError> {
    let mut json = serde_json::Deserializer::from_str(settings);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        SettingsError {
            // The root's path is a dot.
            field: if path == "." { String::new() } else { path },
            why: error.into_inner().to_string(),
        }
    })?;
    json.end().map_err(|error| SettingsError { field: String::new(), why: error.to_string() })?;
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
    }
}
