//! `feedgate plugin grant`: what a plugin's file asks for, as the section that allows it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};

use super::plugin::load;
use crate::access::grants::Asks;
use crate::builds::directory;
use crate::config::plugins::parse_grants;
use crate::contract::limits::PluginLimits;

/// Prints the section for the main configuration, or puts one into a file of grants, in place of what stood there for
/// this plugin.
pub fn grant(file: &Path, write: Option<&Path>) -> anyhow::Result<ExitCode> {
    let name = file.file_name().and_then(|name| name.to_str()).and_then(directory::stem);
    let Some((stem, true)) = name else {
        bail!("{}: a plugin's file is NAME.wasm, of letters, digits, - and _", file.display());
    };
    let (_engine, plugin) = load(file)?;
    let asks = Asks::of(plugin.description(), &PluginLimits::default());
    let lines = asks.written().join("\n");
    let Some(grants) = write else {
        println!("[plugin.{stem}.grant]\n{lines}");
        return Ok(ExitCode::SUCCESS);
    };
    add(grants, stem, &lines, &asks).with_context(|| grants.display().to_string())?;
    println!("{}: [{stem}]\n{lines}", grants.display());
    Ok(ExitCode::SUCCESS)
}

fn add(path: &Path, stem: &str, lines: &str, asks: &Asks) -> anyhow::Result<()> {
    let known = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        known => known?,
    };
    let mut expected = parse_grants(&known, path)?;
    expected.insert(stem.to_owned(), asks.clone());
    let text = with_section(&known, stem, lines);
    // A hand-written file may be of a shape that is not understood here: then it stays as it is.
    let understood = parse_grants(&text, path).is_ok_and(|found| found == expected);
    ensure!(understood, "[{stem}] is written there in a way that cannot be replaced; do it by hand:\n{lines}");
    let name = path.file_name().context("it has no name")?.to_string_lossy().into_owned();
    let hidden = path.with_file_name(format!(".{name}.tmp"));
    std::fs::write(&hidden, text)?;
    Ok(std::fs::rename(&hidden, path)?)
}

/// The text with this section at its end, and without the one of that name that it had. Everything else stays.
fn with_section(known: &str, stem: &str, lines: &str) -> String {
    let mut text = String::new();
    let mut ours = false;
    for line in known.lines() {
        if let Some(rest) = line.trim_start().strip_prefix('[') {
            ours = rest.split(']').next().is_some_and(|name| name.trim().trim_matches('"') == stem);
        }
        if !ours {
            text.push_str(line);
            text.push('\n');
        }
    }
    if !text.is_empty() && !text.ends_with("\n\n") {
        text.push('\n');
    }
    format!("{text}[{stem}]\n{lines}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_added_or_replaced_and_the_rest_stays() {
        for (known, expected) in [
            ("", "[a]\nX\n"),
            ("# mine\n[b]\nY\n", "# mine\n[b]\nY\n\n[a]\nX\n"),
            ("[a]\nold\n[b] # kept\nY", "[b] # kept\nY\n\n[a]\nX\n"),
            ("[b]\nY\n\n[\"a\"]\nold\n", "[b]\nY\n\n[a]\nX\n"),
        ] {
            assert_eq!(with_section(known, "a", "X"), expected, "{known}");
        }
    }
}
