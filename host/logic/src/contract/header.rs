//! Headers of requests and handshakes: which of them a plugin may not write.

/// Written by the host, or by the library that speaks HTTP: who sets them decides where a request ends, whom it reaches
/// behind a shared front, or what a connection becomes.
const HOSTS_OWN: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

const HOSTS_OWN_FAMILIES: [&str; 3] = [":", "proxy-", "sec-websocket-"];

/// Whether a header of this name is the host's to write.
pub fn is_hosts_own(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    HOSTS_OWN.contains(&name.as_str()) || HOSTS_OWN_FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_connection_is_the_hosts_own() {
        for name in [
            "Host",
            "HOST",
            " host",
            "Connection",
            "Content-Length",
            "Transfer-Encoding",
            "Upgrade",
            "Expect",
            "TE",
            "Trailer",
            "Keep-Alive",
            "Proxy-Authorization",
            "Proxy-Connection",
            "Sec-WebSocket-Key",
            "sec-websocket-protocol",
            ":authority",
            ":path",
        ] {
            assert!(is_hosts_own(name), "{name}");
        }
        for name in
            ["Authorization", "X-Host", "Accept", "Content-Type", "X-Api-Key", "Hostname", "Origin", "User-Agent", ""]
        {
            assert!(!is_hosts_own(name), "{name}");
        }
    }
}
