//! Who vouches for a plugin: keys made, files signed and checked by the command, and a daemon that loads nothing else.

use feedgate::plugin::digest_of;
use feedgate::status::PluginStatus;
use feedgate::status::control::BuildCommand;

use crate::command::{built, called, directory, path};
use crate::support::{Running, bytes_of, plugin};

fn listed(running: &Running, stem: &str) -> PluginStatus {
    let found = running.status().plugins().into_iter().find_map(|(name, plugin)| (name == stem).then_some(plugin));
    found.unwrap_or_default()
}

/// Another build that does the same: a custom section more.
fn changed() -> Vec<u8> {
    let mut bytes = feedgate::plugin::componentize(&bytes_of("static")).expect("it is a good one");
    bytes.extend([0, 5, 4]);
    bytes.extend(b"note");
    bytes
}

#[tokio::test]
async fn keys_are_made_and_files_signed_and_verified() {
    let place = directory("", &["static", "volatile"]);
    let file = |name: &str| place.path().join(name);
    let plugin = place.path().join("plugins/static.wasm");
    let signatures = place.path().join("plugins/static.wasm.sig");
    let keygen = async |name: &str| called(&["plugin", "keygen", path(&file(name))]).await;
    let (ours, theirs) = (keygen("ours.pem").await, keygen("theirs.pem").await);
    assert_eq!((ours.code, theirs.code), (Some(0), Some(0)), "{ours:?}");
    let (ours, theirs) = (ours.out.trim().to_owned(), theirs.out.trim().to_owned());
    assert!(ours.starts_with("ed25519:") && ours != theirs);
    #[cfg(unix)]
    {
        let mode = std::fs::metadata(file("ours.pem")).expect("just written").permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    }
    // Never over a key that is there.
    keygen("ours.pem").await.fails(2, &["ours.pem: ", "exists"]);
    let verify = async |key: &str| called(&["plugin", "verify", "--key", key, path(&plugin)]).await;
    let unsigned = verify(&ours).await;
    assert!(unsigned.code == Some(1) && unsigned.out.contains("NOT signed: no "), "{unsigned:?}");
    let volatile = place.path().join("plugins/volatile.wasm");
    let sign =
        async |key: &str| called(&["plugin", "sign", "--key", path(&file(key)), path(&plugin), path(&volatile)]).await;
    let signed = sign("ours.pem").await;
    assert!(signed.code == Some(0) && signed.out.lines().count() == 2, "{signed:?}");
    assert_eq!((verify(&ours).await.code, verify(&theirs).await.code), (Some(0), Some(1)));
    assert_eq!(sign("theirs.pem").await.code, Some(0));
    assert_eq!((verify(&ours).await.code, verify(&theirs).await.code), (Some(0), Some(0)));
    let inspected = called(&["plugin", "inspect", path(&plugin)]).await;
    assert!(inspected.out.contains("static.wasm.sig"), "{inspected:?}");
    // Of one plugin, it is worth nothing beside another; nor when the file has changed.
    std::fs::copy(place.path().join("plugins/volatile.wasm.sig"), &signatures).expect("writable");
    assert_eq!(verify(&ours).await.code, Some(1));
    assert_eq!(sign("ours.pem").await.code, Some(0));
    std::fs::write(&plugin, changed()).expect("writable");
    let after = verify(&ours).await;
    assert!(after.code == Some(1) && after.out.contains("or changed since"), "{after:?}");
    verify("ed25519:nonsense").await.fails(2, &["a key is written ed25519:BASE64"]);
    called(&["plugin", "verify", "--key", &ours, "/nowhere.wasm"]).await.fails(2, &["/nowhere.wasm: cannot be read"]);
    for (key, words) in [(&signatures, "static.wasm.sig: is no PEM"), (&plugin, "static.wasm: longer than any key")] {
        called(&["plugin", "sign", "--key", path(key), path(&plugin)]).await.fails(2, &[words]);
    }
    // A file of signatures without end is not read to its end.
    std::fs::write(&signatures, vec![b'A'; 20 << 10]).expect("writable");
    verify(&ours).await.fails(2, &["its signatures cannot be read: more than 16 KiB"]);
}

