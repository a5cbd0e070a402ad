//! Who may send: clients with a token each, of which a file holds the SHA-256, and the topics that each may
//! use. The file is read again when it changes.

use crate::config::wrong;
use crate::pattern::Pattern;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tidemesh_http::{Watched, read_file};
use tidemesh_model::{Error, Result};

/// The most bytes of the file.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 1_024;

type Hash = [u8; 32];

/// A client that is known.
#[derive(Debug)]
pub(crate) struct Client {
    name: String,
    topics: Vec<Pattern>,
}

/// The file, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    client: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    token_sha256: String,
    topics: Vec<String>,
}

/// Clients by the hashes of their tokens.
type Clients = HashMap<Hash, Arc<Client>>;

/// Lets clients in or not.
#[derive(Debug)]
pub(crate) struct Guard(Arc<Watched<Clients>>);

/// Why somebody is not known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown(pub(crate) &'static str);

impl Client {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may use this topic.
    pub(crate) fn may_use(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| pattern.matches(topic))
    }
}

impl Guard {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// `Config`, naming the file and what is wrong, and nothing of what stands in it.
    pub(crate) fn open(file: &Path) -> Result<Self> {
        let path = file.to_owned();
        let load = move || read(&path);
        Ok(Self(Watched::open("the gateway's clients", vec![file.to_owned()], load)?))
    }

    /// Looks at the file now and then, for as long as the guard is there.
    pub(crate) fn follow(&self) {
        self.0.follow();
    }

    /// Who sends a request: by `Bearer TOKEN`, or by `Basic` with name and token.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Arc<Client>, Unknown> {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, rest)) = value.and_then(|value| value.split_once(' ')) else {
            return Err(Unknown("nobody is named"));
        };
        let rest = rest.trim();
        if rest.len() > TOKEN_BYTES_MAX {
            return Err(Unknown("the token is too long"));
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.known(rest);
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Unknown("this way to log in is not open here"));
        }
        let decoded = BASE64_STANDARD.decode(rest).ok();
        let clear = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let (name, token) = clear.split_once(':').unwrap_or_default();
        let client = self.known(token)?;
        if client.name == name { Ok(client) } else { Err(UNKNOWN) }
    }

    /// What is compared are hashes, of which a caller cannot choose the bytes: the time that looking one up
    /// takes tells nothing of those that are there.
    fn known(&self, token: &str) -> Result<Arc<Client>, Unknown> {
        self.0.get().get(&hash(token)).cloned().ok_or(UNKNOWN)
    }
}

const UNKNOWN: Unknown = Unknown("the token is none that is taken here");

fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

fn read(file: &Path) -> Result<Clients> {
    let bytes = read_file(file, "gateway.clients_file", FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("clients_file", "it is no UTF-8"));
    let clients = text.and_then(|text| parse(&text));
    clients.map_err(|error| error.with("file", file.display()))
}

fn parse(text: &str) -> Result<Clients> {
    // The parser's own message would repeat the line that it stands in.
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        wrong(
            "clients_file",
            "it must be TOML of [[client]] tables with name, token_sha256 and topics",
        )
        .with("line", line)
    })?;
    if file.client.is_empty() {
        return Err(wrong("clients_file", "there is no client in it, so nobody could send"));
    }
    let mut clients = Clients::new();
    let mut names = std::collections::HashSet::new();
    for entry in file.client {
        let name = entry.name;
        let wrong = |problem| -> Error { wrong("clients_file", problem).with("client", &name) };
        if name.is_empty() || name.contains(':') || !names.insert(name.clone()) {
            return Err(wrong("a name is there once, is not empty, and has no colon"));
        }
        let topics: Vec<_> = entry.topics.into_iter().map(Pattern::new).collect();
        if topics.iter().any(Pattern::is_wrong) {
            return Err(wrong("topics are names, or beginnings of names with a * behind them"));
        }
        let hash = unhex(&entry.token_sha256)
            .ok_or_else(|| wrong("token_sha256 must be 64 hexadecimal digits"))?;
        let client = Arc::new(Client { name: name.clone(), topics });
        if clients.insert(hash, client).is_some() {
            return Err(wrong("another client has the same token"));
        }
    }
    Ok(clients)
}

fn unhex(text: &str) -> Option<Hash> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let bytes: Vec<u8> =
        digits?.chunks(2).map(|pair| pair.iter().fold(0, |all, d| all << 4 | d)).collect();
    if text.len() == 64 { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn entry(name: &str, token: &str, topics: &str) -> String {
        let hash: String = hash(token).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[[client]]\nname = \"{name}\"\ntoken_sha256 = \"{hash}\"\ntopics = [{topics}]\n")
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_client_is_known_by_its_token_and_has_its_topics() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clients.toml");
        std::fs::write(&file, entry("shop", "hush", "\"shop.*\"") + &entry("b", "x", "")).unwrap();
        let guard = Guard::open(&file).unwrap();
        let shop = guard.admit(&headers("Bearer hush")).unwrap();
        assert!(shop.may_use("shop.orders") && !shop.may_use("other"));
        let basic = format!("basic {}", BASE64_STANDARD.encode("shop:hush"));
        assert!(guard.admit(&headers(&basic)).is_ok());
        let others = format!("Basic {}", BASE64_STANDARD.encode("b:hush"));
        for unknown in [&*others, "Bearer no", "Bearer ", "Basic !", "Digest hush", "x"] {
            assert!(guard.admit(&headers(unknown)).is_err(), "{unknown}");
        }
        assert_eq!(guard.admit(&HeaderMap::new()).unwrap_err(), Unknown("nobody is named"));
    }

    #[test]
    fn a_file_that_has_changed_is_taken_up_if_it_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clients.toml");
        std::fs::write(&file, entry("a", "one", "\"*\"")).unwrap();
        let guard = Guard::open(&file).unwrap();
        std::fs::write(&file, "nonsense").unwrap();
        guard.0.check();
        assert!(guard.admit(&headers("Bearer one")).is_ok());
        std::fs::write(&file, entry("a", "two", "\"*\", \"b\"")).unwrap();
        guard.0.check();
        assert!(guard.admit(&headers("Bearer one")).is_err());
        assert!(guard.admit(&headers("Bearer two")).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named_and_nothing_of_the_file_is_repeated() {
        let short = "[[client]]\nname = \"a\"\ntoken_sha256 = \"secret\"\ntopics = []\n";
        let twice = entry("a", "t", "") + &entry("b", "t", "");
        for (text, named) in [
            ("", "no client"),
            ("\n[[client]]\ntoken = \"secret\"\n", "token_sha256 and topics"),
            (short, "64 hexadecimal"),
            (&*twice, "the same token"),
            (&*(entry("a", "t", "") + &entry("a", "u", "")), "there once"),
            (&*entry("a", "t", "\"a*b\""), "a * behind"),
        ] {
            let told = parse(text).unwrap_err().report();
            assert!(told.contains(named) && !told.contains("secret"), "{named}: {told}");
        }
    }
}
