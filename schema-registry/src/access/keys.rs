//! The keys by which tokens are checked: a JSON Web Key Set (RFC 7517). Pure.

use std::str::FromStr;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tidemesh_model::{Error, ErrorKind, Result};

/// How many keys a set may have.
const KEYS_MAX: usize = 100;

/// Every algorithm that may be allowed: those with a public key.
pub(crate) const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// An algorithm by its name in RFC 7518.
///
/// # Errors
///
/// `Config` for one without a public key, or none.
pub(crate) fn algorithm(name: &str) -> Result<Algorithm> {
    let known = Algorithm::from_str(name).ok().filter(|known| ALGORITHMS.contains(known));
    known.ok_or_else(|| {
        Error::new(ErrorKind::Config, "use the configuration")
            .because(
                "registry.tokens.algorithms: there are RS256, RS384, RS512, PS256, PS384, PS512, \
                 ES256, ES384 and EdDSA",
            )
            .with("found", name)
    })
}

/// One key, and what it may check.
#[derive(Debug)]
pub(crate) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(crate) decoding: DecodingKey,
}

/// All keys of an issuer.
#[derive(Debug, Default)]
pub(crate) struct KeySet(Vec<Key>);

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set. Keys of other kinds are passed over: an issuer may have them for others.
    ///
    /// # Errors
    ///
    /// `Malformed` if it is no set, has more than 100 keys or none that we can use.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let wrong = |because| Error::new(ErrorKind::Malformed, "read a key set").because(because);
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| wrong("it is no JSON Web Key Set").caused_by(error))?;
        if document.keys.len() > KEYS_MAX {
            return Err(wrong("it has more than 100 keys"));
        }
        let keys: Vec<Key> = document.keys.into_iter().filter_map(key).collect();
        if keys.is_empty() {
            return Err(wrong("it has no public key that signatures can be checked by"));
        }
        Ok(Self(keys))
    }

    /// The key of this name that may check this algorithm. A token that names none has its key found if
    /// there is but one that it can be.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self.0.iter().filter(|key| {
            key.algorithms.contains(&algorithm) && (id.is_none() || key.id.as_deref() == id)
        });
        let found = fitting.next()?;
        fitting.next().is_none().then_some(found)
    }
}

fn key(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return None;
    }
    let of_kind: Vec<Algorithm> = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => ALGORITHMS[..6].to_vec(),
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        // Least of all a shared secret: it has no place in a set that anybody may read.
        _ => return None,
    };
    let algorithms = match jwk.common.key_algorithm {
        None => of_kind,
        Some(own) => {
            let own = Algorithm::from_str(&own.to_string()).ok()?;
            of_kind.into_iter().filter(|algorithm| *algorithm == own).collect()
        }
    };
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    (!algorithms.is_empty()).then_some(Key { id: jwk.common.key_id, algorithms, decoding })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ec(kid: &str, more: Value) -> Value {
        let text = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
        let mut key = json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": text, "y": text});
        for (name, value) in more.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    fn set(keys: Value) -> Result<KeySet> {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn a_key_is_found_by_its_name_for_its_own_algorithm_alone() {
        let rsa = json!({"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB", "alg": "RS256"});
        let found = set(json!([ec("a", json!({})), ec("b", json!({})), rsa])).unwrap();
        assert!(found.find(Some("a"), Algorithm::ES256).is_some());
        assert!(found.find(Some("a"), Algorithm::RS256).is_none());
        assert!(found.find(Some("r"), Algorithm::RS256).is_some());
        assert!(found.find(Some("r"), Algorithm::RS512).is_none());
        assert!(found.find(Some("x"), Algorithm::ES256).is_none());
        assert!(found.find(None, Algorithm::RS256).is_some());
        assert!(found.find(None, Algorithm::ES256).is_none(), "it may be either");
    }

    #[test]
    fn shared_secrets_and_keys_for_encryption_are_no_keys() {
        let secret = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0"});
        set(json!([secret, ec("e", json!({"use": "enc"}))])).unwrap_err();
        let found = set(json!([secret, ec("a", json!({"use": "sig"}))])).unwrap();
        assert!(found.find(Some("s"), Algorithm::HS256).is_none());
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let many: Vec<Value> = (0..=KEYS_MAX).map(|kid| ec(&kid.to_string(), json!({}))).collect();
        for bytes in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":[1]}"#] {
            KeySet::read(bytes.as_bytes()).unwrap_err();
        }
        set(json!(many)).unwrap_err();
        algorithm("HS256").unwrap_err();
        algorithm("none").unwrap_err();
        assert_eq!(algorithm("EdDSA").unwrap(), Algorithm::EdDSA);
    }
}
