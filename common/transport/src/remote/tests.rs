//! The data port: the contract over real sockets, and what only a connection can do wrong.

use super::protocol::{FRAME_BYTES_MAX, HELLO_BYTES, hello};
use super::{RemoteTransport, serve_remote};
use crate::{EmbeddedConfig, EmbeddedTransport, Transport};
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;

type Held = (tempfile::TempDir, watch::Sender<bool>);

async fn tcp() -> (RemoteTransport, Held) {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(serve_remote(Arc::new(log), listener.into(), receiver));
    (RemoteTransport::new(&url).unwrap(), (folder, sender))
}

async fn unix() -> (RemoteTransport, Held) {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path().join("log"))).unwrap();
    let path = folder.path().join("data.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(serve_remote(Arc::new(log), listener.into(), receiver));
    let url = format!("unix://{}", path.display());
    (RemoteTransport::new(&url).unwrap(), (folder, sender))
}

mod contract_over_tcp {
    crate::conformance::conformance_tests!(super::tcp);
}

mod contract_over_a_unix_socket {
    crate::conformance::conformance_tests!(super::unix);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_away_is_unavailable_with_its_address() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let log = RemoteTransport::new(&format!("tcp://{port}")).unwrap();
    let error = log.topics().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.report().contains("tidemesh up"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_another_form_is_refused() {
    for url in ["http://127.0.0.1:1", "tcp://nowhere", "unix://relative", ""] {
        assert_eq!(RemoteTransport::new(url).err().unwrap().kind(), ErrorKind::Config, "{url}");
    }
}

/// A raw connection to a served log.
async fn raw() -> (TcpStream, Held) {
    let (remote, held) = tcp().await;
    let super::client::Address::Tcp(address) = &*remote.address else { panic!("not TCP") };
    (TcpStream::connect(address).await.unwrap(), held)
}

/// Whether the other side closes the connection.
async fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    read.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_hung_up_on() {
    let (mut stream, _held) = raw().await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(is_closed(stream).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_past_the_limit_is_hung_up_on() {
    let (mut stream, _held) = raw().await;
    let mut said = [0; HELLO_BYTES];
    stream.read_exact(&mut said).await.unwrap();
    stream.write_all(&hello()).await.unwrap();
    let length = u32::try_from(FRAME_BYTES_MAX + 1).unwrap();
    stream.write_all(&length.to_be_bytes()).await.unwrap();
    assert!(is_closed(stream).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_of_another_version_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut newer = hello();
        newer[HELLO_BYTES - 1] += 1;
        stream.write_all(&newer).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let error = RemoteTransport::new(&url).unwrap().topics().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerVersion);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_made_anew_at_the_next_call() {
    let (remote, (_folder, stop)) = tcp().await;
    remote.topics().await.unwrap();
    stop.send(true).unwrap();
    let mut lost = remote.topics().await;
    while lost.is_ok() {
        lost = remote.topics().await;
    }
    assert_eq!(lost.unwrap_err().kind(), ErrorKind::Unavailable);
}
