//! Packets in a buffer, however they are cut.

use super::*;
use std::os::unix::net::UnixStream;

fn reading(message_bytes_max: usize) -> Reading {
    let (ours, _) = UnixStream::pair().unwrap();
    let client = Client::over(Socket::Unix(ours), Instant::now());
    Reading { client, message_bytes_max, joined: 0 }
}

/// A payload as packets.
fn packets(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = payload;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(PAYLOAD_BYTES_MAX));
        let mut head = u32::try_from(piece.len()).unwrap().to_le_bytes();
        head[3] = 9;
        out.extend_from_slice(&head);
        out.extend_from_slice(piece);
        rest = after;
        if piece.len() < PAYLOAD_BYTES_MAX {
            return out;
        }
    }
}

/// Feeds bytes in pieces; answers the whole messages.
fn feed(bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut reading = reading(1 << 30);
    let (mut buffer, mut whole) = (Vec::new(), 0);
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        reading.find_whole(&mut buffer, &mut whole).unwrap();
    }
    assert_eq!(whole, buffer.len());
    buffer
}

#[test]
fn small_packets_stay_as_they_are() {
    let bytes = [packets(&[0; 40]), packets(&[0; 1]), packets(&[0; 300])].concat();
    for piece in [1, 3, 7, bytes.len()] {
        assert_eq!(feed(&bytes, piece), bytes);
    }
}

#[test]
fn an_event_of_several_packets_is_joined_behind_its_first_header() {
    for more in [0, 5, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX + 3] {
        let mut payload = vec![0_u8; PAYLOAD_BYTES_MAX + more];
        for (index, byte) in payload.iter_mut().enumerate().skip(1) {
            *byte = u8::try_from(index % 251).unwrap();
        }
        let bytes = [packets(&payload), packets(&[0; 10])].concat();
        for piece in [1 << 20, bytes.len()] {
            let found = feed(&bytes, piece);
            let (first, second) = found.split_at(PACKET_HEADER_BYTES + payload.len());
            assert!(first[PACKET_HEADER_BYTES..] == payload, "{more}");
            assert_eq!(second, packets(&[0; 10]));
        }
    }
}

#[test]
fn errors_and_the_end_are_told() {
    let find = |payload: &[u8], limit| {
        let mut buffer = packets(payload);
        reading(limit).find_whole(&mut buffer, &mut 0).unwrap_err()
    };
    let error = find(b"\xff\xd4\x04#HY000Could not find first log file name", 1000);
    assert_eq!(error.kind(), ErrorKind::PositionLost);
    assert_eq!(find(&[0xfe, 0, 0, 2, 0], 1000).kind(), ErrorKind::Unavailable);
    assert_eq!(find(&[7], 1000).kind(), ErrorKind::Malformed);
    let error = find(&[0; 2000], 1000);
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.report().contains("mysql.message_bytes_max"), "{}", error.report());
}
