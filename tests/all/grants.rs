//! What a plugin asks for and what it gets: a build that asks for more than it may have is held, and the one before it
//! goes on; and no answer of a venue leads to an address that nobody granted.

use std::path::Path;

use feedgate::status::control::BuildCommand;
use feedgate::store::State;
use feedgate_tests::{Reply, Request, Response, ScriptedHttp};

use crate::command::{built, called, directory, path};
use crate::reload::{counted, digest, listed};
use crate::support::{Running, bytes_of, compiled, plugin};

async fn polled(body: &'static str) -> ScriptedHttp {
    let answer = move |_: Request| Reply::Send(Response::new(200, "text/plain", body));
    ScriptedHttp::start(answer).await.expect("a free port")
}

/// A provider of whatever lies there as `feed.wasm`.
fn feed(venue: &ScriptedHttp) -> String {
    format!(
        "[provider.feed]\ntransports = [\"http\"]\nloosen_limits = true\nhttp = {{ poll_interval_ms = 100 }}\n\
         redirect_origins = {{ \"https://guest.example.com\" = \"{}\" }}\n",
        venue.origin()
    )
}

/// The words of a build that is held.
async fn held(running: &Running, words: &[&str]) {
    let error = || listed(running, "feed").map(|plugin| plugin.error).unwrap_or_default();
    let all = |error: &str| error.starts_with("needs grant: ") && words.iter().all(|word| error.contains(word));
    running.until(&format!("held: {words:?}"), |_| all(&error())).await;
}

#[tokio::test]
async fn a_build_that_asks_for_more_is_held_until_it_is_granted() {
    // Whichever keys its ids have after those of the build before it.
    let venue = polled("0 1.5\n1 1.5\n2 1.5\n3 1.5").await;
    plugin("guest");
    let running = Running::start(&feed(&venue), &[]).await;
    running.drop_file("feed.wasm", &bytes_of("static"));
    running.value("feed", "BTC/USD", "65000.10").await;
    running.drop_file("feed.wasm", &bytes_of("guest"));
    held(&running, &["origins = [\"https://guest.example.com\"", "secrets = [\"key\"]", "[plugin.feed.grant]"]).await;
    // A part of it is not enough, and the words say what is missing.
    let part = "[plugin.feed.grant]\norigins = [\"https://guest.example.com\"]\n";
    running.write_config(&(feed(&venue) + part));
    held(&running, &["secrets = [\"key\"]", "needs grant: origins = [\"https://localhost:1\", \"wss://"]).await;
    // The old one has gone on all the time.
    let seen = running.outcomes("feed", "observed");
    running.until("another poll", |_| running.outcomes("feed", "observed") > seen).await;
    assert_eq!(running.read("feed", "BTC/USD").map(|reading| reading.state), Some(State::Fresh));
    assert_eq!(listed(&running, "feed").and_then(|plugin| plugin.loaded).expect("the old one").name, "static");
    assert_eq!(venue.requests(), 0);
    // Taking the file away and putting it back is no way around.
    running.remove_file("feed.wasm");
    running.until("it is gone", |_| listed(&running, "feed").is_none()).await;
    running.drop_file("feed.wasm", &bytes_of("guest"));
    held(&running, &["secrets = [\"key\"]"]).await;
    // Granted in the file of grants, which is read when it comes.
    let all = "[feed]\norigins = [\"https://localhost:1\", \"wss://localhost:1\", \"wss://guest.example.com\"]\n\
               secrets = [\"key\"]\n";
    std::fs::write(running.directory.path().join("grants.toml"), all).expect("writable");
    // It has its grants; that it is another plugin altogether is for the operator to want.
    let error = || listed(&running, "feed").map(|plugin| plugin.error).unwrap_or_default();
    running.until("it is compared", |_| error().contains("refused by provider feed")).await;
    let pinned = running.daemon.control().build("feed".to_owned(), BuildCommand::Pin(Some(digest(&bytes_of("guest")))));
    assert!(pinned.await.expect("it runs").is_ok());
    running.value("feed", "a", "1.5").await;
    assert_eq!(listed(&running, "feed").map(|plugin| plugin.error), Some(String::new()));
    running.stop().await;
}

