//! Bearer tokens: JSON Web Tokens (RFC 7519), checked by the keys of their issuer.

use std::collections::HashSet;

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};
use tidemesh_model::Result;

use super::denial::Denial;
use super::issuer::{Issuer, KeySource};
use super::{keys, signature};

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The most groups that a token may have; further ones are not looked at.
const GROUPS_MAX: usize = 1_000;

/// Which tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenConfig {
    /// The issuer's keys.
    pub keys: KeySource,
    /// What a token's `iss` must be.
    pub issuer: String,
    /// What a token's `aud` must have, one of these.
    pub audiences: Vec<String>,
    /// By which algorithms it may be signed, as RFC 7518 names them.
    pub algorithms: Vec<String>,
    /// Which claim says who somebody is.
    pub principal_claim: String,
    /// Which claim has the names of groups: an array or one text with spaces between; `a.b` is the
    /// member `b` of the claim `a`.
    pub groups_claim: Option<String>,
    /// How far clocks may be apart, in seconds.
    pub leeway_s: u64,
}

/// The names of every algorithm that may be allowed.
#[must_use]
pub fn token_algorithms() -> Vec<String> {
    keys::ALGORITHMS.iter().map(|algorithm| format!("{algorithm:?}")).collect()
}

/// Whom a token is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

/// How tokens are checked.
#[derive(Debug)]
pub(crate) struct Tokens {
    issuer: Issuer,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    principal_claim: String,
    groups_claim: Option<String>,
}

impl Tokens {
    /// To be called within a runtime.
    ///
    /// # Errors
    ///
    /// `Config` or `Malformed`, naming the key.
    pub(crate) fn open(config: &TokenConfig) -> Result<Self> {
        signature::install();
        let algorithms: Vec<Algorithm> =
            config.algorithms.iter().map(|name| keys::algorithm(name)).collect::<Result<_>>()?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&config.audiences);
        validation.required_spec_claims =
            ["exp", "iss", "aud"].map(str::to_owned).into_iter().collect::<HashSet<_>>();
        validation.validate_nbf = true;
        validation.leeway = config.leeway_s;
        Ok(Self {
            issuer: Issuer::open(&config.keys)?,
            algorithms,
            validation,
            principal_claim: config.principal_claim.clone(),
            groups_claim: config.groups_claim.clone(),
        })
    }

    /// Whom a token is about, if it holds.
    pub(crate) async fn check(&self, token: &str) -> std::result::Result<Bearer, Denial> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Denial::Unknown("the token is too long"));
        }
        let unread = Denial::Unknown("the token is none that is taken here");
        let header = decode_header(token).map_err(|_| unread)?;
        // Extensions that must be understood are not (RFC 7515, 4.1.11).
        if !self.algorithms.contains(&header.alg) || header.crit.is_some() {
            return Err(unread);
        }
        let id = header.kid.as_deref();
        let mut known = self.issuer.keys();
        if known.find(id, header.alg).is_none() {
            self.issuer.refresh().await;
            known = self.issuer.keys();
        }
        let key =
            known.find(id, header.alg).ok_or(Denial::Unknown("the token's key is unknown"))?;
        let mut validation = self.validation.clone();
        validation.algorithms = vec![header.alg];
        let token = decode::<Map<String, Value>>(token, &key.decoding, &validation)
            .map_err(|error| Denial::Unknown(problem(&error)))?;
        self.bearer(&token.claims).ok_or(Denial::Unknown("the token does not say who it is for"))
    }

    fn bearer(&self, claims: &Map<String, Value>) -> Option<Bearer> {
        let name =
            claim(claims, &self.principal_claim)?.as_str().filter(|name| !name.is_empty())?;
        let groups = self.groups_claim.as_deref().and_then(|path| claim(claims, path));
        let groups: Vec<String> = match groups {
            Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
            Some(Value::Array(list)) => {
                list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        let groups = groups.into_iter().take(GROUPS_MAX).collect();
        Some(Bearer { name: name.to_owned(), groups })
    }
}

/// A claim by its name, or by the names on the way to it: `realm_access.roles`.
fn claim<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(path) {
        return Some(found);
    }
    let (first, rest) = path.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, name| value.get(name))
}

/// What is wrong, without anything of the token.
fn problem(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token does not hold yet",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks exp, iss or aud",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        _ => "the token is none that is taken here",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_is_found_by_its_name_or_by_its_path() {
        let claims = json!({"sub": "ann", "https://x.y/groups": ["a"], "realm": {"roles": ["b"]}});
        let claims = claims.as_object().unwrap();
        assert_eq!(claim(claims, "https://x.y/groups"), Some(&json!(["a"])));
        assert_eq!(claim(claims, "realm.roles"), Some(&json!(["b"])));
        assert_eq!(claim(claims, "realm.none"), None);
        assert_eq!(claim(claims, "none"), None);
    }
}
