//! An Ethereum node as far as pools like Uniswap v3's need one: calls in a list, answered in any order.
//!
//! After the [JSON-RPC specification], the [execution API] and what geth and public nodes answer. Prices are those of
//! token 1 for one token 0, whole tokens both.
//!
//! [JSON-RPC specification]: https://www.jsonrpc.org/specification
//! [execution API]: https://ethereum.github.io/execution-apis/

use std::collections::BTreeSet;

use serde_json::Value;

use crate::http::{Request, Response};
use crate::session::{World, quoted};
use crate::venues::Profile;
use crate::venues::chain::square_root;

pub(super) const PROFILE: Profile = Profile {
    name: "evm-pool",
    origins: &["https://ethereum-rpc.publicnode.com", "https://eth.llamarpc.com", "https://eth.drpc.org"],
    prices: PRICES,
    budget: 600,
    answer: |request, _, world| answer(request, world),
    error: |status, text| fault("null", if status == 429 { -32005 } else { -32000 }, text),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("0x88e6a0c2ddd26feeb64f039a2c41296fcb3f5640", "0.000284702347"),
    ("0x99ac8ca7087fa4a2a1fb6357269965a2014abc35", "67250.0112"),
    ("0x4e68ccd3e89f51c3074ca5072bbac773960dfa36", "3512.4410"),
    ("0xcbcdf9626bc03e24f779434178a73a0b4bad62ed", "19.1461"),
    ("0x1d42064fc4beb5f8aaf85f4617ae8b3b5b8bd801", "0.0028781"),
    ("0xa6cc3c2531fdaa6ae1a3ca84c2855806728693e8", "0.0048981"),
    ("0x5777d92f208679db4b9778590fa3cab3ac9e2168", "0.9999102"),
    ("0x3416cf6c708da44db2624d63ea0aaef7113527c6", "1.0001203"),
    ("0xc2e9f25be6257c210d7adf0d4cd6e3e881ba25f8", "0.00028471"),
    ("0x290a6a7460b308ee3f19023d2d00de604bcf5b42", "0.00016213"),
];

/// Of token 0 and token 1, where they are not 18.
const DECIMALS: &[(&str, [u32; 2])] = &[
    ("0x88e6a0c2ddd26feeb64f039a2c41296fcb3f5640", [6, 18]),
    ("0x99ac8ca7087fa4a2a1fb6357269965a2014abc35", [8, 6]),
    ("0x4e68ccd3e89f51c3074ca5072bbac773960dfa36", [18, 6]),
    ("0xcbcdf9626bc03e24f779434178a73a0b4bad62ed", [8, 18]),
    ("0x5777d92f208679db4b9778590fa3cab3ac9e2168", [18, 6]),
    ("0x3416cf6c708da44db2624d63ea0aaef7113527c6", [6, 6]),
];

/// As many calls in a list as the strictest public nodes take.
const MOST: usize = 10;
/// As quick as the quickest of these chains.
const BLOCK: u64 = 250_000_000;
const SLOT0: &str = "0x3850c7bd";

fn answer(request: &Request, world: &World<'_>) -> Response {
    if request.method != "POST" || request.header("content-type") != Some("application/json") {
        return Response::new(415, "text/plain", "invalid content type, only application/json is supported");
    }
    let body = match serde_json::from_slice::<Value>(&request.body) {
        Err(_) => fault("null", -32700, "\"parse error\""),
        Ok(Value::Array(calls)) if calls.is_empty() => fault("null", -32600, "\"empty batch\""),
        Ok(Value::Array(calls)) if calls.len() > MOST => fault("null", -32600, "\"batch too large\""),
        Ok(Value::Array(calls)) => {
            let ids: BTreeSet<String> = calls.iter().map(|call| call["id"].to_string()).collect();
            if ids.len() < calls.len() {
                fault("null", -32600, "\"ids must differ\"")
            } else {
                let answers: Vec<String> = calls.iter().rev().map(|call| one(call, world)).collect();
                format!("[{}]", answers.join(","))
            }
        }
        Ok(call) => one(&call, world),
    };
    Response::json(200, body)
}

fn one(call: &Value, world: &World<'_>) -> String {
    let id = call["id"].to_string();
    if call["jsonrpc"] != "2.0" || !call["id"].is_u64() {
        return fault("null", -32600, "\"invalid request\"");
    }
    let result = match call["method"].as_str() {
        Some("eth_blockNumber") => format!("0x{:x}", world.now / BLOCK),
        Some("eth_call") => match eth_call(&call["params"], world) {
            Ok(result) => result,
            Err((code, words)) => return fault(&id, code, &quoted(words)),
        },
        _ => return fault(&id, -32601, "\"the method does not exist/is not available\""),
    };
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":\"{result}\"}}")
}