#[tokio::test]
async fn a_host_that_wants_signatures_loads_nothing_else() {
    built().await;
    plugin("static");
    let keys = directory("", &[]);
    let key = keys.path().join("key.pem");
    let public = called(&["plugin", "keygen", path(&key)]).await.out.trim().to_owned();
    let config = format!("[plugins]\nrequire = \"signature\"\ntrusted_keys = [\"{public}\"]\n[provider.static]\n");
    let running = Running::start(&config, &["static"]).await;
    running.until("it is refused", |_| listed(&running, "static").error.contains("is not signed: no")).await;
    assert!(running.status().provider("static").info().reason.contains("is not signed"));
    // A signature that comes later is reason enough to look again.
    let file = running.plugins_dir().join("static.wasm");
    let sign = async || assert_eq!(called(&["plugin", "sign", "--key", path(&key), path(&file)]).await.code, Some(0));
    sign().await;
    running.value("static", "BTC/USD", "65000.10").await;
    assert_eq!(listed(&running, "static").error, "");
    // Another content under the old signature: refused, and the one before goes on.
    let good = digest_of(&bytes_of("static")).to_string();
    running.drop_file("static.wasm", &changed());
    running.until("it is refused", |_| listed(&running, "static").error.contains("changed after it was signed")).await;
    assert_eq!(listed(&running, "static").loaded.expect("the old one").digest, good);
    let seen = running.outcomes("static", "observed");
    running.until("another poll", |_| running.outcomes("static", "observed") > seen).await;
    // Also after a restart: it was kept, with its signature.
    let running = running.restart().await;
    running.until("the old one runs", |status| status.provider("static").info().plugin_digest == good).await;
    assert!(listed(&running, "static").error.contains("changed after it was signed"));
    sign().await;
    let next = digest_of(&changed()).to_string();
    running.until("it runs", |status| status.provider("static").info().plugin_digest == next).await;
    running.stop().await;
}

#[tokio::test]
async fn a_digest_that_is_written_is_the_only_one() {
    plugin("static");
    let config = |digest: &str| format!("[provider.static]\n[plugin.static]\nsha256 = \"{digest}\"\n");
    let (good, next) = (digest_of(&bytes_of("static")).to_string(), digest_of(&changed()).to_string());
    let running = Running::start(&config(&next), &["static"]).await;
    let wanted = |digest: &str| format!("the configuration wants {digest}");
    running.until("refused", |_| listed(&running, "static").error.contains(&wanted(&next))).await;
    // Allowed by the configuration, without a touch of the file.
    running.write_config(&config(&good));
    running.value("static", "BTC/USD", "65000.10").await;
    running.drop_file("static.wasm", &changed());
    running.until("refused", |_| listed(&running, "static").error.contains(&wanted(&good))).await;
    assert_eq!(running.status().provider("static").info().plugin_digest, good);
    running.write_config(&config(&next));
    running.until("it runs", |status| status.provider("static").info().plugin_digest == next).await;
    running.stop().await;
}

/// The first digest of a name counts until the operator says otherwise, also over a restart.
#[tokio::test]
async fn the_first_of_a_name_is_pinned_until_the_operator_pins_another() {
    let config = "[plugins]\nrequire = \"pin\"\n[provider.static]\n";
    let running = Running::start(config, &["static"]).await;
    let first = digest_of(&bytes_of("static")).to_string();
    running.until("it is pinned", |_| listed(&running, "static").pinned.as_ref() == Some(&first)).await;
    let other = digest_of(&changed()).to_string();
    running.drop_file("static.wasm", &changed());
    let error = |running: &Running| listed(running, "static").error;
    running.until("it is not trusted", |_| error(&running).contains("is pinned; `feedgate plugin pin")).await;
    assert_eq!(running.status().provider("static").info().plugin_digest, first);
    let running = running.restart().await;
    running
        .until("it is not trusted now either", |_| error(&running).contains("is pinned; `feedgate plugin pin"))
        .await;
    running.until("the first runs", |status| status.provider("static").info().plugin_digest == first).await;
    let pinned = running.daemon.control().build("static".to_owned(), BuildCommand::Pin(Some(other.clone())));
    assert_eq!(pinned.await.expect("it runs").map(|_| ()), Ok(()));
    running.until("the other runs", |status| status.provider("static").info().plugin_digest == other).await;
    assert_eq!(error(&running), "");
    running.stop().await;
}
