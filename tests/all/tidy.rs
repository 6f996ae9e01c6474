//! Rules that a compiler does not check: who may name what, and that what is written about the project is true.

use std::path::PathBuf;

use crate::support::root;

/// Every file below `directory` with this extension, with its text.
pub fn sources(directory: &str, extension: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(directory)];
    while let Some(place) = waiting.pop() {
        for entry in std::fs::read_dir(&place).expect("readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    waiting.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "nothing in {directory}");
    found
}

/// The code of a file without comments and without the tests at its foot.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let inline =
        |at: &usize| text[*at..].lines().nth(1).is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'));
    let end = text.match_indices("#[cfg(test)]").map(|(at, _)| at).find(inline).unwrap_or(text.len());
    text[..end].lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The codec traits of the contract may name futures; a decision waits for nothing.
#[test]
fn logic_waits_for_nothing() {
    for (path, text) in sources("host/logic/src/logic", "rs") {
        for line in code(&text) {
            for banned in ["async ", ".await", "Future"] {
                assert!(!line.contains(banned), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn the_host_knows_no_venue() {
    // Plugins without a venue, and words that a host may say.
    let others = ["plugins", "sdk", "static", "volatile"];
    let venues = sources("plugins", "toml").into_iter().filter_map(|(path, _)| {
        let folder = path.parent()?.file_name()?.to_str()?.to_owned();
        (path.ends_with("Cargo.toml") && !others.contains(&folder.as_str())).then_some(folder)
    });
    let venues: Vec<String> = venues.collect();
    assert!(venues.len() >= 5, "{venues:?}");
    for (path, text) in sources("host", "rs") {
        if path.ends_with("tests.rs") {
            continue;
        }
        for line in code(&text) {
            for venue in &venues {
                // The project's own name ends with that of a venue.
                let line = line.to_lowercase().replace("feedgate", "");
                assert!(!line.contains(venue), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn every_module_says_what_lives_there() {
    for directory in ["host", "tests/src", "tests/all", "tests/guest/src", "plugins"] {
        for (path, text) in sources(directory, "rs") {
            let line = text.lines().next().unwrap_or_default();
            let told = line.starts_with("//!") || line.starts_with("#![doc");
            assert!(told, "{} begins without //!", path.display());
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    for directory in ["host", "tests/src", "plugins"] {
        for (path, text) in sources(directory, "rs") {
            for mark in ["todo!(", "unimplemented!(", "FIXME", "XXX", "HACK"] {
                assert!(!text.contains(mark), "{}: {mark}", path.display());
            }
        }
    }
}

/// Every item of the contract has a comment: it is what plugin authors read.
#[test]
fn the_contract_says_what_everything_means() {
    for (path, text) in sources("wit", "wit") {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            let begins = ["interface ", "world ", "record ", "variant ", "enum ", "type "];
            let item = begins.iter().any(|word| line.starts_with(word)) || line.contains(": func(");
            let told = number > 0 && lines[number - 1].starts_with("///");
            assert!(!item || told, "{}:{}: {line}", path.display(), number + 1);
        }
    }
}

#[test]
fn the_documents_name_files_that_exist() {
    for document in [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/PERFORMANCE.md",
        "docs/SECURITY.md",
        "plugins/README.md",
        "plugins/sdk/README.md",
        "tests/README.md",
    ] {
        let text = std::fs::read_to_string(root().join(document)).unwrap_or_else(|_| panic!("{document} is missing"));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let place = root().join(document).parent().expect("a folder").join(path);
            assert!(place.exists(), "{document} links to {link}");
        }
    }
}

#[test]
fn the_readme_shows_commands_that_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("a README");
    for command in [
        "run",
        "demo",
        "bench",
        "check",
        "get",
        "watch",
        "providers",
        "reload",
        "rotate",
        "plugin build",
        "plugin inspect",
        "plugin replay",
        "plugin diff",
        "plugin list",
        "plugin history",
        "plugin rollback",
    ] {
        assert!(readme.contains(&format!("feedgate {command}")), "the README does not show `feedgate {command}`");
    }
    for command in ["cargo run --release -- demo", "cargo test"] {
        assert!(readme.contains(command), "the README does not show `{command}`");
    }
}

/// A table of tests that are not there would promise what nobody checks.
#[test]
fn every_test_that_the_tests_readme_names_exists() {
    let read = |document: &str| std::fs::read_to_string(root().join(document)).expect("a document");
    let readme = read("tests/README.md") + &read("docs/SECURITY.md");
    let all: String =
        ["tests/all", "host"].iter().flat_map(|place| sources(place, "rs")).map(|(_, text)| text).collect();
    let is_name =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    // Every second piece stands between two marks.
    let marked = readme.split('`').skip(1).step_by(2);
    let names: Vec<&str> = marked
        .filter_map(|text| text.rsplit("::").next().filter(|name| is_name(name) && name.matches('_').count() > 2))
        .collect();
    assert!(names.len() > 50, "{names:?}");
    for name in names {
        assert!(all.contains(&format!("fn {name}(")), "the documents name `{name}`, which is not there");
    }
}
