//! How requests go out and answers come in: what is not sent, what is sent once, and what is sent in turns. The guest
//! (`tests/guest`) is the plugin; its venue speaks `KEY VALUE`.

use feedgate::store::State;

use crate::support::Running;

/// A section for the guest, polling.
fn guest(name: &str, settings: &str, http: &str, more: &str) -> String {
    format!(
        "[provider.{name}]\nplugin = \"guest\"\ntransports = [\"http\"]\nloosen_limits = true\n\
         settings = {{ {settings} }}\nhttp = {{ poll_interval_ms = 50, backoff_first_ms = 20, backoff_max_ms = 100{http} }}\n{more}\n"
    )
}

/// Nothing is granted and nothing listens, so any connection would be an error.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_url_is_answered_without_a_venue() {
    let config = [
        guest("plain", r#"url = "data:,0%201.50%0A1%202.50""#, "", ""),
        guest("packed", r#"url = "data:text/plain;base64,MCAxLjUwCjEgMi41MAo=""#, "", ""),
        guest("broken", r#"url = "data:;base64,~""#, "", ""),
        guest("long", &format!(r#"url = "data:,{}""#, "0".repeat(2_000)), ", max_body_kib = 1", ""),
    ];
    let running = Running::start(&config.concat(), &["guest"]).await;
    for name in ["plain", "packed"] {
        running.value(name, "a", "1.50").await;
        running.value(name, "b", "2.50").await;
    }
    for (name, words) in [("broken", "not base64"), ("long", "longer than 1 KiB")] {
        let says =
            |reading: &feedgate::store::Reading| reading.state == State::ProviderDown && reading.reason.contains(words);
        running.reading(name, "a", words, says).await;
    }
    running.stop().await;
}
