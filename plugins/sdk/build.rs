//! Turns the contract's WIT into Rust sources that carry its text.
//!
//! `wit_bindgen::generate!` takes literals only. With the text as a literal inside a macro of this crate, a plugin
//! needs no copy of the WIT and no path to one.

use std::{env, fmt::Write as _, fs, path::PathBuf};

/// The worlds that a plugin may implement, and the macro that generates each one's bindings.
const WORLDS: [(&str, &str); 3] = [
    ("http-provider", "__http_bindings"),
    ("websocket-provider", "__websocket_bindings"),
    ("provider", "__provider_bindings"),
];

/// The interfaces whose types come from this crate rather than from the plugin's own bindings.
const SHARED: [(&str, &str); 3] = [("types", "types"), ("description", "description"), ("log", "log")];

fn main() {
    let contract = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo")).join("../../wit");
    println!("cargo::rerun-if-changed={}", contract.display());

    let (wit, package) = read(&contract);
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));

    // The crate's own bindings only import, so that what they claim is a part of what every world claims.
    let imports: String = SHARED.iter().map(|(name, _)| format!("  import {name};\n")).collect();
    let own = format!("{wit}\nworld sdk {{\n{imports}}}\n");
    fs::write(
        out.join("bindings.rs"),
        format!(
            "::wit_bindgen::generate!({{ inline: {own:?}, path: [], world: \"sdk\", generate_all, \
             generate_unused_types: true, additional_derives: [PartialEq] }});\n"
        ),
    )
    .expect("OUT_DIR is writable");

    let (name, version) = package.split_once('@').expect("the package has a version");
    let with: String = SHARED
        .iter()
        .map(|(interface, module)| format!("\"{name}/{interface}@{version}\": ::feedgate_sdk::{module}, "))
        .collect();
    let mut macros = String::new();
    for (world, macro_name) in WORLDS {
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
