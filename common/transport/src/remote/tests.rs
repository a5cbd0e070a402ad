//! The data port: the contract over real sockets, and what only a connection can do wrong.

use super::protocol::{
    FRAME_BYTES_MAX, HELLO_BYTES, Request, Response, VERSION, VERSION_OLDEST, frame, hello,
    hello_of, parse_frame,
};
use super::session::{POLL_BYTES_MAX, READERS_MAX};
use super::{RemoteReader, RemoteTransport, serve_remote};
use crate::{
    Append, EmbeddedConfig, EmbeddedTransport, FetchLimit, PartitionBatch, Reader, Records,
    Retention, Start, Subscription, TopicConfig, Transport,
};
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{ErrorKind, Remedy};
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

/// A daemon made by hand, of this version: it says that there are no topics, and knows nothing else.
async fn daemon_of(version: u32) -> RemoteTransport {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&hello_of(version)).await.unwrap();
        let mut said = [0; HELLO_BYTES];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(said, hello());
        loop {
            // It goes with its client.
            let Ok((id, request)) = next_frame::<serde_json::Value>(&mut stream).await else {
                return;
            };
            assert_eq!(request, "topics", "it does not know this");
            let answer = frame(id, &serde_json::json!({ "topics": [] }), &[]).unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    RemoteTransport::new(&url).unwrap()
}

