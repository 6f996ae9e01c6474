//! Building Rust plugins with whatever toolchain the machine has.
//!
//! Where rustup knows the WebAssembly target, plain cargo does it. Where it does not, Debian's `rustc-web` compiles
//! the standard library from `rust-web-src`; as root on a machine with apt-get both are installed, saying so. Either way
//! with instructions that look at sixteen bytes at once, which hosts have and the SDK's JSON reader is made for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{0} is no cargo package or workspace: it has no Cargo.toml")]
    NoManifest(PathBuf),
    #[error(
        "no toolchain for {TARGET}: run `rustup target add {TARGET}`, or install Debian's packages rustc-web and \
         rust-web-src (apt-get install rustc-web rust-web-src)"
    )]
    NoToolchain,
    #[error("cannot run {program}: {why}")]
    Run { program: String, why: std::io::Error },
    #[error(
        "apt-get could not install rustc-web and rust-web-src; install them by hand or run `rustup target add {TARGET}`"
    )]
    Install,
    #[error("cargo build failed in {0}")]
    Cargo(PathBuf),
    #[error("{0} builds no plugin: its crate-type must be cdylib")]
    NothingBuilt(PathBuf),
}

/// Builds the package or workspace in `directory` and answers the `.wasm` files that came out. What cargo says goes to
/// stderr; `say` is told what is done to the machine.
pub fn build(directory: &Path, mut say: impl FnMut(&str)) -> Result<Vec<PathBuf>, BuildError> {
    if !directory.join("Cargo.toml").is_file() {
        return Err(BuildError::NoManifest(directory.to_owned()));
    }
    let toolchain = toolchain(directory, &mut say)?;
    let mut cargo = command("cargo", directory);
    cargo.args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    // Beside what the project's own configuration says for this target.
    cargo.arg("--config").arg(format!("target.{TARGET}.rustflags=['-Ctarget-feature=+simd128']"));
    if directory.join("Cargo.lock").is_file() {
        cargo.arg("--locked");
    }
    if let Toolchain::Debian { rustc, linker } = &toolchain {
        cargo
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC", rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    let output =
        cargo.stderr(Stdio::inherit()).output().map_err(|why| BuildError::Run { program: "cargo".to_owned(), why })?;
    if !output.status.success() {
        return Err(BuildError::Cargo(directory.to_owned()));
    }
    let mut built: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout).lines().flat_map(artifacts).collect();
    built.sort();
    if built.is_empty() {
        return Err(BuildError::NothingBuilt(directory.to_owned()));
    }
    Ok(built)
}

/// The compiler that [`build`] has used: its release and that of its LLVM, which decide what code comes out.
pub fn compiler(directory: &Path) -> Result<String, BuildError> {
    let program = match toolchain(directory, &mut |_| ())? {
        Toolchain::Rustup => PathBuf::from("rustc"),
        Toolchain::Debian { rustc, .. } => rustc,
    };
    let said = ask(command(&program.to_string_lossy(), directory).arg("-vV")).ok_or(BuildError::NoToolchain)?;
    let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown");
    Ok(format!("rustc {}, LLVM {}", field("release: "), field("LLVM version: ")))
}

enum Toolchain {
    Rustup,
    Debian { rustc: PathBuf, linker: PathBuf },
}

fn toolchain(directory: &Path, say: &mut impl FnMut(&str)) -> Result<Toolchain, BuildError> {
    let libdir = ask(command("rustc", directory).args(["--print", "target-libdir", "--target", TARGET]));
    if libdir.is_some_and(|path| Path::new(&path).is_dir()) {
        return Ok(Toolchain::Rustup);
    }
    if let Some(debian) = debian(directory) {
        return Ok(debian);
    }
    if !is_root() || ask(command("apt-get", directory).arg("--version")).is_none() {
        return Err(BuildError::NoToolchain);
    }
    say("there is no toolchain for WebAssembly: installing Debian's rustc-web and rust-web-src with apt-get");
    let apt = |arguments: &[&str]| {
        let status = command("apt-get", directory)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            // Standard output belongs to the command's own answer.
            .stdout(std::io::stderr())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(DEBIAN_PACKAGES);
    // An old package list may name versions that are gone: bring it up to date first.
    if !(apt(&["update"]) && apt(&install)) {
        return Err(BuildError::Install);
    }
    debian(directory).ok_or(BuildError::NoToolchain)
}

/// Debian's compiler with the source of its standard library, and the linker that comes with rustup's.
fn debian(directory: &Path) -> Option<Toolchain> {
    let rustc = PathBuf::from("/usr/bin/rustc");
    if !rustc.is_file() {
        return None;
    }
    let program = rustc.to_str()?;
    let sysroot = ask(command(program, directory).args(["--print", "sysroot"]))?;
    if !Path::new(&sysroot).join("lib/rustlib/src/rust/library/std").is_dir() {
        return None;
    }
    let ours = ask(command("rustc", directory).args(["--print", "sysroot"]))?;
    let host = ask(command("rustc", directory).arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: "))?;
    let linker = Path::new(&ours).join("lib/rustlib").join(host).join("bin/rust-lld");
    linker.is_file().then_some(Toolchain::Debian { rustc, linker })
}

fn is_root() -> bool {
    let mut id = Command::new("id");
    ask(id.arg("-u")).is_some_and(|uid| uid == "0")
}

fn ask(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A child that knows nothing of the cargo that may be running us: host and guest builds must not share compilers,
/// flags or target directories.
fn command(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory);
    let kept = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_"];
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let ours =
            name.starts_with("CARGO") || matches!(name, "RUSTC" | "RUSTFLAGS" | "RUSTDOCFLAGS" | "RUSTC_WRAPPER");
        if ours && !kept.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<MessageTarget>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct MessageTarget {
    kind: Vec<String>,
}

fn artifacts(line: &str) -> Vec<PathBuf> {
    let Ok(message) = serde_json::from_str::<Message>(line) else { return Vec::new() };
    let cdylib = message.target.is_some_and(|target| target.kind.iter().any(|kind| kind == "cdylib"));
    if message.reason != "compiler-artifact" || !cdylib {
        return Vec::new();
    }
    let mut files = message.filenames;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    files
}
