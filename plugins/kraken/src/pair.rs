//! The venue's names for one pair: `BTC/USD` to WebSocket v2, `XBTUSD` to the REST API, which answers as `XXBTZUSD`.

/// Assets with an old name of their own: today's, and the REST API's.
const RENAMED: [(&str, &str); 2] = [("BTC", "XBT"), ("DOGE", "XDG")];

/// The name in WebSocket v2. Only what has a slash can be one.
pub(crate) fn for_stream(id: &str) -> String {
    let Some((base, quote)) = id.split_once('/') else {
        return id.to_uppercase();
    };
    let modern = |asset: &str| {
        // Tokens of shares end in a small letter: `AAPLx`.
        let capitals = match asset.strip_suffix('x') {
            Some(share) if !share.is_empty() && share == share.to_uppercase() => asset.to_owned(),
            _ => asset.to_uppercase(),
        };
        let renamed = RENAMED.iter().find(|(_, old)| *old == capitals);
        renamed.map_or(capitals, |(modern, _)| (*modern).to_owned())
    };
    format!("{}/{}", modern(base), modern(quote))
}

/// The name in the REST API, the same for an id and for whatever spelling the venue answers with.
pub(crate) fn for_rest(id: &str) -> String {
    let id = id.to_uppercase();
    if let Some((base, quote)) = id.split_once('/') {
        let old = |asset: &str| {
            let renamed = RENAMED.iter().find(|(modern, _)| *modern == asset);
            renamed.map_or(asset, |(_, old)| old).to_owned()
        };
        return format!("{}{}", old(base), old(quote));
    }
    let mut name = without_prefixes(&id);
    for (modern, old) in RENAMED {
        if let Some(quote) = name.strip_prefix(modern).filter(|quote| !quote.is_empty()) {
            name = format!("{old}{quote}");
        }
        if let Some(base) = name.strip_suffix(modern).filter(|base| !base.is_empty()) {
            name = format!("{base}{old}");
        }
    }
    name
}

/// The oldest pairs carry an X before a coin and a Z before a currency: `XXBTZUSD`, `XETHXXBT`.
fn without_prefixes(name: &str) -> String {
    match name.as_bytes() {
        [b'X' | b'Z', _, _, _, b'X' | b'Z', _, _, _] if name.is_ascii() => {
            format!("{}{}", &name[1..4], &name[5..])
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_streams() {
        for (id, name) in [
            ("BTC/USD", "BTC/USD"),
            ("xbt/usd", "BTC/USD"),
            ("XDG/XBT", "DOGE/BTC"),
            ("SOL/USD", "SOL/USD"),
            ("AAPLx/usd", "AAPLx/USD"),
            ("avax/usd", "AVAX/USD"),
            ("x/usd", "X/USD"),
        ] {
            assert_eq!(for_stream(id), name, "{id}");
        }
    }

    #[test]
    fn names_in_rest() {
        for (id, name) in [
            ("BTC/USD", "XBTUSD"),
            ("XBT/USD", "XBTUSD"),
            ("XBTUSD", "XBTUSD"),
            ("btcusd", "XBTUSD"),
            ("XXBTZUSD", "XBTUSD"),
            ("ETH/BTC", "ETHXBT"),
            ("XETHXXBT", "ETHXBT"),
            ("ETHBTC", "ETHXBT"),
            ("DOGE/USD", "XDGUSD"),
            ("XDGUSD", "XDGUSD"),
            ("XXDGXXBT", "XDGXBT"),
            ("DOGEBTC", "XDGXBT"),
            ("SOL/USD", "SOLUSD"),
            ("XTZUSD", "XTZUSD"),
            ("WBTC/BTC", "WBTCXBT"),
            ("WBTCXBT", "WBTCXBT"),
            ("XÄÄÄ", "XÄÄÄ"),
        ] {
            assert_eq!(for_rest(id), name, "{id}");
        }
    }
}
