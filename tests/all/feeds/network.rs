//! The way out: certificates that are not trusted, certificates of our own, proxies, HTTP/2. Each for both transports
//! where both have it. The guest (`tests/guest`) is the plugin; its venue speaks `KEY VALUE`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use feedgate::store::State;
use feedgate_tests::{Peer, Reply, Response, ScriptedHttp, ScriptedProxy, ScriptedWs};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::Running;

const TRANSPORTS: [&str; 2] = ["websocket", "http"];

/// A name that nobody can look up but a proxy of the tests.
const NOWHERE: &str = "venue.invalid";

/// An authority and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Two with one name would pass for each other until their signatures are looked at.
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("ring makes keys");
        Self(CertifiedIssuer::self_signed(params, key).expect("good parameters"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, and its key.
    fn sign(&self, names: &[&str], expired: bool) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("good names");
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        }
        let key = KeyPair::generate().expect("ring makes keys");
        (params.signed_by(&key, &self.0).expect("good parameters"), key)
    }

    /// How a server shows itself. `clients`: whose clients it lets in; everyone without.
    fn server(&self, names: &[&str], expired: bool, clients: Option<&Self>) -> ServerConfig {
        let (certificate, key) = self.sign(names, expired);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().expect("ring has them");
        let builder = match clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let certificate: &rcgen::Certificate = authority.0.as_ref();
                roots.add(certificate.der().clone()).expect("a certificate");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                builder.with_client_cert_verifier(verifier.expect("it has a root"))
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        builder.with_single_cert(vec![certificate.der().clone()], key).expect("they belong together")
    }
}

/// TLS before a plain server. Ends when dropped.
struct Front {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Front {
    async fn start<F>(
        config: ServerConfig,
        serve: impl Fn(tokio_rustls::server::TlsStream<TcpStream>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("bound");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not like the certificate goes away.
                if let Ok(tls) = acceptor.accept(stream).await {
                    connections.spawn(serve(tls));
                }
            }
        });
        Self { address, _tasks: tasks }
    }

    /// Hands everything on to a plain server at `ws://…` or `http://…`.
    async fn before(config: ServerConfig, origin: &str) -> Self {
        let (_, to) = origin.split_once("://").expect("an origin");
        let to: SocketAddr = to.parse().expect("an address");
        Self::start(config, move |mut tls| async move {
            if let Ok(mut plain) = TcpStream::connect(to).await {
                let _ = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
            }
        })
        .await
    }
}

/// A plain venue for each transport.
struct Venue {
    stream: ScriptedWs,
    poll: ScriptedHttp,
}

impl Venue {
    async fn start() -> Self {
        let stream = ScriptedWs::start(|mut peer: Peer| async move {
            while let Some(text) = peer.recv().await {
                if let Some(key) = text.strip_prefix("subscribe ").and_then(|rest| rest.split(' ').next())
                    && peer.send(format!("{key} 1.50")).await.is_err()
                {
                    return;
                }
            }
        });
        let poll = ScriptedHttp::start(|_| Reply::Send(Response::new(200, "text/plain", "0 1.50\n1 1.50")));
        Self { stream: stream.await.expect("a free port"), poll: poll.await.expect("a free port") }
    }

    fn origin(&self, transport: &str) -> String {
        if transport == "http" { self.poll.origin() } else { self.stream.origin() }
    }
}

/// A section for the guest, whose venue is at `host:port`. `network`: the lines of its network section.
fn section(name: &str, transport: &str, scheme: &str, place: &str, network: &str) -> String {
    let (real, to) = match (transport, scheme) {
        ("http", "tls") => ("https", "https"),
        ("http", _) => ("https", "http"),
        (_, "tls") => ("wss", "wss"),
        _ => ("wss", "ws"),
    };
    format!(
        "[provider.{name}]\nplugin = \"guest\"\ntransports = [\"{transport}\"]\nloosen_limits = true\n\
         redirect_origins = {{ \"{real}://guest.example.com\" = \"{to}://{place}\" }}\n\
         websocket = {{ backoff_first_ms = 20, backoff_max_ms = 100, connect_timeout_ms = 5000 }}\n\
         http = {{ poll_interval_ms = 50, backoff_first_ms = 20, backoff_max_ms = 100 }}\n\
         [provider.{name}.network]\n{network}\n"
    )
}

