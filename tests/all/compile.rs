//! Compiling where it can be killed, and keeping what came of it: bombs, children that fail, files that were changed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use feedgate::contract::limits::PluginLimits;
use feedgate::daemon::{ConfigSource, Daemon, Options};
use feedgate::plugin::{Compiler, Engine, Plugin, componentize, digest_of};
use feedgate::status::PluginStatus;
use feedgate::store::state_dir::StateDir;
use feedgate::store::{Reading, State};
use tempfile::TempDir;

use crate::support::{Running, binary, bytes_of, compiler, engine, eventually};

/// Section `id` of a module or a component.
pub fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], &*length(content.len()), content].concat()
}

/// A number as WebAssembly writes it.
pub fn length(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let seven = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            bytes.push(seven);
            return bytes;
        }
        bytes.push(seven | 0x80);
    }
}

/// A good plugin that nobody else in this process has loaded: it carries a note.
fn marked(note: &str) -> Vec<u8> {
    let custom = [length(note.len()), note.into()].concat();
    [bytes_of("static"), section(0, &custom)].concat()
}

/// Fits the contract, and has one more module inside: `functions` times a long sum, each of so many terms.
fn bomb(functions: usize, terms: usize) -> Vec<u8> {
    let component = componentize(&bytes_of("static")).expect("a good plugin");
    let vector = |item: &[u8]| [length(functions), item.repeat(functions)].concat();
    // local.get 0, then again and again local.get 0, i32.add, then the end.
    let sum = [&[0, 0x20, 0][..], &[0x20, 0, 0x6a].repeat(terms), &[0x0b]].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        // One type: from i32 to i32.
        section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, &vector(&[0])),
        section(10, &vector(&[length(sum.len()), sum].concat())),
    ];
    [component, section(1, &module.concat())].concat()
}

/// An engine of a daemon that has just started, with a state directory.
fn started(directory: &Path, compiler: Compiler) -> Engine {
    let state = StateDir::open(directory).expect("writable");
    Engine::new(PluginLimits::default(), compiler, Some(&state)).expect("this machine runs WebAssembly")
}

fn nowhere() -> Compiler {
    Compiler::Child { program: "/nonexistent/feedgate".into() }
}

/// The words of the refusal.
fn load(engine: &Engine, bytes: &[u8]) -> Result<Plugin, String> {
    engine.load_blocking(bytes).map_err(|error| error.to_string())
}

/// The one file that an engine has kept for these bytes.
fn kept(directory: &Path, bytes: &[u8]) -> PathBuf {
    let digest = digest_of(bytes).to_string();
    let files = std::fs::read_dir(directory.join("compiled")).expect("it was made").flatten();
    let mut files = files.filter(|file| file.file_name().to_string_lossy().starts_with(&digest));
    let file = files.next().expect("it was kept").path();
    assert!(files.next().is_none());
    file
}

async fn check_bomb(limits: &str, bomb: Vec<u8>, words: &str) {
    let config = format!("[plugin_limits]\n{limits}\n[provider.static]\n[provider.bomb]\n");
    let running = Running::start(&config, &["static"]).await;
    running.state("static", "BTC/USD", State::Fresh).await;
    running.drop_file("bomb.wasm", &bomb);
    let error = |plugins: Vec<(String, PluginStatus)>| {
        plugins.into_iter().find(|(stem, _)| stem == "bomb").map(|(_, plugin)| plugin.error)
    };
    running.until("the bomb is refused", |status| error(status.plugins()).is_some_and(|why| !why.is_empty())).await;
    let why = error(running.status().plugins()).unwrap_or_default();
    assert!(why.contains(words), "{why:?} does not say {words:?}");
    // The daemon is the same, and its other provider goes on.
    let before = running.state("static", "BTC/USD", State::Fresh).await;
    let received = |reading: &Reading| reading.held.as_ref().map(|held| held.received_at);
    running.reading("static", "BTC/USD", "polled again", |now| received(now) > received(&before)).await;
    running.stop().await;
}

