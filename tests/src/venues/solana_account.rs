//! A Solana node as far as Raydium's concentrated liquidity pools need one: many accounts in one call.
//!
//! After the [method's page] and the [pool's layout]. Prices are those of token 1 for one token 0, whole tokens both.
//!
//! [method's page]: https://solana.com/docs/rpc/http/getmultipleaccounts
//! [pool's layout]: https://github.com/raydium-io/raydium-clmm

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::http::{Request, Response};
use crate::session::World;
use crate::venues::Profile;
use crate::venues::chain::square_root;

pub(super) const PROFILE: Profile = Profile {
    name: "solana-account",
    origins: &["https://api.mainnet-beta.solana.com", "https://solana-rpc.publicnode.com"],
    prices: PRICES,
    // 40 of one method in 10 seconds.
    budget: 240,
    answer: |request, _, world| answer(request, world),
    error: |status, text| fault(if status == 429 { 429 } else { -32005 }, text),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("3ucNos4NbumPLZNWztqGHNFFgkHeRMBQAVemeeomsUxv", "172.5101"),
    ("3nMFwZXwY1s1M5s8vYAHqd4wGs4iSxXE4LRoUMMYqEgF", "172.4876"),
    ("8sLbNZoA1cfnvMJLPfp98ZLAnFSYCFApfJKMbiXNLwxj", "172.5009"),
    ("2zVV22uNWdJNmkXpj5vCrMzwHGBoJdsyV7qACh29sK1w", "0.9871"),
    ("AS5MV3ear4NZPMWXbCsEz3AdbCaXEnq4ChdaWsvLgkcM", "1.2034"),
    ("DbsTAmxnFAWRvigSks6DahpKi5Ypz3w2BMKEejTJcGGm", "0.0271"),
    ("BZtgQEyS6eXUXicYPHecYQ7PybqodXQMvkjUbP4R8mUU", "0.9999"),
    ("So11111111111111111111111111111111111111112", "5.0123"),
    ("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "6.0123"),
    ("CAMMCzo5YL8w4VFF8KVHrK22GGUsp5VTaW7grrKgrWqK", "7.0123"),
];

const PROGRAM: &str = "CAMMCzo5YL8w4VFF8KVHrK22GGUsp5VTaW7grrKgrWqK";
/// Nanoseconds.
const SLOT: u64 = 400_000_000;
const DECIMALS: [u8; 2] = [9, 6];

fn answer(request: &Request, world: &World<'_>) -> Response {
    if request.method != "POST" || request.header("content-type") != Some("application/json") {
        return Response::new(415, "text/plain", "Supplied content type is not allowed. Content-Type: application/json is required");
    }
    let body = match serde_json::from_slice::<Value>(&request.body) {
        Err(_) => fault(-32700, "\"Parse error\""),
        Ok(call) if call["jsonrpc"] != "2.0" || !call["id"].is_u64() => fault(-32600, "\"Invalid request\""),
        Ok(call) if call["method"] != "getMultipleAccounts" => fault(-32601, "\"Method not found\""),
        Ok(call) => match accounts(&call["params"], world) {
            Ok(accounts) => format!(
                r#"{{"jsonrpc":"2.0","result":{{"context":{{"apiVersion":"2.3.6","slot":{}}},"value":[{}]}},"id":{}}}"#,
                world.now / SLOT,
                accounts.join(","),
                call["id"]
            ),
            Err(words) => fault(-32602, words),
        },
    };
    Response::json(200, body)
}

fn accounts(params: &Value, world: &World<'_>) -> Result<Vec<String>, &'static str> {
    let addresses = params[0].as_array().ok_or("\"Invalid params\"")?;
    if addresses.len() > 100 {
        return Err("\"Too many inputs provided; max 100\"");
    }
    let options = &params[1];
    if options["encoding"] != "base64" {
        return Err("\"Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding.\"");
    }
    let slice = |name: &str| options["dataSlice"][name].as_u64().and_then(|number| usize::try_from(number).ok());
    let addresses: Option<Vec<&str>> = addresses.iter().map(Value::as_str).collect();
    let addresses = addresses.ok_or("\"Invalid params\"")?;
    if !addresses.iter().all(|address| (32..=44).contains(&address.len())) {
        return Err("\"Invalid param: WrongSize\"");
    }
    let account = |address: &&str| {
        let Some(index) = world.find(address) else { return "null".to_owned() };
        let mut data = state(&world.quote(index).last);
        let whole = data.len();
        if let (Some(offset), Some(length)) = (slice("offset"), slice("length")) {
            data = data.into_iter().skip(offset).take(length).collect();
        }
        let data = STANDARD.encode(data);
        format!(
            r#"{{"data":["{data}","base64"],"executable":false,"lamports":865597210,"owner":"{PROGRAM}","rentEpoch":18446744073709551615,"space":{whole}}}"#
        )
    };
    Ok(addresses.iter().map(account).collect())
}

/// A pool's state. A price that is none makes an account of another kind.
fn state(price: &str) -> Vec<u8> {
    let mut state = vec![0xaa; 1544];
    let Some(root) = square_root(price, DECIMALS.map(u32::from), 64) else { return state };
    state[..8].copy_from_slice(&[247, 237, 227, 245, 215, 195, 222, 70]);
    state[233..235].copy_from_slice(&DECIMALS);
    let mut root = root.to_bytes_le();
    root.resize(16, 0);
    state[253..269].copy_from_slice(&root);
    state
}

/// `words` is JSON.
fn fault(code: i64, words: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","error":{{"code":{code},"message":{words}}},"id":1}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::Bench;

    const POOL: &str = "3ucNos4NbumPLZNWztqGHNFFgkHeRMBQAVemeeomsUxv";

    fn ask(body: &str) -> Value {
        let bench = Bench::new(&[(POOL, "4")]);
        let request = Request {
            method: "POST".into(),
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.into(),
            ..Request::default()
        };
        let response = answer(&request, &bench.world());
        assert_eq!(response.status, 200);
        serde_json::from_slice(&response.body).expect("JSON")
    }

    #[test]
    fn accounts_are_given_in_order_and_cut() {
        let other = POOL.replace('3', "4");
        let asked = format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"getMultipleAccounts","params":[["{other}","{POOL}"],{{"encoding":"base64","dataSlice":{{"offset":233,"length":36}}}}]}}"#
        );
        let said = ask(&asked);
        assert_eq!((&said["id"], &said["result"]["context"]["slot"]), (&7.into(), &4_250_000_000_u64.into()));
        assert_eq!(said["result"]["value"][0], Value::Null);
        let account = &said["result"]["value"][1];
        assert_eq!((&account["owner"], &account["space"]), (&PROGRAM.into(), &1544.into()));
        let data = STANDARD.decode(account["data"][0].as_str().expect("text")).expect("base 64");
        assert_eq!((data.len(), &data[..2]), (36, &DECIMALS[..]));
        // √(4 × 10^-3) × 2^64.
        let root = u128::from_le_bytes(data[20..].try_into().expect("16 bytes"));
        assert_eq!(root, 1_166_674_533_742_703_176);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let call = |params: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"getMultipleAccounts","params":{params}}}"#)
        };
        let many = vec![format!("\"{POOL}\""); 101].join(",");
        for (body, code) in [
            ("{", -32700),
            ("{}", -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":"getSlot"}"#, -32601),
            (&call("[]"), -32602),
            (&call(&format!("[[\"{POOL}\"]]")), -32602),
            (&call(r#"[["short"],{"encoding":"base64"}]"#), -32602),
            (&call(&format!(r#"[[{many}],{{"encoding":"base64"}}]"#)), -32602),
        ] {
            assert_eq!(ask(body)["error"]["code"], code, "{body}");
        }
    }
}
