//! Where the host may connect to. Every URL of a plugin, every redirect and every address of a name passes through
//! here, and nowhere else is it decided.
//!
//! Granted by default: the origins that the plugin describes, over `https` and `wss`, at public addresses. The
//! operator may add origins and may send a described origin elsewhere; what the operator wrote may be plain or
//! private.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    Http,
    Https,
    Ws,
    Wss,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https, Self::Ws, Self::Wss].into_iter().find(|scheme| scheme.as_str() == text)
    }

    /// For requests, not for streams.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// Encrypted.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::Wss)
    }
}

/// Scheme, host and port.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

/// Why a URL or an address is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forbidden {
    NotAUrl(String),
    Scheme(String),
    Credentials,
    NotAnOrigin(String),
    NotGranted { origin: Origin, granted: String },
    Plain(Origin),
    PrivateAddress { host: String, address: IpAddr },
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAUrl(text) => write!(f, "{text} is not an absolute URL"),
            Self::Scheme(scheme) => write!(f, "scheme {scheme:?} is not one of http, https, ws, wss"),
            Self::Credentials => f.write_str("a URL must not carry credentials; use a secret in a header"),
            Self::NotAnOrigin(text) => write!(f, "an origin is scheme, host and port; {text:?} has more"),
            Self::NotGranted { origin, granted } => write!(
                f,
                "origin {origin} is not granted; granted are: {granted} (add it to the provider's allow_origins)"
            ),
            Self::Plain(origin) => {
                write!(f, "origin {origin} is not encrypted (add it to the provider's allow_origins to allow that)")
            }
            Self::PrivateAddress { host, address } => write!(
                f,
                "{host} is at {address}, which is not a public address (add its origin to the provider's allow_origins)"
            ),
        }
    }
}

impl std::error::Error for Forbidden {}

impl Origin {
    /// `wss://stream.binance.com:9443`: no path, query, credentials or fragment. The scheme's own port may be left
    /// out.
    pub fn parse(text: &str) -> Result<Self, Forbidden> {
        let url = parse_url(text)?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(Forbidden::NotAnOrigin(text.to_owned()));
        }
        Self::of(&url)
    }

    fn of(url: &Url) -> Result<Self, Forbidden> {
        let scheme = Scheme::parse(url.scheme()).ok_or_else(|| Forbidden::Scheme(url.scheme().to_owned()))?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(Forbidden::NotAUrl(url.to_string()));
        };
        // `example.com.` names the same host and must not pass for another.
        let host = host.strip_suffix('.').unwrap_or(host).to_owned();
        Ok(Self { scheme, host, port })
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = if self.scheme.is_secure() { 443 } else { 80 };
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port == default { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

fn parse_url(text: &str) -> Result<Url, Forbidden> {
    let shown = || text.chars().take(200).collect::<String>();
    let url = Url::parse(text).map_err(|_| Forbidden::NotAUrl(format!("{:?}", shown())))?;
    if Scheme::parse(url.scheme()).is_none() {
        return Err(Forbidden::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Forbidden::Credentials);
    }
    Ok(url)
}

/// What one provider may connect to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grants {
    described: Vec<Origin>,
    /// Where the same is served, by the origin that the plugin knows.
    mirrors: Vec<(Origin, Vec<Origin>)>,
    allowed: Vec<Origin>,
    redirected: Vec<(Origin, Origin)>,
}

/// A URL that may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admitted {
    /// Where to go: the plugin's URL, at the place the operator sends its origin to.
    pub url: Url,
    /// The origin as the plugin knows it: what limits are counted by.
    pub origin: Origin,
    /// Whether the operator wrote it, so that a private address is no surprise.
    pub private: bool,
}

impl Grants {
    /// `described` by the plugin, `allowed` by the operator on top, `redirected` by the operator from an origin to
    /// another.
    pub fn new(described: Vec<Origin>, allowed: Vec<Origin>, redirected: Vec<(Origin, Origin)>) -> Self {
        Self { described, mirrors: Vec::new(), allowed, redirected }
    }

    /// The same, with places that serve the same as an origin, in the order in which to try them.
    #[must_use]
    pub fn with_mirrors(self, mirrors: Vec<(Origin, Vec<Origin>)>) -> Self {
        Self { mirrors, ..self }
    }

    fn mirrors_of(&self, origin: &Origin) -> &[Origin] {
        let found = self.mirrors.iter().find(|(of, _)| of == origin);
        found.map_or(&[], |(_, instead)| instead)
    }

    /// How many places serve what an origin does: itself and its mirrors.
    pub fn places(&self, origin: &Origin) -> usize {
        1 + self.mirrors_of(origin).len()
    }

    /// Whether the operator wrote an origin of this host, so that its addresses may be private.
    pub fn allows_private(&self, host: &str) -> bool {
        let targets = self.redirected.iter().map(|(_, to)| to);
        self.allowed.iter().chain(targets).any(|origin| origin.host == host)
    }

    /// Decides on a URL. Its name still has to be resolved; see [`Admitted::address`].
    pub fn admit(&self, text: &str) -> Result<Admitted, Forbidden> {
        self.admit_at(text, 0)
    }

