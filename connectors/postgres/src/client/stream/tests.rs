//! The thread against a socket pair: whatever the rhythm in which bytes come, all whole messages are
//! handed over as soon as no more come.

use super::*;
use std::io::Read;
use std::os::unix::net::UnixStream;

/// Far below the second after which the server hears of us, which wakes the thread too.
const SOON: Duration = Duration::from_millis(500);

/// A `CopyData` message of so many bytes.
fn message(bytes: usize) -> Vec<u8> {
    let mut message = vec![b'd'];
    message.extend_from_slice(&u32::try_from(bytes - 1).unwrap().to_be_bytes());
    message.resize(bytes, b'w');
    message
}

fn streaming() -> (UnixStream, Stream) {
    let (server, ours) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let socket = tidemesh_source::Socket::Unix(ours);
    let client = Client { socket, process: 0, deadline: Instant::now() };
    (server, Stream::start(client, 0, 1 << 23, Arc::default()).unwrap())
}

/// Waits until so many bytes have been handed over.
async fn received(stream: &mut Stream, bytes: usize) {
    let mut found = 0;
    while found < bytes {
        let next = tokio::time::timeout(SOON, stream.next()).await;
        found += next.unwrap_or_else(|_| panic!("stuck at {found} of {bytes}")).unwrap().len();
    }
    assert_eq!(found, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_burst_ends_with_is_handed_over_at_once() {
    for round in 0..20 {
        let (mut server, mut stream) = streaming();
        let writing = tokio::task::spawn_blocking(move || {
            let small = message(100);
            // Dense, so that a burst begins; then more than keeps it going; then nothing.
            for _ in 0..2000 {
                server.write_all(&small).unwrap();
            }
            server.write_all(&message(4096 + round)).unwrap();
            server
        });
        received(&mut stream, 2000 * 100 + 4096 + round).await;
        let mut server = writing.await.unwrap();
        server.write_all(&message(50)).unwrap();
        received(&mut stream, 50).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_larger_than_a_buffer_come_in_any_rhythm() {
    let (mut server, mut stream) = streaming();
    let sizes = [100, 100, 100, 100, 100, 2_500_000, 30, 3_000_000, 700_000, 64, 2_100_000];
    let writing = tokio::task::spawn_blocking(move || {
        for _ in 0..3 {
            for size in sizes {
                server.write_all(&message(size)).unwrap();
            }
        }
        server
    });
    let mut left = 3 * sizes.iter().sum::<usize>();
    while left > 0 {
        let buffer = stream.next().await.unwrap();
        left -= buffer.len();
        // Whoever has decoded it gives it back, grown as it is.
        let _ = stream.spare().try_send(buffer);
    }
    drop(writing.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_pieces_comes_once_it_is_whole() {
    let (mut server, mut stream) = streaming();
    let whole = message(300_000);
    let writing = tokio::task::spawn_blocking(move || {
        for piece in whole.chunks(70_000) {
            server.write_all(piece).unwrap();
        }
        server
    });
    received(&mut stream, 300_000).await;
    let mut server = writing.await.unwrap();
    // Shut down in order: the thread says goodbye.
    stream.close();
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&[b'c', 0, 0, 0, 4, b'X', 0, 0, 0, 4]), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_above_the_limit_is_refused_by_its_table() {
    let (mut server, mut stream) = streaming();
    let mut large = vec![b'd'];
    large.extend_from_slice(&(1_u32 << 24).to_be_bytes());
    large.push(b'w');
    large.extend_from_slice(&[0; 24]);
    server.write_all(&large).unwrap();
    let mut row = vec![b'I'];
    row.extend_from_slice(&77_u32.to_be_bytes());
    server.write_all(&row).unwrap();
    let error = tokio::time::timeout(SOON, stream.next()).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), stream.oversized()), (ErrorKind::TooLarge, Some(77)));
}
