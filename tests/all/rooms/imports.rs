//! What each file names, read from its text: modules of its own crate, and foreign crates. Good enough for code that
//! `rustfmt` has seen; no parser.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::support::root;
use crate::tidy::sources;

/// One file, its tests left out.
pub struct File {
    pub path: PathBuf,
    /// The modules that it uses, and the path that says so.
    pub uses: Vec<(String, String)>,
    /// The foreign crates that it names.
    pub crates: BTreeSet<String>,
}

/// Files by their module: `store::slot`, and an empty name for `lib.rs`.
pub struct Files(BTreeMap<String, File>);

impl Files {
    /// Those of several places are one crate's: a room has one name, wherever it lies.
    pub fn of(places: &[&str]) -> Self {
        let mut texts = BTreeMap::new();
        for place in places {
            for (path, text) in sources(place, "rs") {
                let inside = path.strip_prefix(root().join(place)).expect("below it").with_extension("");
                let mut names: Vec<_> = inside.iter().map(|name| name.to_string_lossy().into_owned()).collect();
                names.pop_if(|name| ["mod", "lib"].contains(&name.as_str()));
                texts.insert(names.join("::"), (path, text));
            }
        }
        let tests: BTreeSet<String> =
            texts.iter().flat_map(|(module, (_, text))| tests_of(text).map(|name| child(module, name))).collect();
        let is_test =
            |module: &str| tests.iter().any(|test| module == test || module.starts_with(&format!("{test}::")));
        texts.retain(|module, _| !is_test(module));
        let modules: BTreeSet<String> = texts.keys().cloned().collect();
        let read = |(module, (path, text)): (String, (PathBuf, String))| {
            let code = code(&text);
            let below = |path: &str| {
                let first = path.split("::").next().unwrap_or_default();
                first == "self" || modules.contains(&child(&module, first))
            };
            let paths = paths(&code, below);
            let used = |path: &String| Some((resolve(&module, path, &modules)?, path.clone()));
            let uses = paths.iter().filter_map(used).filter(|(used, _)| *used != module).collect();
            let crates = paths.iter().filter_map(|path| path.split("::").next()).map(str::to_owned).collect();
            (module, File { path, uses, crates })
        };
        Self(texts.into_iter().map(read).collect())
    }

    pub fn all(&self) -> impl Iterator<Item = (&String, &File)> {
        self.0.iter()
    }
}

fn child(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

/// The modules that are there for tests only.
fn tests_of(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[cfg(test)]").skip(1).filter_map(|rest| {
        let line = rest.trim_start().lines().next()?;
        line.strip_suffix(';')?.rsplit_once("mod ").map(|(_, name)| name)
    })
}

/// Without string literals, comments, and the tests at the foot.
fn code(text: &str) -> String {
    let inline =
        |at: &usize| text[*at..].lines().nth(1).is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'));
    let end = text.match_indices("#[cfg(test)]").map(|(at, _)| at).find(inline).unwrap_or(text.len());
    // Who may see something is no use of anything: `pub(in crate::a)`.
    let text = text[..end].replace("(in crate::", "(").replace("'\"'", "' '").replace("\\\"", "");
    let lines = text.lines().map(|line| line.split('"').step_by(2).collect::<Vec<_>>().join("\"\""));
    lines.map(|line| line.split("//").next().unwrap_or_default().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Every path of two names and more: of `use` with its groups taken apart, of `extern crate`, and in the code itself.
/// What a module only shows of the modules below it (`pub use self::a`) is not used; what it shows of others is.
fn paths(code: &str, is_below: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        let start = statement.rfind("use ").filter(|at| {
            let before = &statement[..*at];
            before.ends_with(['\n', ' ']) || before.is_empty()
        });
        match start {
            Some(at) if !statement[at..].contains(['(', '=']) => {
                let line = statement[..at].rsplit('\n').next().unwrap_or_default();
                let mut all = BTreeSet::new();
                expand("", statement[at + 4..].trim_end_matches(';'), &mut all);
                let shown = line.contains("pub");
                found.extend(all.into_iter().filter(|path| !(shown && is_below(path))));
                rest.push_str(&statement[..at]);
            }
            _ => rest.push_str(statement),
        }
    }
    for krate in rest.split("extern crate ").skip(1) {
        found.extend(krate.split([' ', ';']).next().map(|name| format!("{name}::")));
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for path in rest.split(|c| !is_name(c)) {
        if path.trim_matches(':').contains("::") {
            found.insert(path.trim_matches(':').to_owned());
        }
    }
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
/// A new name (`as d`) changes nothing.
fn expand(prefix: &str, text: &str, found: &mut BTreeSet<String>) {
    let Some((head, group)) = text.split_once('{') else {
        let path = text.trim().split(" as ").next().unwrap_or_default();
        found.insert(format!("{prefix}{path}").trim_start_matches("::").to_owned());
        return;
    };
    let head = head.trim();
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[start..at].trim().is_empty() {
                    expand(&format!("{prefix}{head}"), &group[start..at], found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The module of this crate that a path leads to, seen from `module`; `None` for another crate's.
fn resolve(module: &str, path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let mut names: Vec<&str> = path.split("::").collect();
    let mut from: Vec<&str> = module.split("::").filter(|name| !name.is_empty()).collect();
    match names[0] {
        "crate" | "feedgate_logic" => from.clear(),
        "self" => {}
        "super" => {
            while names.first() == Some(&"super") {
                names.remove(0);
                from.pop();
            }
            names.insert(0, "");
        }
        // A module below this one.
        first if modules.contains(&child(module, first)) => names.insert(0, ""),
        _ => return None,
    }
    let all: Vec<&str> = from.into_iter().chain(names.into_iter().skip(1)).collect();
    (1..=all.len()).rev().map(|count| all[..count].join("::")).find(|name| modules.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file `a::b`, with a module `a::b::c` below it, names.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found = paths(&code(text), |path| path.starts_with("self::") || path.starts_with("c::"));
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn every_way_to_name_something_is_seen() {
        check("use crate::x::{self, y};\n", &["crate::x::self", "crate::x::y"]);
        check("use crate::{\n    x::{Y, z},\n    w,\n};\n", &["crate::w", "crate::x::Y", "crate::x::z"]);
        check("use crate::x as t;\n", &["crate::x"]);
        check("use ::reqwest::Client as C;\n", &["reqwest::Client"]);
        check("pub(crate) use crate::x::Y;\n", &["crate::x::Y"]);
        check("pub use self::c::Y;\npub use c::Z;\n", &[]);
        check("extern crate reqwest;\n", &["reqwest::"]);
        check("fn f() { g(\"https://x\", crate::x::f()) }\n", &["crate::x::f"]);
        check("let c = '\"'; crate::x::f(); // crate::y::f()\n", &["crate::x::f"]);
        check("pub(in crate::x) fn f() {}\n", &[]);
        check("#[cfg(test)]\nmod tests {\n    use crate::x;\n}\n", &[]);
    }
}
