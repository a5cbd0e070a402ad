//! Events that are written here byte by byte, whole, cut and spoiled. The constructed forms of what
//! only MySQL 8 sends are of its source (named at each): no real MySQL 8 was at hand.

use super::*;
use proptest::prelude::*;

/// An event of this kind and body, with its checksum if it is to have one.
pub(crate) fn event(kind: EventKind, flags: u16, body: &[u8], has_checksum: bool) -> Vec<u8> {
    let checksum = if has_checksum { CHECKSUM_BYTES } else { 0 };
    let size = u32::try_from(HEADER_BYTES + body.len() + checksum).unwrap();
    let mut out = 1_700_000_000_u32.to_le_bytes().to_vec();
    out.push(kind.0);
    out.extend_from_slice(&101_u32.to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&5000_u32.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(body);
    if has_checksum {
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    }
    out
}

/// A format description, as a MySQL 8 begins a file with it, by `Format_description_event` in
/// MySQL 9.1's `control_events.cpp`; no real MySQL 8 was at hand.
pub(crate) fn format(algorithm: u8) -> Vec<u8> {
    let mut body = 4_u16.to_le_bytes().to_vec();
    let mut version = b"8.4.3".to_vec();
    version.resize(50, 0);
    body.extend_from_slice(&version);
    body.extend_from_slice(&[0; 4]);
    body.push(19);
    let mut lengths = [0; 42];
    lengths[18] = 8;
    lengths[22..25].fill(8);
    lengths[29..32].fill(10);
    body.extend_from_slice(&lengths);
    body.push(algorithm);
    let mut out = event(kinds::FORMAT_DESCRIPTION, 0, &body, true);
    // Still written: not part of the checksum.
    out[17] |= 1;
    out
}

fn framer(algorithm: u8) -> Framer {
    let mut framer = Framer::default();
    framer.frame(&format(algorithm)).unwrap();
    framer
}

#[test]
fn a_format_description_tells_of_checksums() {
    let (on, off) = (format(1), format(0));
    let mut framer = Framer::default();
    let Frame::FormatDescription(format) = framer.frame(&on).unwrap() else { panic!() };
    assert_eq!((format.server_version, format.has_checksums), (&b"8.4.3"[..], true));
    assert_eq!(format.flavor(), Flavor::MySql);
    assert_eq!(framer.has_checksums, Some(true));
    framer.frame(&off).unwrap();
    assert_eq!(framer.has_checksums, Some(false));
    let error = framer.frame(&super::tests::format(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_spoiled_format_description_is_refused() {
    let mut bytes = format(1);
    bytes[25] ^= 1;
    assert_eq!(Framer::default().frame(&bytes).unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn a_checksum_is_verified_and_stripped() {
    let mut bytes = event(kinds::XID, 0, &7_u64.to_le_bytes(), true);
    let Frame::Event(found) = framer(1).frame(&bytes).unwrap() else { panic!() };
    assert_eq!((found.header.kind, found.body.len()), (kinds::XID, 8));
    bytes[20] ^= 1;
    let error = framer(1).frame(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains("event=XID, ends_at=5000"), "{error}");
}

#[test]
fn the_rotate_before_the_format_may_have_a_checksum() {
    let mut body = 4_u64.to_le_bytes().to_vec();
    body.extend_from_slice(b"mybin.000001");
    for has_checksum in [false, true] {
        let bytes = event(kinds::ROTATE, FLAG_ARTIFICIAL, &body, has_checksum);
        let Frame::Rotate(rotate) = Framer::default().frame(&bytes).unwrap() else { panic!() };
        let expected = Rotate { file: b"mybin.000001", position: 4, is_artificial: true };
        assert_eq!(rotate, expected);
    }
}

#[test]
fn heartbeats_tell_how_far_the_server_has_looked() {
    let bytes = event(kinds::HEARTBEAT, 0, b"mybin.000001", true);
    let expected = Heartbeat { file: b"mybin.000001", position: 5000 };
    assert_eq!(framer(1).frame(&bytes).unwrap(), Frame::Heartbeat(expected));
}

/// By `Codec::encode` for `Heartbeat_event_v2` in MySQL 9.1's `codecs/binary.cpp`; no real MySQL 8
/// was at hand.
#[test]
fn a_heartbeat_of_the_second_version_has_fields() {
    let mut body = vec![1, 12];
    body.extend_from_slice(b"mybin.000001");
    body.extend_from_slice(&[2, 9, 254, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    let bytes = event(kinds::HEARTBEAT_V2, FLAG_IGNORABLE, &body, true);
    let expected = Heartbeat { file: b"mybin.000001", position: 1 << 32 };
    assert_eq!(framer(1).frame(&bytes).unwrap(), Frame::Heartbeat(expected));
}

#[test]
fn an_incident_is_a_lost_position() {
    let bytes = event(kinds::INCIDENT, 0, b"\x01\x00\x04lost", true);
    let error = framer(1).frame(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PositionLost);
    assert!(error.to_string().contains("message=lost"), "{error}");
}

#[test]
fn an_unknown_event_is_skipped_only_if_it_says_so() {
    let unknown = EventKind(172);
    let bytes = event(unknown, FLAG_IGNORABLE, b"x", true);
    assert_eq!(framer(1).frame(&bytes).unwrap(), Frame::Skipped(unknown));
    let error = framer(1).frame(&event(unknown, 0, b"x", true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("event=number 172"), "{error}");
}

#[test]
fn events_are_cut_by_their_sizes() {
    let mut bytes = event(kinds::STOP, 0, b"", true);
    bytes.extend_from_slice(&event(kinds::XID, 0, &[0; 8], true));
    let mut input = bytes.as_slice();
    let mut framer = framer(1);
    let first = next_event(&mut input).unwrap().unwrap();
    assert_eq!(framer.frame(first).unwrap(), Frame::Stop);
    let second = next_event(&mut input).unwrap().unwrap();
    assert!(matches!(framer.frame(second).unwrap(), Frame::Event(_)));
    assert!(next_event(&mut input).unwrap().is_none());
    let mut cut = &bytes[..30];
    next_event(&mut cut).unwrap();
    assert_eq!(next_event(&mut cut).unwrap_err().kind(), ErrorKind::Malformed);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        kind: u8, flags: u16, checked: bool, has_checksum: bool,
    ) {
        let mut input = bytes.as_slice();
        while let Ok(Some(event)) = next_event(&mut input) {
            let _ = Framer::default().frame(event);
        }
        let whole = event(EventKind(kind), flags, &bytes, has_checksum);
        for mut framer in [Framer::default(), framer(u8::from(checked))] {
            let _ = framer.frame(&whole);
            let _ = Framer::nested(&whole);
        }
    }
}
