//! Bearer tokens, made by an issuer of the test's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA512, RsaKeyPair,
};
use serde_json::{Value, json};
use tidemesh_schema_registry::{KeySource, TokenConfig, token_algorithms};

use crate::server::{Server, Visitor, grants, record};

const ISSUER: &str = "https://issuer.example";

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Three keys, as many kinds.
struct Issuer {
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
    rsa: RsaKeyPair,
}

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        // `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform DER` (PKCS #1), for
        // tests alone.
        let rsa = RsaKeyPair::from_der(include_bytes!("../../testdata/rsa-test.der")).unwrap();
        Self {
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(kind, ec.as_ref(), &random).unwrap(),
            rsa,
        }
    }

    fn keys(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        let rsa: ring::rsa::PublicKeyComponents<Vec<u8>> = self.rsa.public().into();
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig",
             "x": encoded(self.ed.public_key())},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256",
             "x": encoded(&point[1..33]), "y": encoded(&point[33..])},
            {"kty": "RSA", "kid": "rsa", "n": encoded(&rsa.n),
             "e": encoded(&rsa.e)},
            {"kty": "oct", "kid": "secret", "k": encoded("secret")},
        ]})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let (bytes, random) = (message.as_bytes(), SystemRandom::new());
        let rsa = |encoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(encoding, &random, bytes, &mut signature).unwrap();
            signature
        };
        let signature = match header["alg"].as_str().unwrap() {
            "EdDSA" => self.ed.sign(bytes).as_ref().to_vec(),
            "ES256" => self.ec.sign(&random, bytes).unwrap().as_ref().to_vec(),
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "PS512" => rsa(&RSA_PSS_SHA512),
            "HS256" => {
                // The confusion: the public key as if it were a secret that both sides share.
                let secret = self.rsa.public().as_ref();
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
                ring::hmac::sign(&key, bytes).as_ref().to_vec()
            }
            _ => Vec::new(),
        };
        format!("{message}.{}", encoded(signature))
    }

    fn token(&self, algorithm: &str, kid: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": ["registry", "other"], "sub": "ann", "exp": now() + 600,
            "realm": {"roles": ["readers"]},
        });
        change(&mut claims);
        self.sign(&json!({"alg": algorithm, "typ": "JWT", "kid": kid}), &claims)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn config(keys: KeySource) -> TokenConfig {
    TokenConfig {
        keys,
        issuer: ISSUER.to_owned(),
        audiences: vec!["registry".to_owned()],
        algorithms: token_algorithms(),
        principal_claim: "sub".to_owned(),
        groups_claim: Some("realm.roles".to_owned()),
        leeway_s: 30,
    }
}

async fn started(keys: KeySource) -> Server {
    Server::start_with(|config| {
        config.security.tokens = Some(self::config(keys));
        config.security.grants = grants(&["group:readers read . ", "user:ann write . pay-"]);
    })
    .await
}

async fn with_file(issuer: &Issuer) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, issuer.keys().to_string()).unwrap();
    (started(KeySource::File(file)).await, folder)
}

fn bearer(server: &Server, token: &str) -> Visitor {
    server.visitor(&format!("Bearer {token}"))
}

