//! Turns the contract's WIT into Rust sources that carry its text.
//!
//! `wit_bindgen::generate!` takes literals only. With the text as a literal inside a macro of this crate, a plugin
//! needs no copy of the WIT and no path to one.

use std::{env, fmt::Write as _, fs, path::PathBuf};

/// An interface whose types come from this crate rather than from the plugin's own bindings, and the module that has
/// them.
type Shared = (&'static str, &'static str);

/// Those of every world.
const COMMON: [Shared; 3] = [("types", "types"), ("description", "description"), ("log", "log")];
const POLLING: Shared = ("polling", "http");
const STREAMING: Shared = ("streaming", "websocket");

/// The worlds that a plugin may implement, the macro that generates each one's bindings, and what it shares beside
/// `COMMON`.
const WORLDS: [(&str, &str, &[Shared]); 3] = [
    ("http-provider", "__http_bindings", &[POLLING]),
    ("websocket-provider", "__websocket_bindings", &[STREAMING]),
    ("provider", "__provider_bindings", &[POLLING, STREAMING]),
];

fn main() {
    let contract = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo")).join("../../wit");
    println!("cargo::rerun-if-changed={}", contract.display());

    let (wit, package) = read(&contract);
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));

    // The crate's own bindings only import: `log`, as every world does, and types, of which a component keeps what it
    // uses.
    let imports: String =
        COMMON.iter().chain(&[POLLING, STREAMING]).map(|(name, _)| format!("  import {name};\n")).collect();
    let own = format!("{wit}\nworld sdk {{\n{imports}}}\n");
    fs::write(
        out.join("bindings.rs"),
        format!(
            "::wit_bindgen::generate!({{ inline: {own:?}, path: [], world: \"sdk\", generate_all, \
             generate_unused_types: true, additional_derives: [PartialEq, Eq] }});\n"
        ),
    )
    .expect("OUT_DIR is writable");

    let (name, version) = package.split_once('@').expect("the package has a version");
    let mut macros = String::new();
    for (world, macro_name, shared) in WORLDS {
        let with: String = COMMON
            .iter()
            .chain(shared)
            .map(|(interface, module)| format!("\"{name}/{interface}@{version}\": ::feedgate_sdk::{module}, "))
            .collect();
        writeln!(
            macros,
            "#[doc(hidden)]\n#[macro_export]\nmacro_rules! {macro_name} {{\n    () => {{\n        \
             $crate::wit_bindgen::generate!({{ inline: {wit:?}, path: [], world: {world:?}, with: {{ {with} }}, \
             runtime_path: \"::feedgate_sdk::wit_bindgen::rt\" }});\n    }};\n}}"
        )
        .expect("writing to a string");
    }
    fs::write(out.join("macros.rs"), macros).expect("OUT_DIR is writable");
}

/// All files as one text, the one that names the package first, and the package's name.
fn read(contract: &std::path::Path) -> (String, String) {
    let mut files: Vec<String> = fs::read_dir(contract)
        .unwrap_or_else(|error| panic!("no contract in {}: {error}", contract.display()))
        .map(|entry| entry.expect("the folder is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
        .map(|path| fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .collect();
    files.sort_by_key(|text| (package(text).is_none(), text.clone()));
    let package = files.first().and_then(|text| package(text)).expect("one file names the package").to_owned();
    (files.concat(), package)
}

fn package(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("package ")?.strip_suffix(';'))
}
