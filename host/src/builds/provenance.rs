//! Whether a plugin's file may be loaded: by the digest that was pinned, and by who signed it. Looks at bytes that others
//! have read, and decides; the cryptography is `ring`'s.
//!
//! Beside `NAME.wasm` lies `NAME.wasm.sig`: text with a line of base64 for each signature, so that several keys may sign;
//! lines that begin with `#` say things to people. Signed is not the digest alone but what it is the digest of, so that
//! a signature made for something else is worth nothing here.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::contract::digest::Digest;

/// Largest file of signatures that is read.
pub const MAX_SIGNATURES: usize = 16 << 10;

const DOMAIN: &[u8] = b"feedgate plugin v1";

/// What a file needs to be loaded.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    #[default]
    None,
    /// The digest that was seen first under its name, or that the operator wrote.
    Pin,
    /// A signature by one of the trusted keys.
    Signature,
}

/// What the operator asks of every file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    pub require: Require,
    pub trusted_keys: Vec<PublicKey>,
}

/// What is known of where a file comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provenance {
    pub digest: Digest,
    /// The first of the trusted keys that signed it.
    pub signed_by: Option<PublicKey>,
    /// Nothing was pinned yet: this digest is to be.
    pub first_use: bool,
}

/// Why a file is not loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unproven {
    #[error("is sha256 {found}, and the configuration wants {written} (knob: plugin.NAME.sha256)")]
    NotAsWritten { found: Digest, written: Digest },
    #[error(
        "is sha256 {found}, and {pinned} is pinned; `feedgate plugin pin NAME {found}` accepts it \
         (knob: plugins.require = \"pin\")"
    )]
    NotAsPinned { found: Digest, pinned: Digest },
    #[error(
        "is not signed: no NAME.wasm.sig lies beside it; `feedgate plugin sign` makes one (knob: plugins.require = \
         \"signature\")"
    )]
    NotSigned(Digest),
    #[error(
        "is signed by none of plugins.trusted_keys, or was changed after it was signed (sha256 {0}); sign this file, or \
         trust its author's key"
    )]
    NotTrusted(Digest),
    #[error("its signatures cannot be read: {0}")]
    Signatures(String),
}

impl Unproven {
    /// The file's; `None` where it is not about the file.
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::NotAsWritten { found, .. } | Self::NotAsPinned { found, .. } => Some(*found),
            Self::NotSigned(found) | Self::NotTrusted(found) => Some(*found),
            Self::Signatures(_) => None,
        }
    }
}

/// Decides on a file by its digest. `written` stands in the configuration, `pinned` is remembered, `signatures` is the
/// content of the file beside it.
pub fn check(
    policy: &Policy,
    digest: Digest,
    written: Option<Digest>,
    pinned: Option<Digest>,
    signatures: Option<&[u8]>,
) -> Result<Provenance, Unproven> {
    if let Some(written) = written.filter(|written| *written != digest) {
        return Err(Unproven::NotAsWritten { found: digest, written });
    }
    let signed_by = signatures.and_then(|signatures| signer(&policy.trusted_keys, digest, signatures));
    match (policy.require, pinned) {
        // What the operator wrote is newer than what was remembered.
        (Require::Pin, Some(pinned)) if pinned != digest && written.is_none() => {
            return Err(Unproven::NotAsPinned { found: digest, pinned });
        }
        (Require::Signature, _) if signatures.is_none() => return Err(Unproven::NotSigned(digest)),
        (Require::Signature, _) if signed_by.is_none() => return Err(Unproven::NotTrusted(digest)),
        _ => {}
    }
    Ok(Provenance { digest, signed_by, first_use: pinned.is_none() })
}

fn signer(keys: &[PublicKey], digest: Digest, signatures: &[u8]) -> Option<PublicKey> {
    let signatures: Vec<Vec<u8>> = lines(signatures).filter_map(|line| BASE64_STANDARD.decode(line).ok()).collect();
    keys.iter().find(|key| signatures.iter().any(|signature| key.signed(digest, signature))).copied()
}

fn lines(signatures: &[u8]) -> impl Iterator<Item = &str> {
    let text = std::str::from_utf8(signatures).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn message(digest: Digest) -> Vec<u8> {
    [DOMAIN, digest.as_bytes()].concat()
}

/// Who may sign: an Ed25519 key, written `ed25519:BASE64`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Whether this key signed the digest.
    pub fn signed(&self, digest: Digest, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&message(digest), signature).is_ok()
    }

    /// Whether one of the signatures in a file is this key's.
    pub fn signed_one_of(&self, digest: Digest, signatures: &[u8]) -> bool {
        signer(&[*self], digest, signatures).is_some()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", BASE64_STANDARD.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = text.strip_prefix("ed25519:").and_then(|text| BASE64_STANDARD.decode(text).ok());
        let key = key.and_then(|key| key.try_into().ok());
        key.map(Self).ok_or("a key is written ed25519:BASE64, as `feedgate plugin keygen` prints it")
    }
}