#[tokio::test]
async fn a_strict_host_grants_only_what_is_written() {
    built().await;
    let venue = polled("0 1.5\n1 2.5").await;
    plugin("guest");
    let strict = |more: &str| format!("[plugins]\npolicy = \"strict\"\n{more}{}", feed(&venue));
    let running = Running::start(&strict(""), &[]).await;
    running.drop_file("feed.wasm", &bytes_of("guest"));
    held(&running, &["\"wss://guest.example.com\"", "secrets = [\"key\"]"]).await;
    assert!(running.status().provider("feed").info().reason.contains("needs grant: "));
    // The command writes what this very file asks for.
    let (file, grants) = (running.plugins_dir().join("feed.wasm"), running.directory.path().join("grants.toml"));
    let written = called(&["plugin", "grant", path(&file), "--write", path(&grants)]).await;
    assert_eq!(written.code, Some(0), "{written:?}");
    running.value("feed", "a", "1.5").await;
    // Grants that cannot be read are told, and what was granted stays.
    let error = || running.status().config().error;
    let before = std::fs::read(&grants).expect("just written");
    std::fs::write(&grants, "[feed]\norigins = 7\n").expect("writable");
    running.until("it is told", |_| error().contains("grants.toml:2: feed.origins: invalid type")).await;
    running.drop_file("feed.wasm", &bytes_of("guest"));
    running.value("feed", "a", "1.5").await;
    assert_eq!(listed(&running, "feed").map(|plugin| plugin.error), Some(String::new()));
    std::fs::write(&grants, before).expect("writable");
    running.until("nothing is wrong", |_| error().is_empty()).await;
    // Taken back: what runs goes on, and does not start again.
    std::fs::remove_file(&grants).expect("it is there");
    let loads = || counted(&running, "feedgate_plugin_loads_total{result=\"loaded\"}");
    let before = loads();
    running.until("it is loaded again", |_| loads() > before).await;
    running.state("feed", "a", State::Fresh).await;
    let running = running.restart().await;
    held(&running, &["\"wss://guest.example.com\""]).await;
    running.stop().await;
}

#[tokio::test]
async fn the_commands_say_what_a_plugin_asks_for() {
    let grant = async |file: &Path, more: &[&str]| {
        let arguments = [&["plugin", "grant", path(file)], more].concat();
        called(&arguments).await
    };
    let printed = grant(compiled("guest"), &[]).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let section = "[plugin.guest.grant]\norigins = [\"https://guest.example.com\", \"https://localhost:1\", \
                   \"wss://guest.example.com\", \"wss://localhost:1\"]\nsecrets = [\"key\"]\n";
    assert_eq!(printed.out, section);
    let mirrored = grant(compiled("okx"), &[]).await;
    assert!(
        mirrored.out.contains("wss://ws.okx.com:8443") && mirrored.out.matches("wss://").count() > 1,
        "{mirrored:?}"
    );
    // What it prints is what is enough.
    for (more, code) in [(section, 0), ("", 1)] {
        let place = directory(&format!("[plugins]\npolicy = \"strict\"\n{more}"), &["guest"]);
        let checked = called(&["check", "--config", path(&place.path().join("feedgate.toml"))]).await;
        assert_eq!((checked.code, checked.out.contains("needs grant: ")), (Some(code), code == 1), "{checked:?}");
    }
    // A file of one's own is not rewritten when it is not understood.
    let place = directory("", &[]);
    let grants = place.path().join("mine.toml");
    let mine = "guest = { secrets = [] }\n";
    std::fs::write(&grants, mine).expect("writable");
    grant(compiled("guest"), &["--write", path(&grants)]).await.fails(2, &["do it by hand", "secrets = [\"key\"]"]);
    assert_eq!(std::fs::read_to_string(&grants).ok().as_deref(), Some(mine));
    grant(Path::new("/nowhere.wasm"), &[]).await.fails(2, &["/nowhere.wasm: cannot be read"]);
    grant(Path::new("/no where.wasm"), &[]).await.fails(2, &["a plugin's file is NAME.wasm"]);
}

/// The plugin asks at a granted origin; the answer leads elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_leads_to_no_address_that_was_not_granted() {
    for (location, words) in [
        ("https://169.254.169.254/latest/meta-data", "169.254.169.254 is not granted"),
        ("http://127.0.0.1:1/", "http://127.0.0.1:1 is not granted"),
        ("http://[::ffff:169.254.169.254]/", "is not granted"),
        ("file:///etc/passwd", "scheme \"file\""),
        // Granted by its name, and looked up again.
        ("https://localhost:1/", "localhost is at "),
    ] {
        let answer =
            move |_: Request| Reply::Send(Response::new(302, "text/plain", "").with_header("location", location));
        let venue = ScriptedHttp::start(answer).await.expect("a free port");
        let config = feed(&venue).replace("[provider.feed]", "[provider.feed]\nplugin = \"guest\"");
        let running = Running::start(&config, &["guest"]).await;
        running.reading("feed", "a", words, |reading| reading.reason.contains(words)).await;
        running.stop().await;
        // The same answer to a handshake is followed nowhere.
        let origin = venue.origin().replace("http://", "ws://");
        let streamed = format!(
            "[provider.feed]\nplugin = \"guest\"\ntransports = [\"websocket\"]\n\
             redirect_origins = {{ \"wss://guest.example.com\" = \"{origin}\" }}\n"
        );
        let running = Running::start(&streamed, &["guest"]).await;
        let refused = "answered the handshake with status 302";
        running.reading("feed", "a", refused, |reading| reading.reason.contains(refused)).await;
        running.stop().await;
    }
}