    /// As [`Grants::admit`], at one of the [`Grants::places`] that serve the same: 0 is where the URL says.
    pub fn admit_at(&self, text: &str, place: usize) -> Result<Admitted, Forbidden> {
        let mut url = parse_url(text)?;
        let origin = Origin::of(&url)?;
        let mirror = place.checked_sub(1).and_then(|place| self.mirrors_of(&origin).get(place));
        let at = mirror.unwrap_or(&origin);
        if let Some((_, target)) = self.redirected.iter().find(|(from, _)| from == at) {
            move_to(&mut url, target)?;
            return Ok(Admitted { url, origin, private: true });
        }
        let private = self.allowed.contains(at) || self.redirected.iter().any(|(_, to)| to == at);
        if !private {
            // Where the mirror of a granted origin is, was described or written with it.
            if !self.described.contains(&origin) && !self.allowed.contains(&origin) {
                return Err(Forbidden::NotGranted { granted: self.to_string(), origin });
            }
            if !at.scheme.is_secure() {
                return Err(Forbidden::Plain(at.clone()));
            }
        }
        if let Some(mirror) = mirror {
            move_to(&mut url, mirror)?;
        }
        let admitted = Admitted { url, origin, private };
        let literal = match admitted.url.host() {
            Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
            _ => None,
        };
        if let Some(address) = literal {
            admitted.address(address)?;
        }
        Ok(admitted)
    }
}

/// The same path and query at another origin.
fn move_to(url: &mut Url, target: &Origin) -> Result<(), Forbidden> {
    let broken = || Forbidden::NotAUrl(target.to_string());
    // `set_scheme` refuses to leave the special schemes only, and all four are special.
    url.set_scheme(target.scheme.as_str()).map_err(|()| broken())?;
    url.set_host(Some(&target.host)).map_err(|_| broken())?;
    url.set_port(Some(target.port)).map_err(|()| broken())
}

impl Admitted {
    /// Decides on an address that the URL's host resolved to.
    pub fn address(&self, address: IpAddr) -> Result<(), Forbidden> {
        if self.private || is_public(address) {
            return Ok(());
        }
        Err(Forbidden::PrivateAddress { host: self.origin.host.clone(), address })
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = self.described.iter().chain(&self.allowed).map(Origin::to_string);
        f.write_str(&all.next().unwrap_or_else(|| "none".to_owned()))?;
        all.try_for_each(|origin| write!(f, ", {origin}"))
    }
}

/// Whether an address can belong to an outside service. Loopback, private, link-local (and with it the clouds'
/// metadata address), shared, reserved, documentation and multicast addresses cannot; nor can IPv6 forms that carry
/// one of them.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 10
        || a == 127
        || (a == 100 && b & 0xc0 == 64)
        || (a == 169 && b == 254)
        || (a == 172 && b & 0xf0 == 16)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 168)
        || (a == 198 && b & 0xfe == 18)
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // ::, ::1, IPv4-compatible and IPv4-mapped.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => embedded(high, low) && segments[..6] != [0; 6],
        // NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, ..] => false,
        // 6to4, Teredo, documentation.
        [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, 0 | 0xdb8, ..] => false,
        // Global unicast is 2000::/3: unique local, link-local, site-local and multicast are not.
        _ => segments[0] & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::parse(text).expect("a good origin")
    }

    fn grants() -> Grants {
        Grants::new(
            vec![
                origin("https://api.venue.com"),
                origin("wss://ws.venue.com:9443"),
                origin("http://old.venue.com"),
                origin("https://10.0.0.1"),
            ],
            vec![origin("http://127.0.0.1:8080")],
            vec![(origin("wss://sim.venue.com"), origin("ws://127.0.0.1:4000"))],
        )
    }

    #[track_caller]
    fn check(url: &str, expected: Result<&str, &str>) {
        match (grants().admit(url), expected) {
            (Ok(admitted), Ok(url)) => assert_eq!(admitted.url.as_str(), url),
            (Err(why), Err(part)) => assert!(why.to_string().contains(part), "{url}: {why}"),
            (found, _) => panic!("{url}: {found:?}"),
        }
    }

    #[test]
    fn a_url_is_admitted_only_at_a_granted_origin() {
        check("https://api.venue.com/v3?x=1", Ok("https://api.venue.com/v3?x=1"));
        check("https://API.venue.com:443/", Ok("https://api.venue.com/"));
        check("https://api.venue.com./", Ok("https://api.venue.com./"));
        check("wss://ws.venue.com:9443/stream", Ok("wss://ws.venue.com:9443/stream"));
        check("http://127.0.0.1:8080/x", Ok("http://127.0.0.1:8080/x"));
        check("wss://sim.venue.com/ws?a=b", Ok("ws://127.0.0.1:4000/ws?a=b"));
        for (url, why) in [
            ("wss://ws.venue.com/stream", "not granted"),
            ("https://api.venue.com:8443/", "not granted"),
            ("http://api.venue.com/", "not granted"),
            ("https://api.venue.com.evil.com/", "not granted"),
            ("https://api.venue.com@evil.com/", "credentials"),
            ("https://user:pw@api.venue.com/", "credentials"),
            ("http://old.venue.com/", "not encrypted"),
            ("https://10.0.0.1/", "not a public address"),
            ("https://127.0.0.1:8080/", "not granted"),
            ("http://2130706433:8081/", "not granted"),
            ("file:///etc/passwd", "scheme"),
            ("ftp://api.venue.com/", "scheme"),
            ("//api.venue.com/", "absolute"),
            ("", "absolute"),
            ("https://", "absolute"),
        ] {
            check(url, Err(why));
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://a.com:443/").to_string(), "https://a.com");
        assert_eq!(origin("ws://a.com:9443").to_string(), "ws://a.com:9443");
        for bad in ["https://a.com/path", "https://a.com?x", "a.com", "https://u@a.com", "mailto:a@b.c"] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_must_not_lead_to_a_private_address() {
        let admitted = grants().admit("https://api.venue.com/").expect("granted");
        for (address, public) in [
            ("93.184.216.34", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:93.184.216.34", true),
            ("64:ff9b::7f00:1", false),
            ("2002:7f00:1::", false),
            ("2606:2800:220:1::1", true),
            ("ff02::1", false),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(admitted.address(address).is_ok(), public, "{address}");
        }
    }
}