/// Signs plugins.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A new key, as the PEM text that is to be kept.
    pub fn generate() -> Result<(Self, Zeroizing<String>), String> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let made = made.map_err(|_| "the system gives no random numbers".to_owned())?;
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(made.as_ref()));
        let mut pem = Zeroizing::new(String::with_capacity(2 * encoded.len() + 100));
        pem.push_str("-----BEGIN PRIVATE KEY-----\n");
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, behind) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = behind;
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        Ok((Self::from_pem(pem.as_bytes())?, pem))
    }

    /// As `keygen` or `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|error| format!("is no PEM: {error}"))?;
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der());
        key.map(Self).map_err(|error| format!("holds no Ed25519 key: {error}"))
    }

    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(key)
    }

    /// The content of the file of signatures with this one in it. Signatures of the same file stay, those of another
    /// are dropped.
    pub fn sign(&self, digest: Digest, known: Option<&[u8]>) -> String {
        let heading = format!("# sha256 {digest}");
        let known = known.and_then(|known| std::str::from_utf8(known).ok()).unwrap_or_default();
        let same_file = known.lines().next() == Some(heading.as_str());
        let ours = BASE64_STANDARD.encode(self.0.sign(&message(digest)));
        let theirs = lines(if same_file { known.as_bytes() } else { b"" }).filter(|line| *line != ours);
        let all: Vec<&str> = [heading.as_str()].into_iter().chain(theirs).chain([ours.as_str()]).collect();
        all.join("\n") + "\n"
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::digest_of;

    #[test]
    fn what_is_asked_is_what_is_needed() {
        let (ours, theirs) = (SigningKey::generate().expect("random").0, SigningKey::generate().expect("random").0);
        let (good, other) = (digest_of(b"good"), digest_of(b"other"));
        let signed = ours.sign(good, None);
        let both = theirs.sign(good, Some(signed.as_bytes()));
        let (foreign, moved) = (theirs.sign(good, None), ours.sign(other, None));
        // A signature of the bare digest, made for something else.
        let bare = BASE64_STANDARD.encode(ours.0.sign(good.as_bytes()));
        let policy = |require| Policy { require, trusted_keys: vec![ours.public()] };
        #[track_caller]
        fn check_one(found: Result<Provenance, Unproven>, expected: Result<(bool, bool), &str>) {
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!((found.signed_by.is_some(), found.first_use), expected),
                (Err(why), Err(words)) => assert!(why.to_string().contains(words), "{why}"),
                (found, _) => panic!("{found:?}, and not {expected:?}"),
            }
        }
        for (require, written, pinned, signatures, expected) in [
            (Require::None, None, None, None, Ok((false, true))),
            (Require::None, None, Some(other), None, Ok((false, false))),
            (Require::None, Some(good), None, Some(&signed), Ok((true, true))),
            (Require::None, None, None, Some(&foreign), Ok((false, true))),
            (Require::None, Some(other), None, Some(&signed), Err("knob: plugin.NAME.sha256")),
            (Require::Pin, None, None, None, Ok((false, true))),
            (Require::Pin, None, Some(good), None, Ok((false, false))),
            (Require::Pin, None, Some(other), Some(&signed), Err("feedgate plugin pin NAME")),
            (Require::Pin, Some(good), Some(other), None, Ok((false, false))),
            (Require::Signature, None, None, None, Err("is not signed")),
            (Require::Signature, Some(good), Some(good), None, Err("is not signed")),
            (Require::Signature, None, None, Some(&signed), Ok((true, true))),
            (Require::Signature, None, Some(other), Some(&signed), Ok((true, false))),
            (Require::Signature, None, None, Some(&both), Ok((true, true))),
            (Require::Signature, None, None, Some(&foreign), Err("signed by none of plugins.trusted_keys")),
            (Require::Signature, None, None, Some(&moved), Err("or was changed after it was signed")),
            (Require::Signature, None, None, Some(&bare), Err("signed by none")),
            (Require::Signature, Some(other), None, Some(&signed), Err("plugin.NAME.sha256")),
        ] {
            let signatures = signatures.map(String::as_bytes);
            check_one(check(&policy(require), good, written, pinned, signatures), expected);
        }
        check_one(check(&policy(Require::Signature), good, None, None, Some(b"\xff\n====")), Err("signed by none"));
        let nobody = Policy { require: Require::Signature, trusted_keys: Vec::new() };
        check_one(check(&nobody, good, None, None, Some(signed.as_bytes())), Err("signed by none"));
    }

    #[test]
    fn keys_are_written_and_read_again() {
        let (key, pem) = SigningKey::generate().expect("random");
        let again = SigningKey::from_pem(pem.as_bytes()).expect("just written");
        assert_eq!(again.public(), key.public());
        let written = key.public().to_string();
        assert_eq!(written.parse(), Ok(key.public()));
        assert!(!format!("{key:?}").contains(pem.lines().nth(1).expect("a line")));
        for bad in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", &written[8..], &format!("{written}A")] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
        for bad in ["", "no PEM", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(SigningKey::from_pem(bad.as_bytes()).is_err(), "{bad}");
        }
        // As OpenSSL 3 writes one: version 1, without the public key in it. That of RFC 8410.
        let openssl = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----";
        let key = SigningKey::from_pem(openssl.as_bytes()).expect("a good one");
        assert_eq!(key.public().to_string(), "ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=");
    }

    #[test]
    fn several_keys_sign_one_file_and_none_signs_twice() {
        let (ours, theirs) = (SigningKey::generate().expect("random").0, SigningKey::generate().expect("random").0);
        let (one, two) = (digest_of(b"one"), digest_of(b"two"));
        let mut text = ours.sign(one, None);
        for key in [&theirs, &ours, &theirs] {
            text = key.sign(one, Some(text.as_bytes()));
        }
        assert_eq!(text.lines().count(), 3);
        for key in [&ours, &theirs] {
            assert!(key.public().signed_one_of(one, text.as_bytes()));
            assert!(!key.public().signed_one_of(two, text.as_bytes()));
        }
        // Built anew: what was signed is no longer there.
        text = ours.sign(two, Some(text.as_bytes()));
        assert_eq!(text.lines().count(), 2);
    }
}