fn eth_call(params: &Value, world: &World<'_>) -> Result<String, (i64, &'static str)> {
    let (Some(to), Some(data), "latest") =
        (params[0]["to"].as_str(), params[0]["data"].as_str(), params[1].as_str().unwrap_or_default())
    else {
        return Err((-32602, "invalid argument"));
    };
    // An account without code answers every call with nothing.
    let to = to.to_lowercase();
    let Some(index) = world.find(&to) else { return Ok("0x".into()) };
    if data != SLOT0 {
        return Err((3, "execution reverted"));
    }
    let decimals = DECIMALS.iter().find(|(address, _)| *address == to).map_or([18, 18], |(_, decimals)| *decimals);
    // A price that is none: a contract of another kind.
    let root = square_root(&world.quote(index).last, decimals, 96).ok_or((3, "execution reverted"))?;
    // The root; tick, index, cardinality, its next value, fee, lock.
    Ok(format!("0x{root:0>64x}{:064x}{:064x}{:064x}{:064x}{:064x}{:064x}", 198_000, 7, 723, 723, 0, 1))
}

/// `words` is JSON.
fn fault(id: &str, code: i64, words: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{code},\"message\":{words}}}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::Bench;

    #[test]
    fn requests_and_their_answers() {
        let bench = Bench::new(&[("0xab", "4"), ("0xcd", "0")]);
        let height = r#"{"jsonrpc":"2.0","id":0,"result":"0x1954fc400"}"#;
        let call = |id: u8, to: &str, data: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_call","params":[{{"to":"{to}","data":"{data}"}},"latest"]}}"#
            )
        };
        let words = |root: &str| {
            format!("0x{root:0>64}{:064x}{:064x}{:064x}{:064x}{:064x}{:064x}", 198_000, 7, 723, 723, 0, 1)
        };
        let ask_height = r#"{"jsonrpc":"2.0","id":0,"method":"eth_blockNumber","params":[]}"#;
        let many = [ask_height; 11].join(",");
        for (sent, expected) in [
            (ask_height.to_owned(), height.to_owned()),
            (
                format!("[{ask_height},{}]", call(1, "0xAB", SLOT0)),
                format!(r#"[{{"jsonrpc":"2.0","id":1,"result":"{}"}},{height}]"#, words("2000000000000000000000000")),
            ),
            (call(2, "0xcd", SLOT0), format!(r#"{{"jsonrpc":"2.0","id":2,"result":"{}"}}"#, words("0"))),
            (call(3, "0xef", SLOT0), r#"{"jsonrpc":"2.0","id":3,"result":"0x"}"#.to_owned()),
            (call(4, "0xab", "0x1234"), fault("4", 3, "\"execution reverted\"")),
            (call(5, "0xab", SLOT0).replace("latest", "now"), fault("5", -32602, "\"invalid argument\"")),
            (call(6, "0xab", SLOT0).replace("2.0", "1.0"), fault("null", -32600, "\"invalid request\"")),
            (format!("[{ask_height},{ask_height}]"), fault("null", -32600, "\"ids must differ\"")),
            (format!("[{many}]"), fault("null", -32600, "\"batch too large\"")),
            ("[]".to_owned(), fault("null", -32600, "\"empty batch\"")),
            ("[".to_owned(), fault("null", -32700, "\"parse error\"")),
        ] {
            let request = Request {
                method: "POST".into(),
                target: "/".into(),
                headers: vec![("content-type".into(), "application/json".into())],
                body: sent.clone().into(),
            };
            let response = answer(&request, &bench.world());
            let found = (response.status, String::from_utf8_lossy(&response.body).into_owned());
            assert_eq!(found, (200, expected), "{sent}");
        }
        assert_eq!(answer(&Request { method: "POST".into(), ..Request::default() }, &bench.world()).status, 415);
    }

    #[test]
    fn square_roots() {
        for (price, decimals, bits, root) in [
            ("4", [18, 18], 96, "2000000000000000000000000"),
            ("0.25", [6, 18], 96, "7a120000000000000000000000000"),
            ("2", [9, 6], 64, "b72dbe8b32bf07b"),
            ("0x1f", [6, 18], 96, "1f"),
        ] {
            let found = square_root(price, decimals, bits).map(|root| format!("{root:x}"));
            assert_eq!(found.as_deref(), Some(root), "{price}");
        }
        assert_eq!(square_root("NaN", [0, 0], 96), None);
    }
}