/// Writes a file and answers the line that names it.
fn file(directory: &Path, field: &str, name: &str, content: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).expect("writable");
    format!("{field} = {path:?}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_venue_is_trusted_by_its_certificate_only() {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let venue = Venue::start().await;
    let (ours, other) = (Authority::new("one"), Authority::new("another"));
    let here = ["127.0.0.1"];
    let ca = file(directory.path(), "ca_file", "ca.pem", &ours.pem());
    let (certificate, key) = ours.sign(&["client"], false);
    let client = file(directory.path(), "client_cert_file", "client.pem", &certificate.pem())
        + &file(directory.path(), "client_key_file", "client.key", &key.serialize_pem());
    let with_client = format!("{ca}{client}");
    // Name, how the venue shows itself, what the provider trusts and shows, what it then says: nothing where it works.
    let rows = [
        ("trusted", ours.server(&here, false, None), &ca, None),
        ("unknown", other.server(&here, false, None), &ca, Some("UnknownIssuer")),
        ("system", ours.server(&here, false, None), &String::new(), Some("UnknownIssuer")),
        ("name", ours.server(&["other.example"], false, None), &ca, Some("not valid for")),
        ("expired", ours.server(&here, true, None), &ca, Some("expired")),
        ("client", ours.server(&here, false, Some(&ours)), &with_client, None),
        ("stranger", ours.server(&here, false, Some(&ours)), &ca, Some("CertificateRequired")),
        ("wrong", ours.server(&here, false, Some(&other)), &with_client, Some("alert")),
    ];
    let (mut config, mut fronts, mut names) = (String::new(), Vec::new(), Vec::new());
    for (name, server, network, expected) in rows {
        for transport in TRANSPORTS {
            let front = Front::before(server.clone(), &venue.origin(transport)).await;
            let name = format!("{name}-{transport}");
            config += &section(&name, transport, "tls", &front.address.to_string(), network);
            names.push((name, expected));
            fronts.push(front);
        }
    }
    let running = Running::start(&config, &["guest"]).await;
    for (name, expected) in names {
        match expected {
            None => drop(running.state(&name, "a", State::Fresh).await),
            Some(words) => {
                let says = |reading: &feedgate::store::Reading| {
                    reading.held.is_none() && reading.state == State::ProviderDown && reading.reason.contains(words)
                };
                running.reading(&name, "a", words, says).await;
            }
        }
    }
    running.stop().await;
}

/// The error says which file, in which field, and the provider does not run.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_is_named() {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let file = |field, name, content: &str| file(directory.path(), field, name, content);
    let authority = Authority::new("one");
    let (certificate, key) = authority.sign(&["client"], false);
    let (_, other) = authority.sign(&["client"], false);
    let good = file("client_cert_file", "client.pem", &certificate.pem());
    let key_file = |name, key: &str| file("client_key_file", name, key);
    let rows = [
        ("missing", "ca_file = \"nowhere.pem\"".to_owned(), ["network.ca_file: ", "nowhere.pem cannot be read"]),
        ("empty", file("ca_file", "empty.pem", ""), ["network.ca_file: ", "empty.pem holds no certificate"]),
        (
            "no-key",
            format!("{good}{}", key_file("no.key", &certificate.pem())),
            ["network.client_key_file: ", "no.key holds no private key"],
        ),
        (
            "other-key",
            format!("{good}{}", key_file("other.key", &other.serialize_pem())),
            ["network.client_key_file: ", "other.key is not the key of"],
        ),
        (
            "no-cert",
            file("client_cert_file", "none.pem", "") + &key_file("client.key", &key.serialize_pem()),
            ["network.client_cert_file: ", "none.pem holds no certificate"],
        ),
    ];
    let config: String =
        rows.iter().map(|(name, network, _)| section(name, "http", "tls", "127.0.0.1:9", network)).collect();
    let running = Running::start(&config, &["guest"]).await;
    for (name, _, words) in rows {
        let said = |status: &feedgate::status::Status| {
            let reason = status.provider(name).info().reason;
            words.iter().all(|word| reason.contains(word))
        };
        running.until(&format!("{name}: {words:?}"), said).await;
    }
    running.stop().await;
}

/// A certificate that was replaced is used after a reload.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_read_on_reload() {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let venue = Venue::start().await;
    let (old, new) = (Authority::new("one"), Authority::new("another"));
    let front = Front::before(new.server(&["127.0.0.1"], false, None), &venue.origin("http")).await;
    let ca = file(directory.path(), "ca_file", "ca.pem", &old.pem());
    let running = Running::start(&section("p", "http", "tls", &front.address.to_string(), &ca), &["guest"]).await;
    running.state("p", "a", State::ProviderDown).await;
    file(directory.path(), "ca_file", "ca.pem", &new.pem());
    running.daemon.control().reload_soon();
    running.state("p", "a", State::Fresh).await;
    running.stop().await;
}