#[tokio::test]
async fn a_bomb_costs_a_refusal_that_names_the_limit_and_its_neighbour_stays_fresh() {
    // Seconds of work; then one function that wants hundreds of MiB.
    check_bomb("compile_ms = 300", bomb(8, 300_000), "does not compile within 300 ms (knob: plugin_limits.compile_ms)")
        .await;
    check_bomb(
        "compile_memory_mib = 96",
        bomb(1, 2_000_000),
        "does not compile within 96 MiB of memory (knob: plugin_limits.compile_memory_mib)",
    )
    .await;
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    /// A child whose starter was killed has no deadline but its own.
    #[test]
    fn a_child_alone_ends_by_its_own_limit_of_processor_time() {
        let bomb = bomb(8, 300_000);
        let mut child = Command::new(binary())
            .args(["compile-plugin", "--bytes", &bomb.len().to_string()])
            .args(["--memory", "2000000000", "--seconds", "1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("it was just built");
        let mut stdin = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, &bomb).expect("it reads");
        drop(stdin);
        let status = child.wait().expect("our child");
        // SIGXCPU
        assert_eq!(status.signal(), Some(24), "{status}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_daemon_that_is_killed_takes_its_child_along() {
        let directory = TempDir::new().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("plugins")).expect("an empty directory");
        let config = directory.path().join("feedgate.toml");
        std::fs::write(&config, "api = { enabled = false }\n").expect("writable");
        let made = tokio::task::spawn_blocking(|| (binary(), bomb(40, 300_000))).await;
        let (binary, bomb) = made.expect("it does not panic");
        std::fs::write(directory.path().join("plugins/bomb.wasm"), bomb).expect("writable");
        let mut run = Command::new(binary);
        run.arg("run").arg("--config").arg(config).stderr(Stdio::null());
        let mut daemon = run.spawn().expect("it was just built");
        let tasks = PathBuf::from(format!("/proc/{}/task", daemon.id()));
        let child = || {
            let children = std::fs::read_dir(&tasks).ok()?.flatten().filter_map(|task| {
                std::fs::read_to_string(task.path().join("children")).ok()?.split_whitespace().next().map(str::to_owned)
            });
            // The last thing before it limits itself: everything that ends it is in place.
            children.into_iter().find(|child| {
                std::fs::read_to_string(format!("/proc/{child}/oom_score_adj"))
                    .is_ok_and(|score| score.trim() == "1000")
            })
        };
        let child = eventually(child, || "no child is seen".to_owned()).await;
        daemon.kill().expect("our child");
        daemon.wait().expect("our child");
        let dead = || match std::fs::read_to_string(format!("/proc/{child}/stat")) {
            // Nobody may be there to wait for it.
            Ok(stat) => stat.contains(") Z ").then_some(()),
            Err(_) => Some(()),
        };
        eventually(dead, || format!("{child} goes on")).await;
    }

    /// Loads a plugin through a program that is none of ours, and checks that it has ended and is waited for.
    #[track_caller]
    fn check(script: &str, compile_ms: u64, words: &[&str]) {
        let directory = TempDir::new().expect("a temporary directory");
        let (program, pid) = (directory.path().join("program"), directory.path().join("pid"));
        let script = format!("#!/bin/sh\necho $$ > {}.new; mv {0}.new {0}\n{script}\n", pid.display());
        write_program(&program, &script);
        let limits = PluginLimits {
            compile: Duration::from_millis(compile_ms),
            compile_memory_bytes: 1 << 20,
            ..PluginLimits::default()
        };
        let engine = Engine::new(limits, Compiler::Child { program }, None).expect("this machine runs WebAssembly");
        let error = load(&engine, &marked(&script)).expect_err("nobody compiled it");
        for word in words {
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
        // One that had no time to write its number has no time to be left over either.
        let Ok(pid) = std::fs::read_to_string(&pid) else { return };
        // A zombie would still take signals.
        let alive = Command::new("kill").args(["-0", pid.trim()]).stderr(Stdio::null()).status();
        assert!(!alive.expect("kill is everywhere").success(), "{pid} is left over after {script}");
    }

    fn write_program(path: &Path, script: &str) {
        // Written by a process of its own, so that no child of this one inherits it open for writing, which would
        // keep it from being run.
        let mut writer = Command::new("tee");
        let mut writer =
            writer.arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("tee is everywhere");
        let mut stdin = writer.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, script.as_bytes()).expect("it reads");
        drop(stdin);
        assert!(writer.wait().expect("our child").success());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }

    #[test]
    fn a_child_that_fails_in_any_way_is_an_error_in_words_and_nothing_is_left_of_it() {
        const LONG: u64 = 60_000;
        check("exit 3", LONG, &["exit status: 3", "compile_memory_mib = 1", "compile_ms = 60000"]);
        check("echo what a pity >&2; exit 1", LONG, &["it said \"what a pity\""]);
        check("kill -9 $$", LONG, &["signal: 9"]);
        check("kill -XCPU $$", LONG, &["does not compile within 60000 ms (knob: plugin_limits.compile_ms)"]);
        check(
            "echo memory allocation of 99 bytes failed >&2; kill -ABRT $$",
            LONG,
            &["does not compile within 1 MiB of memory (knob: plugin_limits.compile_memory_mib)"],
        );
        check("exit 0", LONG, &["its answer is not understood", "no first line"]);
        check("cat > /dev/null; echo done", LONG, &["its answer is not understood"]);
        check("echo '{\"compiled\":{\"code\":5}}'", LONG, &["its answer is not understood", "fit"]);
        let fit = r#"{"http":true,"websocket":false,"wasi":false,"imports":[],"exports":[]}"#;
        check(
            &format!("echo '{{\"compiled\":{{\"fit\":{fit},\"code\":5}}}}'; echo ha"),
            LONG,
            &["code where 5 are announced"],
        );
        check(
            &format!("echo '{{\"compiled\":{{\"fit\":{fit},\"code\":5}}}}'; echo more"),
            LONG,
            &["its answer is not understood"],
        );
        // Without end: on each of its pipes, without a word, and in a process that it starts.
        let late = "does not compile within 200 ms (knob: plugin_limits.compile_ms)";
        check("while :; do echo x; done", LONG, &["its code takes more than 1 MiB"]);
        check("while :; do echo x >&2 || exit 1; done", LONG, &["the compiler ended with"]);
        check("while :; do :; done", 200, &[late]);
        check("exec >&-; while :; do :; done", 200, &[late]);
        check("sleep 1000", 200, &[late]);
        check("sleep 1000 & exit 0", 200, &[late]);
    }

    #[test]
    fn the_child_gets_nothing_of_the_daemons_environment() {
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "cargo tells its tests where they are");
        let directory = TempDir::new().expect("a temporary directory");
        let told = directory.path().join("told");
        check(&format!("export -p > {}", told.display()), 60_000, &["no first line"]);
        let told = std::fs::read_to_string(told).expect("it was written");
        let names: Vec<_> = told.lines().filter_map(|line| line.split(['=', ' ']).nth(1)).collect();
        // What a shell makes up by itself.
        assert!(names.iter().all(|name| ["PWD", "OLDPWD", "SHLVL", "_"].contains(name)), "{told:?}");
    }
}