#[tokio::test]
async fn a_token_of_each_kind_of_key_says_who_comes_and_in_which_groups() {
    let issuer = Issuer::new();
    let (server, _folder) = with_file(&issuer).await;
    for (algorithm, kid) in [("EdDSA", "ed"), ("ES256", "ec"), ("RS256", "rsa"), ("PS512", "rsa")] {
        let ann = bearer(&server, &issuer.token(algorithm, kid, |_| ()));
        ann.register("pay-a", &record("A", &[("f", "\"int\"")])).await;
        ann.get("/subjects/hr/versions").await.code(404, 40401);
        ann.post("/subjects/hr/versions", json!({"schema": "\"int\""})).await.code(403, 40301);
        let other = bearer(
            &server,
            &issuer.token(algorithm, kid, |token| {
                token["sub"] = json!("bob");
                token["realm"] = json!({});
            }),
        );
        other.get("/subjects/pay-a/versions").await.code(403, 40301);
    }
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_refused_and_the_next_one_is_heard() {
    let issuer = Issuer::new();
    let (server, _folder) = with_file(&issuer).await;
    let with = |change: fn(&mut Value)| issuer.token("EdDSA", "ed", change);
    let header = |header: Value| {
        issuer.sign(
            &header,
            &json!({"iss": ISSUER, "aud": "registry",
        "sub": "ann", "exp": now() + 600}),
        )
    };
    let valid = with(|_| ());
    let (start, signature) = valid.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let wrong = [
        ("expired", with(|token| token["exp"] = json!(now() - 600))),
        ("without an end", with(|token| drop(token.as_object_mut().unwrap().remove("exp")))),
        ("an end that is no time", with(|token| token["exp"] = json!("tomorrow"))),
        ("not yet", with(|token| token["nbf"] = json!(now() + 600))),
        ("a beginning that is no time", with(|token| token["nbf"] = json!("now"))),
        ("another issuer", with(|token| token["iss"] = json!("https://other.example"))),
        ("no issuer", with(|token| drop(token.as_object_mut().unwrap().remove("iss")))),
        ("another audience", with(|token| token["aud"] = json!("other"))),
        ("no audience", with(|token| drop(token.as_object_mut().unwrap().remove("aud")))),
        ("nobody", with(|token| token["sub"] = json!(""))),
        ("a name that is none", with(|token| token["sub"] = json!(7))),
        ("an unknown key", issuer.token("EdDSA", "new", |_| ())),
        ("a key of another kind", issuer.token("EdDSA", "rsa", |_| ())),
        ("another key's signature", Issuer::new().token("EdDSA", "ed", |_| ())),
        ("no signature", header(json!({"alg": "none"}))),
        ("no signature, and a key", header(json!({"alg": "none", "kid": "ed"}))),
        ("the public key as a secret", header(json!({"alg": "HS256", "kid": "rsa"}))),
        ("the set's own secret", header(json!({"alg": "HS256", "kid": "secret"}))),
        ("what must be understood", header(json!({"alg": "EdDSA", "kid": "ed", "crit": ["x"]}))),
        ("a changed signature", format!("{start}.{flipped}{}", &signature[1..])),
        ("a cut signature", format!("{start}.")),
        ("no token", "abc".to_owned()),
        ("dots", "..".to_owned()),
        ("a long one", "x".repeat(20_000)),
    ];
    for (what, token) in wrong {
        let message = bearer(&server, &token).get("/subjects").await.code(401, 40101);
        assert!(!message.contains(&token), "{what}: {message}");
        bearer(&server, &valid).get("/subjects").await.ok();
    }
    let late = with(|token| token["exp"] = json!(now() - 5));
    bearer(&server, &late).get("/subjects").await.ok();
}

#[tokio::test]
async fn a_token_without_a_keys_name_is_taken_if_it_can_be_of_one_key_only() {
    let issuer = Issuer::new();
    let (server, _folder) = with_file(&issuer).await;
    let claims = json!({"iss": ISSUER, "aud": "registry", "sub": "ann", "exp": now() + 600});
    let token = issuer.sign(&json!({"alg": "EdDSA"}), &claims);
    bearer(&server, &token).get("/subjects").await.ok();
}

/// An address that gives what stands in the lock, and how often it was asked.
async fn address(keys: Arc<std::sync::Mutex<(u16, String)>>) -> (String, Arc<AtomicUsize>) {
    use axum::http::StatusCode;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = move || {
        count.fetch_add(1, Ordering::SeqCst);
        let (status, body) = keys.lock().unwrap().clone();
        async move { (StatusCode::from_u16(status).unwrap(), body) }
    };
    let routes = axum::Router::new().route("/keys", axum::routing::get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, routes).into_future());
    (url, asked)
}

#[tokio::test]
async fn keys_are_fetched_kept_while_the_address_is_away_and_not_asked_for_too_often() {
    let issuer = Issuer::new();
    let served = Arc::new(std::sync::Mutex::new((200, issuer.keys().to_string())));
    let (url, asked) = address(Arc::clone(&served)).await;
    let refresh = Duration::from_secs(3600);
    let server = started(KeySource::Url { url, ca_file: None, refresh }).await;
    let ann = bearer(&server, &issuer.token("EdDSA", "ed", |_| ()));
    ann.get("/subjects").await.ok();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    *served.lock().unwrap() = (503, String::new());
    for kid in 0..50 {
        let unknown = bearer(&server, &issuer.token("EdDSA", &kid.to_string(), |_| ()));
        unknown.get("/subjects").await.code(401, 40101);
    }
    assert!(asked.load(Ordering::SeqCst) <= 2, "unknown keys make no flood");
    ann.get("/subjects").await.ok();
}
