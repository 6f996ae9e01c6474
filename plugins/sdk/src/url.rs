//! Parts of URLs. Requests are made in `http`.

use std::fmt::Write as _;

/// Percent-encodes everything that is not a letter, a digit or one of `-._~`, so that any id may stand in a query.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => _ = write!(encoded, "%{byte:02X}"),
        }
    }
    encoded
}

/// Cuts a list into pieces whose lengths add up to at most `room` each, in order. One that is longer by itself gets a
/// piece of its own: the venue may say what it thinks of it.
pub fn fill<T>(items: impl IntoIterator<Item = T>, room: usize, length: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut pieces: Vec<Vec<T>> = Vec::new();
    let mut left = 0;
    for item in items {
        let needs = length(&item);
        match pieces.last_mut() {
            Some(piece) if needs <= left => {
                left -= needs;
                piece.push(item);
            }
            _ => {
                left = room.saturating_sub(needs);
                pieces.push(vec![item]);
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding() {
        assert_eq!(encode(r#"["BTC/USD"]"#), "%5B%22BTC%2FUSD%22%5D");
        assert_eq!(encode("a-b_c.d~e ä&${secret.X}"), "a-b_c.d~e%20%C3%A4%26%24%7Bsecret.X%7D");
    }

    #[test]
    fn filling() {
        let fill = |items: &[&'static str]| fill(items.to_vec(), 5, |item| item.len());
        assert_eq!(fill(&[]), Vec::<Vec<&str>>::new());
        assert_eq!(fill(&["aa", "bbb", "c"]), [vec!["aa", "bbb"], vec!["c"]]);
        assert_eq!(fill(&["longer than five", "b"]), [vec!["longer than five"], vec!["b"]]);
    }
}
