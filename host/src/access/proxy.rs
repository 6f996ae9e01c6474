//! A proxy, as the operator wrote it. Its credentials are used and never printed; who speaks to it is `transport`'s.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

/// How a proxy is spoken to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ProxyKind {
    /// `CONNECT`; plain requests in full form.
    Http,
    Socks5,
}

impl ProxyKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socks5 => "socks5",
        }
    }
}

/// Where it is, and who we are to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub kind: ProxyKind,
    /// As in a URL: an IPv6 address stands in brackets.
    pub host: String,
    pub port: u16,
    /// User and password.
    pub credentials: Option<(String, String)>,
}

impl Proxy {
    /// `http://[USER:PASSWORD@]HOST[:PORT]` or `socks5://…`. The error does not repeat the text: a password may stand in
    /// it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const WANTED: &str =
            "must be http://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ before the host if need be";
        let url = Url::parse(text).map_err(|_| WANTED)?;
        let (kind, default_port) = match url.scheme() {
            "http" => (ProxyKind::Http, 80),
            "socks5" => (ProxyKind::Socks5, 1080),
            _ => return Err(WANTED),
        };
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let host = url.host_str().filter(|host| bare && !host.is_empty()).ok_or(WANTED)?.to_owned();
        let plain =
            |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| WANTED);
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some((plain(user)?, plain(password.unwrap_or_default())?)),
        };
        Ok(Self { kind, host, port: url.port().unwrap_or(default_port), credentials })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.kind.as_str(), self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_scheme_host_port_and_perhaps_who_asks() {
        let of = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (text, shown, credentials) in [
            ("http://proxy.example:3128", "http://proxy.example:3128", None),
            ("http://proxy.example/", "http://proxy.example:80", None),
            ("socks5://[::1]", "socks5://[::1]:1080", None),
            ("socks5://me:p%40ss%3A@127.0.0.1:9050", "socks5://127.0.0.1:9050", of("me", "p@ss:")),
            ("http://me@proxy.example:1", "http://proxy.example:1", of("me", "")),
        ] {
            let proxy = Proxy::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((proxy.to_string(), &proxy.credentials), (shown.to_owned(), &credentials), "{text}");
            assert!(!format!("{proxy:?}").contains("ss"), "{proxy:?}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_being_repeated() {
        for text in
            ["", "proxy:3128", "https://a", "socks4://a", "http://a/path", "http://a?b", "http://a:99999", "http://"]
        {
            let why = Proxy::parse(&text.replace("//a", "//me:secret@a")).expect_err(text);
            assert!(why.starts_with("must be http://HOST:PORT") && !why.contains("secret"), "{why}");
        }
    }
}