/// The id and head of the next frame.
async fn next_frame<H: for<'a> serde::Deserialize<'a>>(
    stream: &mut TcpStream,
) -> std::io::Result<(u64, H)> {
    let length = stream.read_u32().await?;
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await?;
    let (id, head, _) = parse_frame(&bytes.into()).unwrap();
    Ok((id, head))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_daemon_does_what_it_knows_and_the_rest_is_told_with_the_remedy() {
    let older = daemon_of(2).await;
    assert_eq!(older.topics().await.unwrap(), []);
    let retention = TopicConfig::default().retention();
    let errors = [
        older.set_retention("t", &retention).await.unwrap_err(),
        older.consumption("t").await.unwrap_err(),
    ];
    for (error, needed) in errors.iter().zip([4, 3]) {
        assert_eq!(error.kind(), ErrorKind::Prerequisite);
        let told = error.report();
        assert!(told.contains(&format!("(version=2, version_needed={needed})")), "{told}");
        assert!(told.contains("upgrade that daemon"), "{told}");
    }
    assert_eq!(older.topics().await.unwrap(), [], "the connection goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_daemon_is_spoken_with_as_ours() {
    assert_eq!(daemon_of(VERSION + 1).await.topics().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_of_a_version_that_is_not_spoken_any_more_is_waited_for() {
    let error = daemon_of(VERSION_OLDEST - 1).await.topics().await.unwrap_err();
    assert_eq!((error.kind(), error.remedy()), (ErrorKind::Unavailable, Remedy::Retry));
    assert!(error.report().contains("version=1, version_here=4"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_older_and_newer_versions_are_served() {
    let (remote, _held) = tcp().await;
    let super::client::Address::Tcp(address) = &*remote.address else { panic!("not TCP") };
    for version in VERSION_OLDEST..=VERSION + 1 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&hello_of(version)).await.unwrap();
        let mut said = [0; HELLO_BYTES];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(said, hello());
        stream.write_all(&frame(7, &"topics", &[]).unwrap()).await.unwrap();
        let answered: (u64, serde_json::Value) = next_frame(&mut stream).await.unwrap();
        assert_eq!(answered, (7, serde_json::json!({ "topics": [] })), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_version_that_is_not_spoken_any_more_is_told_ours_and_hung_up_on() {
    let (mut stream, _held) = raw().await;
    stream.write_all(&hello_of(VERSION_OLDEST - 1)).await.unwrap();
    let mut said = [0; HELLO_BYTES];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(said, hello());
    assert!(is_closed(stream).await);
}

/// The answers to requests that a client sends all at once, as one whose calls are dropped does, by id.
async fn answers_to(requests: &[Request]) -> Vec<Response> {
    let (mut stream, _held) = raw().await;
    stream.write_all(&hello()).await.unwrap();
    let numbered = (0..).zip(requests).map(|(id, request)| frame(id, request, &[]).unwrap());
    stream.write_all(&numbered.collect::<Vec<_>>().concat()).await.unwrap();
    let mut said = [0; HELLO_BYTES];
    stream.read_exact(&mut said).await.unwrap();
    let mut answers = Vec::new();
    while answers.len() < requests.len() {
        answers.push(next_frame::<Response>(&mut stream).await.unwrap());
    }
    answers.sort_by_key(|(id, _)| *id);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

// One worker runs the task that was started last first.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_writer_is_opened_in_the_order_of_the_requests() {
    let open = || Request::OpenWriter { id: "w".to_owned() };
    let answers = answers_to(&[open(), open(), open(), open()]).await;
    assert_eq!(answers, [1, 2, 3, 4].map(Response::Epoch));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_is_changed_in_the_order_of_the_requests() {
    let topic = || "t".to_owned();
    let create = || Request::CreateTopic { topic: topic(), config: TopicConfig::default() };
    let keep = |retention_ms| {
        let retention = Retention { retention_ms, ..TopicConfig::default().retention() };
        Request::SetRetention { topic: topic(), retention }
    };
    let delete = || Request::DeleteTopic { topic: topic() };
    let requests = [create(), keep(Some(1000)), delete(), create(), keep(Some(2000))];
    let kept: Vec<_> = answers_to(&requests)
        .await
        .into_iter()
        .map(|answer| match answer {
            Response::Topic(info) => info.config.retention_ms,
            Response::Done => None,
            answer => panic!("{answer:?}"),
        })
        .collect();
    let default = TopicConfig::default().retention_ms;
    assert_eq!(kept, [default, Some(1000), None, default, Some(2000)]);
}

fn of_topic() -> Subscription {
    Subscription { topics: vec!["t".to_owned()], group: None, start: Start::Earliest }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_is_answered_with_a_bounded_number_of_bytes() {
    let (remote, _held) = tcp().await;
    remote.create_topic("t", &TopicConfig::default()).await.unwrap();
    for _ in 0..4 {
        let mut records = Records::default();
        records.push(1, None, &[], Some(&vec![b'x'; POLL_BYTES_MAX * 2 / 5])).unwrap();
        let batches = vec![PartitionBatch { topic: "t".into(), partition: 0, records }];
        remote.append(Append { batches, ..Append::default() }).await.unwrap();
    }
    let mut reader = remote.subscribe(of_topic()).await.unwrap();
    let limit = FetchLimit { bytes_max: usize::MAX, wait_max: Duration::from_secs(10) };
    assert_eq!(reader.poll(limit).await.unwrap().len(), 2);
    assert_eq!(reader.poll(limit).await.unwrap().len(), 2);
}

/// All the readers that a connection may have, once there is room for them.
async fn all_readers(remote: &RemoteTransport) -> Vec<RemoteReader> {
    let mut readers = Vec::new();
    while readers.len() < READERS_MAX {
        match remote.subscribe(of_topic()).await {
            Ok(reader) => readers.push(reader),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Exhausted),
        }
    }
    readers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_a_bounded_number_of_readers() {
    let (remote, _held) = tcp().await;
    remote.create_topic("t", &TopicConfig::default()).await.unwrap();
    let mut readers = all_readers(&remote).await;
    let error = remote.subscribe(of_topic()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    // Also one that waits in a poll leaves at once.
    let limit = FetchLimit { bytes_max: 1, wait_max: Duration::from_secs(60) };
    let polling = tokio::time::timeout(Duration::from_millis(50), readers[0].poll(limit));
    assert!(polling.await.is_err());
    drop(readers);
    let again = tokio::time::timeout(Duration::from_secs(20), all_readers(&remote)).await;
    assert_eq!(again.expect("readers were not let go").len(), READERS_MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_subscribe_leaves_no_reader_behind() {
    let (remote, _held) = tcp().await;
    remote.create_topic("t", &TopicConfig::default()).await.unwrap();
    for _ in 0..READERS_MAX {
        drop(tokio::time::timeout(Duration::ZERO, remote.subscribe(of_topic())).await);
    }
    let all = tokio::time::timeout(Duration::from_secs(20), all_readers(&remote)).await;
    assert_eq!(all.expect("readers were left behind").len(), READERS_MAX);
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
