//! TLS on the listener: who is served, certificates that change, clients that speak none.

use crate::mesh::{Mesh, eventually};
use crate::started::{ORDERS, Started, config, order};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use reqwest::Certificate;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::time::Duration;
use tidemesh_emit_gateway::TlsConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than a handshake may take.
const LONG: Duration = Duration::from_secs(60);

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate that has its authority's name for one that signed itself.
    params.distinguished_name.push(DnType::CommonName, "gateway-ca");
    // Python from 3.13 on wants what RFC 5280 does.
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for 127.0.0.1 and its key, in files of this folder.
pub(crate) fn write(folder: &Path, authority: &Authority) -> TlsConfig {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, authority).unwrap();
    let tls = TlsConfig {
        certificate_file: folder.join("certificate.pem"),
        key_file: folder.join("key.pem"),
        client_ca_file: None,
    };
    std::fs::write(&tls.certificate_file, certificate.pem()).unwrap();
    std::fs::write(&tls.key_file, key.serialize_pem()).unwrap();
    tls
}

async fn secured(mesh: &Mesh, authority: &Authority) -> Started {
    let mut config = config(mesh);
    config.tls = Some(write(mesh.folder.path(), authority));
    Started::new(config).await
}

/// A client that makes a connection anew for each request, and trusts this authority.
fn trusting(authority: &Authority) -> reqwest::Client {
    // The HTTP client has no TLS of its own; the second test to come here finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let builder = reqwest::Client::builder().tls_certs_only([root]).pool_max_idle_per_host(0);
    builder.build().unwrap()
}

/// Emits an order: the status and what became of it, if the gateway is trusted.
async fn emit(client: &reqwest::Client, started: &Started, id: i64) -> Option<(u16, Json)> {
    let url = format!("https://{}/v1/topics/{ORDERS}/events", started.address);
    let body = json!({ "events": [{ "value": order(id) }] });
    let answer = client.post(url).json(&body).send().await.ok()?;
    Some((answer.status().as_u16(), answer.json().await.unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_trusts_the_certificate_sends_and_nobody_else() {
    let mesh = Mesh::new().await;
    let authority = authority();
    let started = secured(&mesh, &authority).await;
    let (status, body) = emit(&trusting(&authority), &started, 1).await.unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(emit(&trusting(&self::authority()), &started, 2).await.is_none());
    started.end().await;
    assert_eq!(mesh.read(ORDERS).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_used_while_the_gateway_runs() {
    let mesh = Mesh::new().await;
    let (first, second) = (authority(), authority());
    let started = secured(&mesh, &first).await;
    assert_eq!(emit(&trusting(&first), &started, 1).await.unwrap().0, 200);
    std::fs::write(mesh.folder.path().join("certificate.pem"), "broken").unwrap();
    assert_eq!(emit(&trusting(&first), &started, 2).await.unwrap().0, 200);
    write(mesh.folder.path(), &second);
    let client = trusting(&second);
    let emitted = eventually(async || emit(&client, &started, 3).await).await;
    assert_eq!(emitted.0, 200, "{}", emitted.1);
    assert!(emit(&trusting(&first), &started, 4).await.is_none());
    assert_eq!(mesh.read(ORDERS).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_tls_is_ended_at_once_and_holds_up_nobody() {
    let mesh = Mesh::new().await;
    let authority = authority();
    let started = secured(&mesh, &authority).await;
    let _silent = TcpStream::connect(started.address).await.unwrap();
    let mut clear = TcpStream::connect(started.address).await.unwrap();
    clear.write_all(b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    // A reset is an end too.
    let ended = tokio::time::timeout(LONG, clear.read_to_end(&mut said)).await;
    assert!(ended.is_ok(), "it hangs");
    assert!(!said.starts_with(b"HTTP/"), "{said:?}");
    assert_eq!(emit(&trusting(&authority), &started, 1).await.unwrap().0, 200);
}
