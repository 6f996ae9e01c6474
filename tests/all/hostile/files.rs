//! Files that are not what they seem: links that lead elsewhere, files that nobody may read, files that change while
//! they are read.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use feedgate::store::State;

use crate::reload::{build, digest, listed, runs};
use crate::support::{Running, bytes_of};

const STATIC: &str = "[provider.static]\n";

fn error(running: &Running, stem: &str) -> String {
    listed(running, stem).map(|plugin| plugin.error).unwrap_or_default()
}

#[tokio::test]
async fn a_link_within_the_directory_is_a_plugin_and_one_that_leads_out_is_refused() {
    let running = Running::start("autostart = true", &["static"]).await;
    running.state("static", "BTC/USD", State::Fresh).await;
    let outside = running.directory.path().join("outside.wasm");
    std::fs::write(&outside, build("static", "outside")).expect("writable");
    symlink(&outside, running.plugins_dir().join("far.wasm")).expect("writable");
    symlink("static.wasm", running.plugins_dir().join("near.wasm")).expect("writable");
    running.until("the link out is refused", |_| !error(&running, "far").is_empty()).await;
    assert!(error(&running, "far").contains("a link that leads out of plugins_dir"), "{}", error(&running, "far"));
    running.state("near", "BTC/USD", State::Fresh).await;
    assert!(running.read("far", "BTC/USD").is_none());
    // A configuration is quoted where it is refused.
    let secret = running.directory.path().join("secret");
    std::fs::write(&secret, "password = 1\n").expect("writable");
    symlink(&secret, running.plugins_dir().join("quoted.toml")).expect("writable");
    running.until("the link is told", |status| status.config().error.contains("leads out of plugins_dir")).await;
    assert!(!running.status().config().error.contains("password"), "{}", running.status().config().error);
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_nobody_may_read_is_told() {
    let running = Running::start(STATIC, &["static"]).await;
    running.state("static", "BTC/USD", State::Fresh).await;
    let hidden = running.plugins_dir().join(".locked");
    std::fs::write(&hidden, bytes_of("static")).expect("writable");
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o000)).expect("ours");
    if std::fs::File::open(&hidden).is_ok() {
        eprintln!("skipped: whoever runs this may read everything");
    } else {
        std::fs::rename(&hidden, running.plugins_dir().join("locked.wasm")).expect("same directory");
        running.until("it is told", |_| error(&running, "locked").contains("cannot be read")).await;
        running.state("static", "BTC/USD", State::Fresh).await;
    }
    running.stop().await;
}

/// Renamed over and written in place while it is being loaded: what is said to run is what was read, and in the end it
/// is what lies there.
#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_loaded_runs_as_what_was_read() {
    let running = Running::start(STATIC, &[]).await;
    let builds: Vec<_> = (0..4).map(|number| build("static", &format!("build {number}"))).collect();
    let digests: Vec<_> = builds.iter().map(|build| digest(build)).collect();
    for round in 0..40 {
        let build = &builds[round % builds.len()];
        if round % 3 == 0 {
            std::fs::write(running.plugins_dir().join("static.wasm"), build).expect("writable");
        } else {
            running.drop_file("static.wasm", build);
        }
        // Now and then one is given the time to be taken up.
        if round % 8 == 7 {
            running
                .until("one of them runs", |status| {
                    status.find("static").is_some_and(|p| !p.info().plugin_digest.is_empty())
                })
                .await;
        }
        let now = running.status().find("static").map(|provider| provider.info().plugin_digest).unwrap_or_default();
        assert!(now.is_empty() || digests.contains(&now), "{now} was never there");
    }
    running.drop_file("static.wasm", &builds[0]);
    running.until("the last one runs", |_| runs(&running, "static") == digests[0]).await;
    running.state("static", "BTC/USD", State::Fresh).await;
    running.stop().await;
}
