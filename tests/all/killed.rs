//! The daemon, killed in the middle of what it does: what it knew of builds, its keys, what was compiled and the last good
//! configuration are there when it starts again.

use std::path::Path;

use serde_json::Value as Json;

use crate::command::{Process, called_with, directory, get, get_until};
use crate::reload::digest;
use crate::replace::ticking;
use crate::support::{bytes_of, eventually, guest_build};

const ADMIN: (&str, &str) = ("FEEDGATE_TEST_ADMIN", "sixteen-letters-for-tests");

/// As an operator does: whole, under another name, then renamed.
fn put(directory: &Path, name: &str, content: &[u8]) {
    let hidden = directory.join(format!(".{}.new", name.replace('/', "-")));
    std::fs::write(&hidden, content).expect("writable");
    std::fs::rename(hidden, directory.join(name)).expect("the same file system");
}

/// Tells a running daemon something about the guest's builds.
async fn tell(process: &Process, arguments: &[&str]) {
    let api = format!("http://{}", process.api);
    let arguments = [&["plugin"], arguments, &["--api", &api]].concat();
    let ended = called_with(&arguments, &[("FEEDGATE_TOKEN", ADMIN.1)]).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.out, ended.err);
}

/// How a build of the guest stands by the API's answer; empty when it is not known.
fn standing(plugins: &str, build: &[u8]) -> String {
    let plugins: Json = serde_json::from_str(plugins).unwrap_or_default();
    let all = plugins["plugins"].as_array().into_iter().flatten();
    let builds = all.filter_map(|plugin| plugin["builds"].as_array()).flatten();
    let found = builds.into_iter().find(|known| known["digest"] == digest(build).as_str());
    found.and_then(|build| build["standing"].as_str()).unwrap_or_default().to_owned()
}

async fn until_fresh(process: &Process) {
    get_until(&process.api, "/v1/observations/guest/a", |_, body| body.contains("\"state\":\"fresh\"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_survives_kill_9() {
    let venue = ticking().await;
    let config = format!(
        "[provider.guest]\ntransports = [\"websocket\"]\nwebsocket = {{ backoff_first_ms = 20, backoff_max_ms = 100 }}\n\
         redirect_origins = {{ \"wss://guest.example.com\" = \"{}\" }}\n\
         [api]\nlisten = \"127.0.0.1:0\"\nadmin_token = {{ env = \"{}\" }}\n",
        venue.origin(),
        ADMIN.0
    );
    let directory = directory(&config, &["guest"]);
    let files = directory.path();
    let start = async || Process::run(files, &[ADMIN]).await;
    let good = bytes_of("guest");

    // A build that is refused, one that dies, the good one pinned.
    let process = start().await;
    until_fresh(&process).await;
    let wrong = guest_build(r#"{"how":"times-ten"}"#);
    put(files, "plugins/guest.wasm", &wrong);
    get_until(&process.api, "/v1/plugins", |_, body| standing(body, &wrong) == "refused").await;
    let dying = guest_build(r#"{"on":"handle","how":"trap","after":600}"#);
    put(files, "plugins/guest.wasm", &dying);
    let taken_back = |body: &str| ["quarantined", "rolled-back"].contains(&standing(body, &dying).as_str());
    let body = get_until(&process.api, "/v1/plugins", |_, body| taken_back(body)).await;
    let how = standing(&body, &dying);
    tell(&process, &["pin", "guest", &digest(&good)[..16]]).await;
    drop(process);

    // Killed at every stage of its start, and once it serves: by how much it has said.
    for said in [0, 50, 100, 200, 300, 400] {
        let process = start().await;
        eventually(|| (process.log().len() >= said).then_some(()), || format!("only {}", process.log())).await;
        // Dropping it is kill -9.
        drop(process);
    }
    let process = start().await;
    until_fresh(&process).await;
    let (_, plugins) = get(&process.api, "/v1/plugins").await;
    assert_eq!((standing(&plugins, &wrong), standing(&plugins, &dying)), ("refused".to_owned(), how), "{plugins}");
    assert!(plugins.contains(&format!("\"pinned\":\"{}\"", digest(&good))), "{plugins}");
    let (_, providers) = get(&process.api, "/v1/providers").await;
    assert!(providers.contains(&digest(&good)), "{providers}");
    drop(process);

    // The file is broken while nobody looks: what it last said that was good counts, and that is said.
    put(files, "feedgate.toml", b"[provider.guest\n");
    let process = start().await;
    until_fresh(&process).await;
    let (_, config) = get(&process.api, "/v1/config").await;
    assert!(config.contains("feedgate.toml:1"), "{config}");
    assert_eq!(process.exit("-TERM").await, Some(0));
}