#[test]
fn a_program_that_is_not_there_is_an_error_in_words() {
    let engine = Engine::new(PluginLimits::default(), nowhere(), None).expect("this machine runs WebAssembly");
    let error = load(&engine, &marked("no program")).expect_err("nobody compiled it");
    assert!(error.contains("cannot start /nonexistent/feedgate"), "{error}");
}

#[test]
fn a_refusal_by_the_child_is_told_in_the_words_of_this_process() {
    let child = Engine::new(PluginLimits::default(), compiler(), None).expect("this machine runs WebAssembly");
    let plugin = marked("refused");
    for bytes in [&b"<html>"[..], b"\0asm", b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0", &plugin[..plugin.len() / 2]] {
        let (told, expected) = (load(&child, bytes), load(engine(), bytes));
        assert_eq!(told.expect_err("no plugin"), expected.expect_err("no plugin"));
    }
}

#[test]
fn what_was_compiled_once_is_loaded_without_a_child() {
    let directory = TempDir::new().expect("a temporary directory");
    let bytes = marked("kept");
    let first = load(&started(directory.path(), compiler()), &bytes).expect("a good plugin");
    let (description, fit) = (first.description().clone(), first.fit().clone());
    // Nobody holds it in memory now.
    drop(first);
    let again = load(&started(directory.path(), nowhere()), &bytes).expect("it was kept");
    assert_eq!((again.description(), again.fit(), again.digest()), (&description, &fit, digest_of(&bytes)));
    // Another file is another matter.
    assert!(load(&started(directory.path(), nowhere()), &marked("not kept")).is_err());
}

