//! Prices that a plugin computes from a chain's state: exact in every digit that it keeps, and never of a node that
//! stands still.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use feedgate::contract::observation::ValueKind;
use feedgate::store::State;
use feedgate_tests::{Fault, Kind, Options, Reply, Response, ScriptedHttp};

use super::{POLL, ids_line, scripted, section, venue};
use crate::support::Running;

/// One chain's plugin, with a pool of its own settings beside one that it knows.
struct Chain {
    kind: Kind,
    /// The pools' names, and their ids at the simulated venue.
    known: [&'static str; 2],
    own: [&'static str; 2],
    settings: &'static str,
    /// What the known pool's state says, and the price. A state that begins with `0x` is the square root itself.
    /// Computed with rational numbers elsewhere, to as many digits as the root has.
    prices: &'static [(&'static str, &'static str)],
    /// The same for the own pool, the other way round.
    inverted: (&'static str, &'static str),
    /// A contract or an account of another kind.
    strange: &'static str,
    /// What is said of a pool that the chain does not have.
    nowhere: (State, &'static str),
    /// A node's origin, and its answer for one pool that never changes.
    node: &'static str,
    still: &'static str,
}

const CHAINS: [Chain; 2] = [
    Chain {
        kind: Kind::EvmPool,
        known: ["WBTC/USDC", "0x99ac8ca7087fa4a2a1fb6357269965a2014abc35"],
        own: ["mine", "0x4e68ccd3e89f51c3074ca5072bbac773960dfa36"],
        settings: "settings = { pools = { mine = { address = \"0x4E68Ccd3E89f51C3074ca5072bbAC773960dFa36\", \
                   decimals = [18, 6], invert = true }, nowhere = { address = \
                   \"0x1111111111111111111111111111111111111111\", decimals = [18, 18] } } }",
        prices: &[
            ("0x19ede21455847da5be51b30007", "67232.5017571944465610436197674"),
            ("0x19ede21455847da5be51b30008", "67232.5017571944465610436197675"),
            // The roots of the lowest and the highest price that there can be.
            ("0x1000276a3", "0.0000000000000000000000000000000000002938956809"),
            ("0xfffd8963efd1fc6a506488495d951d5263988d25", "34025678683638809407064233990000000000000"),
        ],
        inverted: ("0x1000000000000000000000000", "0.000000000001"),
        strange: "execution reverted",
        nowhere: (State::Unresolved, "no contract at this address"),
        node: "https://ethereum-rpc.publicnode.com",
        still: r#"[{"id":0,"result":"0x5"},{"id":1,"result":"0x0000000000000000000000000000000000000001000000000000000000000000"}]"#,
    },
    Chain {
        kind: Kind::SolanaAccount,
        known: ["SOL/USDC", "3ucNos4NbumPLZNWztqGHNFFgkHeRMBQAVemeeomsUxv"],
        own: ["mine", "8sLbNZoA1cfnvMJLPfp98ZLAnFSYCFApfJKMbiXNLwxj"],
        settings: "settings = { pools = { mine = { address = \"8sLbNZoA1cfnvMJLPfp98ZLAnFSYCFApfJKMbiXNLwxj\", \
                   invert = true }, nowhere = { address = \"11111111111111111111111111111111\" } } }",
        prices: &[
            ("0x69e89e1c27f0ec35", "171.1524170945707806"),
            ("0x69e89e1c27f0ec36", "171.1524170945707807"),
            ("0x100013b50", "0.0000000000000000542121463"),
            ("0xfffec4b1845c1aa94e69579b", "18446050713735950759526.560806"),
        ],
        inverted: ("0x10000000000000000", "0.001"),
        strange: "another kind",
        nowhere: (State::Rejected, "no such account"),
        node: "https://api.mainnet-beta.solana.com",
        still: "",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_pools_price_is_exact_and_says_what_it_is() {
    let (mut config, mut rows) = (String::new(), Vec::new());
    for chain in &CHAINS {
        let venue = venue(chain.kind, Options::default()).await;
        let ids = ids_line(&[chain.known[0], chain.own[0], "nowhere", "not a pool"]);
        config += &section(chain.kind.name(), &venue, &format!("{ids}{}\n{POLL}", chain.settings));
        rows.push((chain, venue));
    }
    let daemon = Running::start(&config, &CHAINS.map(|chain| chain.kind.name())).await;
    for (chain, venue) in rows {
        let name = chain.kind.name();
        let [id, pool] = chain.known;
        for id in [id, chain.own[0]] {
            daemon.state(name, id, State::Fresh).await;
        }
        for (state, price) in chain.prices {
            venue.push_price(pool, state);
            let held = daemon.value(name, id, price).await.held.expect("a value");
            assert_eq!(held.observed_at, None, "{name}");
        }
        venue.push_price(chain.own[1], chain.inverted.0);
        daemon.value(name, chain.own[0], chain.inverted.1).await;
        for (state, words) in [("0x0", "no price yet"), ("NaN", chain.strange), ("0x1", "beyond those of a pool")] {
            venue.push_price(pool, state);
            daemon.reading(name, id, words, |reading| reading.reason.contains(words)).await;
            // Nobody else is touched.
            daemon.value(name, chain.own[0], chain.inverted.1).await;
        }
        for (id, (state, words)) in [("nowhere", chain.nowhere), ("not a pool", (State::Rejected, "`pools`"))] {
            let reading = daemon.state(name, id, state).await;
            assert!(reading.reason.contains(words), "{name} {id}: {}", reading.reason);
        }
        assert_eq!(daemon.status().provider(name).info().kind, Some(ValueKind::Other), "{name}");
        assert_eq!(venue.stats().violations, [""; 0], "{name}");
        // JSON-RPC's own way to say no.
        venue.set_fault(Fault::ErrorInside200);
        daemon.reading(name, id, "unavailable", |reading| reading.reason.contains("Service unavailable")).await;
    }
    daemon.stop().await;
}

/// Connect 718179f6: a stuck node gave old blocks, "fresh". The height tells where there is no time.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stands_still_goes_stale() {
    let account = {
        let mut state = vec![0_u8; 269];
        state[..8].copy_from_slice(&[247, 237, 227, 245, 215, 195, 222, 70]);
        state[233..235].copy_from_slice(&[6, 6]);
        state[261] = 1;
        STANDARD.encode(state)
    };
    let solana = format!(
        r#"{{"result":{{"context":{{"slot":5}},"value":[{{"data":["{account}","base64"],"owner":"CAMMCzo5YL8w4VFF8KVHrK22GGUsp5VTaW7grrKgrWqK"}}]}}}}"#
    );
    let (mut config, mut servers) = (String::new(), Vec::new());
    // Each node goes on until both have been seen to be fresh, however long that takes.
    let height = Arc::new(AtomicU64::new(5));
    let goes_on = Arc::new(AtomicBool::new(true));
    for chain in &CHAINS {
        let body = if chain.still.is_empty() { solana.clone() } else { chain.still.to_owned() };
        let (height, goes_on) = (height.clone(), goes_on.clone());
        let server = ScriptedHttp::start(move |_| {
            let height = height.fetch_add(u64::from(goes_on.load(Relaxed)), Relaxed);
            let body =
                body.replace("0x5\"", &format!("{height:#x}\"")).replace("\"slot\":5", &format!("\"slot\":{height}"));
            Reply::Send(Response::json(200, body))
        });
        let server = server.await.expect("loopback has a free port");
        let more = format!("max_age_ms = 2000\n{}{POLL}", ids_line(&[chain.known[0]]));
        let name = chain.kind.name();
        config += &scripted(name, name, chain.node, &server.origin(), &more);
        servers.push(server);
    }
    let daemon = Running::start(&config, &CHAINS.map(|chain| chain.kind.name())).await;
    let polls = |name| daemon.status().provider(name).info().poller.map_or(0, |poller| poller.polls);
    for chain in &CHAINS {
        daemon.state(chain.kind.name(), chain.known[0], State::Fresh).await;
    }
    goes_on.store(false, Relaxed);
    for chain in &CHAINS {
        let name = chain.kind.name();
        let before = polls(name);
        daemon.state(name, chain.known[0], State::Stale).await;
        daemon.until(&format!("{name} asked again"), |_| polls(name) > before).await;
    }
    daemon.stop().await;
    for server in servers {
        server.shutdown().await;
    }
}

/// A service that wants its key in the path: the plugin writes a placeholder, the host puts the key in.
#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_key_goes_into_its_url() {
    let paths: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = paths.clone();
    let still = CHAINS[0].still;
    let server = ScriptedHttp::start(move |request| {
        seen.lock().expect("no panic").push(request.target.clone());
        Reply::Send(Response::json(200, still))
    });
    let server = server.await.expect("loopback has a free port");
    let key = concat!("secrets = { rpc_key = { file = \"", env!("CARGO_MANIFEST_DIR"), "/all/feeds/any.key\" } }");
    let rpc = "settings = { rpc = \"https://mainnet.infura.io/v3/${secret.rpc_key}\" }";
    let more = format!("{}{key}\n{rpc}\n{POLL}", ids_line(&["WBTC/USDC"]));
    let section = scripted("keyed", "evm-pool", "https://mainnet.infura.io", &server.origin(), &more);
    let daemon = Running::start(&section, &["evm-pool"]).await;
    daemon.value("keyed", "WBTC/USDC", "100").await;
    assert_eq!(paths.lock().expect("no panic")[0], "/v3/the-simulated-venue-takes-any-key");
    daemon.stop().await;
    server.shutdown().await;
}
