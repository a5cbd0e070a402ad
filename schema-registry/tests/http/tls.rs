//! TLS on the listener: handshakes, certificates that change, clients that say nothing.

use std::net::SocketAddr;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client, Identity};
use tidemesh_schema_registry::TlsConfig;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::server::{Server, Visitor, answer, client, eventually};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for 127.0.0.1 and its key, as PEM.
fn certificate(authority: &Authority) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn write(folder: &Path, authority: &Authority) -> TlsConfig {
    let (certificate, key) = certificate(authority);
    std::fs::write(folder.join("certificate.pem"), certificate).unwrap();
    std::fs::write(folder.join("key.pem"), key).unwrap();
    TlsConfig {
        certificate_file: folder.join("certificate.pem"),
        key_file: folder.join("key.pem"),
        client_ca_file: None,
    }
}

/// A client that makes a connection anew for each request, and trusts these authorities.
fn trusting(authority: &Authority, identity: Option<Identity>) -> Client {
    drop(client());
    let root = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let mut builder = Client::builder().tls_certs_only([root]).pool_max_idle_per_host(0);
    if let Some(identity) = identity {
        builder = builder.identity(identity);
    }
    builder.build().unwrap()
}

async fn secured(tls: TlsConfig) -> (Server, String) {
    let server = Server::start_with(|config| config.security.tls = Some(tls)).await;
    let url = server.url.replace("http://", "https://");
    (server, url)
}

async fn reached(client: &Client, url: &str) -> bool {
    match client.get(format!("{url}/subjects")).send().await {
        Ok(response) => answer(response).await.status == 200,
        Err(_) => false,
    }
}

#[tokio::test]
async fn a_client_that_trusts_the_certificate_is_served_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority();
    let (server, url) = secured(write(folder.path(), &authority)).await;
    assert!(reached(&trusting(&authority, None), &url).await);
    assert!(!reached(&trusting(&self::authority(), None), &url).await);
    assert!(client().get(format!("{}/subjects", server.url)).send().await.is_err(), "in clear");
    assert!(reached(&trusting(&authority, None), &url).await);
}

#[tokio::test]
async fn new_certificates_are_taken_up_and_broken_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (authority(), authority());
    let (_server, url) = secured(write(folder.path(), &first)).await;
    assert!(reached(&trusting(&first, None), &url).await);
    std::fs::write(folder.path().join("certificate.pem"), "broken").unwrap();
    let third = authority();
    assert!(!reached(&trusting(&third, None), &url).await);
    assert!(reached(&trusting(&first, None), &url).await);
    write(folder.path(), &second);
    let client = trusting(&second, None);
    eventually("the new certificate is used", async || reached(&client, &url).await).await;
    assert!(!reached(&trusting(&first, None), &url).await);
}

#[tokio::test]
async fn clients_that_say_nothing_hold_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority();
    let (server, url) = secured(write(folder.path(), &authority)).await;
    let address: SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(reached(&trusting(&authority, None), &url).await);
    // Each is given up after its time.
    for mut stream in silent {
        let mut bytes = Vec::new();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), async {
            // A reset is an end too.
            let _ = stream.read_to_end(&mut bytes).await;
        });
        ended.await.expect("a silent connection is closed");
    }
}

#[tokio::test]
async fn where_clients_need_a_certificate_one_without_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let (own, clients) = (authority(), authority());
    let mut tls = write(folder.path(), &own);
    let file = folder.path().join("clients.pem");
    std::fs::write(&file, clients.pem()).unwrap();
    tls.client_ca_file = Some(file);
    let (_server, url) = secured(tls).await;
    let identity = |authority: &Authority| {
        let (certificate, key) = certificate(authority);
        Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap()
    };
    assert!(reached(&trusting(&own, Some(identity(&clients))), &url).await);
    assert!(!reached(&trusting(&own, None), &url).await);
    assert!(!reached(&trusting(&own, Some(identity(&authority()))), &url).await);
}

#[tokio::test]
async fn a_password_travels_in_tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority();
    let tls = write(folder.path(), &authority);
    let (server, _users) =
        crate::access::guarded_with(&[("ann", "")], &["* read . "], |security| {
            security.tls = Some(tls);
        })
        .await;
    let ann: Visitor = server.user("ann", "ann");
    let request =
        trusting(&authority, None).get(server.url.replace("http://", "https://") + "/subjects");
    let by_ann = ann.request(reqwest::Method::GET, "/").build().unwrap();
    let header = by_ann.headers()["authorization"].clone();
    answer(request.try_clone().unwrap().header("authorization", header).send().await.unwrap())
        .await
        .ok();
    answer(request.send().await.unwrap()).await.code(401, 40101);
}