#[test]
fn what_a_plugin_told_of_itself_is_kept_with_its_code() {
    let directory = TempDir::new().expect("a temporary directory");
    let (bytes, state) = (marked("told"), StateDir::open(directory.path()).expect("writable"));
    // So little that no description comes through.
    let deaf = PluginLimits { max_result_bytes: 16, ..PluginLimits::default() };
    let deaf = Engine::new(deaf, compiler(), Some(&state)).expect("this machine runs WebAssembly");
    let error = load(&deaf, &bytes).expect_err("it cannot be understood");
    assert!(error.contains("does not describe itself"), "{error}");
    // Its code was kept all the same, without a description: another engine asks for it.
    let first = load(&started(directory.path(), nowhere()), &bytes).expect("it was compiled");
    let description = first.description().clone();
    drop(first);
    load(&deaf, &bytes).expect_err("it was not there when the code was kept");
    std::fs::remove_file(kept(directory.path(), &bytes)).expect("it was kept");
    drop(load(&started(directory.path(), compiler()), &bytes).expect("a good plugin"));
    let again = load(&deaf, &bytes).expect("nobody need ask");
    assert_eq!(again.description(), &description);
}

/// The plugin is compiled anew whatever was done to what was kept of it, and kept again.
#[track_caller]
fn check_tampered(directory: &Path, bytes: &[u8], tamper: impl Fn(&Path)) {
    drop(load(&started(directory, nowhere()), bytes).expect("it was kept"));
    tamper(&kept(directory, bytes));
    let error = load(&started(directory, nowhere()), bytes).expect_err("what is there is not believed");
    assert!(error.contains("cannot start"), "{error}");
    drop(load(&started(directory, compiler()), bytes).expect("compiled anew"));
    drop(load(&started(directory, nowhere()), bytes).expect("it was kept anew"));
}

/// What else may be wrong with a file stands with the cache's own tests.
#[test]
fn a_file_that_was_changed_or_planted_is_refused_and_compiled_anew() {
    let [directory, elsewhere] = [(); 2].map(|()| TempDir::new().expect("a temporary directory"));
    let (directory, elsewhere) = (directory.path(), elsewhere.path());
    let (bytes, other) = (marked("changed"), marked("another plugin"));
    for (directory, bytes) in [(directory, &bytes), (directory, &other), (elsewhere, &bytes)] {
        drop(load(&started(directory, compiler()), bytes).expect("a good plugin"));
    }
    let edit = |edit: fn(&mut Vec<u8>)| {
        check_tampered(directory, &bytes, |file| {
            let mut content = std::fs::read(file).expect("readable");
            edit(&mut content);
            std::fs::write(file, content).expect("writable");
        });
    };
    edit(|content| {
        let at = content.len() / 2;
        content[at] ^= 1;
    });
    edit(|content| content.truncate(content.len() / 2));
    for (directory_of, planted) in [(directory, &other), (elsewhere, &bytes)] {
        check_tampered(directory, &bytes, |file| {
            std::fs::copy(kept(directory_of, planted), file).expect("writable");
        });
    }
    check_tampered(directory, &bytes, |_| std::fs::remove_file(directory.join("key")).expect("it was made"));
}

#[tokio::test]
async fn a_daemon_that_starts_again_compiles_nothing() {
    let directory = TempDir::new().expect("a temporary directory");
    let plugins = directory.path().join("plugins");
    std::fs::create_dir(&plugins).expect("an empty directory");
    std::fs::write(plugins.join("static.wasm"), marked("a daemon's")).expect("writable");
    let config = directory.path().join("feedgate.toml");
    std::fs::write(&config, "autostart = true\napi = { enabled = false }\n").expect("writable");
    let compilers = tokio::task::spawn_blocking(|| [compiler(), nowhere()]).await.expect("it does not panic");
    for compiler in compilers {
        let source = ConfigSource::File(config.clone());
        let daemon = Daemon::start_with(source, Options { compiler }).await.unwrap_or_else(|error| panic!("{error}"));
        let (store, status) = (daemon.store().clone(), daemon.status().clone());
        let fresh = || {
            let reading = store.read("static", "BTC/USD")?;
            (reading.state == State::Fresh).then_some(())
        };
        eventually(fresh, || format!("never fresh: {:?}", status.plugins())).await;
        assert!(daemon.stop().await, "something did not stop in time");
        drop(status);
    }
    assert!(directory.path().join("state/compiled").is_dir());
}