/// The venue's name means nothing here: the proxy looks it up. With credentials and without, encrypted and plain.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_goes_through_its_proxy() {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let venue = Venue::start().await;
    let authority = Authority::new("one");
    let ca = file(directory.path(), "ca_file", "ca.pem", &authority.pem());
    // `me:s3cr3t`
    let basic = "Basic bWU6czNjcjN0";
    let proxies = [
        ("connect", "", ScriptedProxy::http(None).await),
        ("connect-as", "me:s3cr3t@", ScriptedProxy::http(Some(basic)).await),
        ("socks", "", ScriptedProxy::socks5(None).await),
        ("socks-as", "me:s3cr3t@", ScriptedProxy::socks5(Some(("me", "s3cr3t"))).await),
    ]
    .map(|(name, user, proxy)| (name, user, proxy.expect("a free port")));
    let (mut config, mut fronts, mut rows) = (String::new(), Vec::new(), Vec::new());
    for (name, user, proxy) in &proxies {
        for transport in TRANSPORTS {
            let front = Front::before(authority.server(&[NOWHERE], false, None), &venue.origin(transport)).await;
            let place = format!("{NOWHERE}:{}", front.address.port());
            let network = format!("{ca}proxy = \"{}\"\n", proxy.url(user));
            let name = format!("{name}-{transport}");
            config += &section(&name, transport, "tls", &place, &network);
            rows.push((name, proxy, place));
            fronts.push(front);
        }
    }
    let port = venue.origin("websocket").rsplit(':').next().expect("a port").to_owned();
    let place = format!("{NOWHERE}:{port}");
    config += &section("plain", "websocket", "plain", &place, &format!("proxy = \"{}\"", proxies[0].2.url("")));
    rows.push(("plain".to_owned(), &proxies[0].2, place));
    let running = Running::start(&config, &["guest"]).await;
    for (name, proxy, place) in &rows {
        running.state(name, "a", State::Fresh).await;
        assert!(proxy.asked().contains(place), "{name}: {:?}", proxy.asked());
    }
    running.stop().await;
}

/// What goes wrong at a proxy names it, and never the password.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_is_named_without_its_credentials() {
    let proxies = [
        ("connect", "me:s3cr3t@", "proxy authorization required", ScriptedProxy::http(Some("Basic other")).await),
        ("socks", "me:s3cr3t@", "credentials not accepted", ScriptedProxy::socks5(Some(("me", "other"))).await),
    ]
    .map(|(name, user, words, proxy)| (name, user, words, proxy.expect("a free port")));
    let (mut config, mut rows) = (String::new(), Vec::new());
    let mut add = |name: &str, url: &str, shown: &str, words: &'static str| {
        for transport in TRANSPORTS {
            let name = format!("{name}-{transport}");
            config += &section(&name, transport, "tls", &format!("{NOWHERE}:443"), &format!("proxy = \"{url}\""));
            rows.push((name, format!("through the proxy {shown}: "), words));
        }
    };
    for (name, user, words, proxy) in &proxies {
        add(name, &proxy.url(user), &proxy.url(""), words);
    }
    add("nobody", "http://me:s3cr3t@127.0.0.1:9", "http://127.0.0.1:9", "refused");
    let running = Running::start(&config, &["guest"]).await;
    for (name, proxy, words) in rows {
        let says = |reading: &feedgate::store::Reading| reading.reason.contains(words);
        let reading = running.reading(&name, "a", words, says).await;
        assert!(reading.reason.contains(&proxy), "{name}: {} lacks {proxy:?}", reading.reason);
        let info = format!("{:?} {:?}", running.status().provider(&name).info(), reading);
        assert!(!info.contains("s3cr3t"), "{info}");
    }
    running.stop().await;
}

/// A venue that speaks HTTP/2 is spoken to in HTTP/2, poll after poll on one connection.
#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_where_the_venue_has_it() {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let authority = Authority::new("one");
    let mut server = authority.server(&["127.0.0.1"], false, None);
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let requests = tokio::sync::watch::Sender::new((0, 0));
    let counter = requests.clone();
    let front = Front::start(server, move |tls| {
        let counter = counter.clone();
        async move {
            counter.send_modify(|(connections, _)| *connections += 1);
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let mut connection = h2::server::handshake(tls).await.expect("HTTP/2");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let answer = http::Response::builder().status(200).body(()).expect("a good response");
                let mut body = respond.send_response(answer, false).expect("the client waits");
                body.send_data("0 1.50\n1 1.50".into(), true).expect("the client waits");
                counter.send_modify(|(_, requests)| *requests += 1);
            }
        }
    })
    .await;
    let ca = file(directory.path(), "ca_file", "ca.pem", &authority.pem());
    let running = Running::start(&section("p", "http", "tls", &front.address.to_string(), &ca), &["guest"]).await;
    running.value("p", "a", "1.50").await;
    let mut seen = requests.subscribe();
    let (connections, _) = *seen.wait_for(|(_, requests)| *requests >= 5).await.expect("it goes on");
    assert_eq!(connections, 1);
    running.stop().await;
}
