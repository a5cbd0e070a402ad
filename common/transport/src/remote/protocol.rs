//! The data port's protocol, as pure code over bytes.
//!
//! A connection begins with 8 bytes each way: `TMDP`, then the version as `u32`; the lower of both is
//! spoken, so that processes of neighbouring releases work together while they are upgraded one after the
//! other. Then frames, all numbers big-endian: `u32` length of what follows, `u64` correlation id, `u32`
//! length of a JSON head, the head, and a payload of records in the layout of `record.rs`, as they are.

use crate::record::{RECORD_BYTES_MAX, RecordIter};
use crate::{
    FetchedBatch, GroupOffset, PartitionBatch, Progress, Records, Retention, TopicConfig, TopicInfo,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};

/// The most bytes of one frame.
pub const FRAME_BYTES_MAX: usize = 288 * 1024 * 1024;

/// What a connection begins with, each way.
pub(super) const HELLO_BYTES: usize = 8;

const MAGIC: [u8; 4] = *b"TMDP";
/// 2: a commit says which positions, and positions their generation. 3: what groups have committed in
/// a topic can be asked. 4: a topic's retention can be set. A version that only adds requests leaves
/// [`VERSION_OLDEST`] as it is, and says in [`Request::since`] which they are.
pub(super) const VERSION: u32 = 4;

/// The oldest version that is spoken still: commits of 1 do not say what they commit.
pub(super) const VERSION_OLDEST: u32 = 2;

/// The longest wait of one poll: one that asks for more is answered then.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);

// Whatever can be stored can be sent: one record is the most that a stored batch holds beyond what
// an answer is bound to.
const _: () = assert!(RECORD_BYTES_MAX + 16 * 1024 * 1024 < FRAME_BYTES_MAX);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    CreateTopic { topic: String, config: TopicConfig },
    SetRetention { topic: String, retention: Retention },
    DeleteTopic { topic: String },
    Topics,
    Topic { topic: String },
    OpenWriter { id: String },
    State { id: String },
    Writers,
    Append(AppendHead),
    Subscribe { topics: Vec<String>, group: Option<String>, start: StartHead },
    Committed { group: String },
    Consumption { topic: String },
    Poll { reader: u64, bytes_max: u64, wait_max_ms: u64 },
    Commit { reader: u64, progress: ProgressHead },
    Close { reader: u64 },
}

/// An append without its records, which are the payload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AppendHead {
    pub(super) writer: Option<(String, u64)>,
    /// Topic, partition, bytes in the payload.
    pub(super) batches: Vec<(String, u32, u64)>,
    pub(super) state: Vec<(String, Option<Vec<u8>>)>,
    /// Group, topic, partition, offset.
    pub(super) offsets: Vec<(String, String, u32, u64)>,
}

/// Where a reader begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StartHead {
    Earliest,
    Latest,
    Committed,
    Offsets(Vec<(String, u32, u64)>),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Response {
    Done,
    Topic(TopicInfo),
    Topics(Vec<TopicInfo>),
    Epoch(u64),
    State(Vec<(String, Vec<u8>)>),
    Writers(Vec<String>),
    Appended(Vec<u64>),
    Reader {
        reader: u64,
        progress: ProgressHead,
    },
    /// By topic or group, and partition.
    Offsets(Vec<(String, u32, u64)>),
    Fetched {
        batches: Vec<BatchHead>,
        progress: ProgressHead,
    },
    Failed(Failure),
}

/// How far a reader has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProgressHead {
    generation: u64,
    /// Topic, partition, the offset that is read next.
    positions: Vec<(String, u32, u64)>,
}

impl From<Progress> for ProgressHead {
    fn from(progress: Progress) -> Self {
        let flat = |((topic, partition), offset)| (topic, partition, offset);
        let positions = progress.positions.into_iter().map(flat).collect();
        Self { generation: progress.generation, positions }
    }
}

impl From<ProgressHead> for Progress {
    fn from(head: ProgressHead) -> Self {
        let keyed = |(topic, partition, offset)| ((topic, partition), offset);
        let positions = head.positions.into_iter().map(keyed).collect();
        Self { generation: head.generation, positions }
    }
}

/// A fetched batch without its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BatchHead {
    topic: String,
    partition: u32,
    base_offset: u64,
    from_offset: u64,
    next_offset: u64,
    bytes: u64,
}

/// An error, carried whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    kind: String,
    message: String,
    help: Option<String>,
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        Self {
            kind: error.kind().name().to_owned(),
            message: error.report(),
            help: error.help_text().map(str::to_owned),
        }
    }

    pub(super) fn into_error(self) -> Error {
        let kind = ErrorKind::ALL
            .into_iter()
            .find(|kind| kind.name() == self.kind)
            .unwrap_or(ErrorKind::Internal);
        Error::new(kind, "use the log").because(self.message)
    }
}

impl Request {
    /// The first version that has it.
    fn since(&self) -> u32 {
        match self {
            Self::CreateTopic { .. }
            | Self::DeleteTopic { .. }
            | Self::Topics
            | Self::Topic { .. }
            | Self::OpenWriter { .. }
            | Self::State { .. }
            | Self::Writers
            | Self::Append(_)
            | Self::Subscribe { .. }
            | Self::Committed { .. }
            | Self::Poll { .. }
            | Self::Commit { .. }
            | Self::Close { .. } => VERSION_OLDEST,
            Self::Consumption { .. } => 3,
            Self::SetRetention { .. } => 4,
        }
    }

    /// Refuses what the version that is spoken does not have.
    ///
    /// # Errors
    ///
    /// `Prerequisite`, naming both versions.
    pub(super) fn check(&self, spoken: u32) -> Result<()> {
        let since = self.since();
        if since <= spoken {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Prerequisite, "use the data port")
            .because("the daemon that holds the log is of an older version, which does not do this")
            .with("version", spoken)
            .with("version_needed", since)
            .help("upgrade that daemon; what it can do goes on meanwhile"))
    }
}

/// What either side says first.
pub(super) fn hello() -> [u8; HELLO_BYTES] {
    hello_of(VERSION)
}

/// What a side of this version says first.
pub(super) fn hello_of(version: u32) -> [u8; HELLO_BYTES] {
    let mut hello = [0; HELLO_BYTES];
    hello[..4].copy_from_slice(&MAGIC);
    hello[4..].copy_from_slice(&version.to_be_bytes());
    hello
}

/// The version to speak with a side that said this first: the lower of both.
///
/// # Errors
///
/// `Malformed` for another protocol; `Unavailable`, which passes with the other side's upgrade, for a
/// version that is not spoken any more.
pub(super) fn agree(hello: [u8; HELLO_BYTES]) -> Result<u32> {
    let (magic, version) = hello.split_at(4);
    if magic != MAGIC {
        return Err(Error::new(ErrorKind::Malformed, "use the data port")
            .because("the other side does not speak its protocol")
            .help("see that the address is a daemon's data port"));
    }
    let version = version.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    if version >= VERSION_OLDEST {
        return Ok(version.min(VERSION));
    }
    Err(Error::new(ErrorKind::Unavailable, "use the data port")
        .because("the other side has a version of the protocol that is not spoken here any more")
        .with("version", version)
        .with("version_here", VERSION)
        .with("version_oldest", VERSION_OLDEST)
        .help("upgrade the older side; it is tried again until then"))
}

/// Writes a frame: head, then payload.
///
/// # Errors
///
/// `TooLarge` past [`FRAME_BYTES_MAX`].
pub(super) fn frame<H: Serialize>(id: u64, head: &H, payload: &[&[u8]]) -> Result<Vec<u8>> {
    let head = serde_json::to_vec(head)
        .map_err(|e| Error::new(ErrorKind::Internal, "write a frame").caused_by(e))?;
    let bytes = 12 + head.len() + payload.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES_MAX);
    let (Some(length), Ok(head_length)) = (length, u32::try_from(head.len())) else {
        return Err(Error::new(ErrorKind::TooLarge, "write a frame")
            .with("bytes", bytes)
            .with("frame_bytes_max", FRAME_BYTES_MAX));
    };
    let mut frame = Vec::with_capacity(bytes + 4);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(&head_length.to_be_bytes());
    frame.extend_from_slice(&head);
    payload.iter().for_each(|part| frame.extend_from_slice(part));
    Ok(frame)
}

/// The length of a frame's rest, from its first four bytes.
///
/// # Errors
///
/// `TooLarge` past [`FRAME_BYTES_MAX`].
pub(super) fn frame_length(head: [u8; 4]) -> Result<usize> {
    let length = u32::from_be_bytes(head) as usize;
    if length <= FRAME_BYTES_MAX {
        return Ok(length);
    }
    Err(Error::new(ErrorKind::TooLarge, "read a frame")
        .with("bytes", length)
        .with("frame_bytes_max", FRAME_BYTES_MAX))
}

/// A frame's id, head and payload, from what follows its length.
///
/// # Errors
///
/// `Malformed`, and then nothing more can be read of the connection.
pub(super) fn parse_frame<H: for<'a> Deserialize<'a>>(frame: &Bytes) -> Result<(u64, H, Bytes)> {
    let malformed = || Error::new(ErrorKind::Malformed, "read a frame").with("bytes", frame.len());
    let (id, rest) = frame.split_first_chunk::<8>().ok_or_else(malformed)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
    let length = u32::from_be_bytes(*length) as usize;
    let head = rest.get(..length).ok_or_else(malformed)?;
    let head = serde_json::from_slice(head).map_err(|e| malformed().caused_by(e))?;
    Ok((u64::from_be_bytes(*id), head, frame.slice(12 + length..)))
}

/// Cuts a payload into as many pieces as there are lengths.
fn pieces<'l>(payload: &Bytes, lengths: impl Iterator<Item = u64> + 'l) -> Result<Vec<Bytes>> {
    let mut rest = payload.clone();
    let pieces = lengths
        .map(|length| {
            let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
            length.map(|length| rest.split_to(length))
        })
        .collect::<Option<Vec<_>>>();
    pieces.filter(|_| rest.is_empty()).ok_or_else(|| {
        Error::new(ErrorKind::Malformed, "read a frame")
            .because("its payload's lengths do not add up")
    })
}

/// The batches of an append, each record checked, so that no client can store what cannot be read.
///
/// # Errors
///
/// `Malformed`.
pub(super) fn append_batches(
    batches: &[(String, u32, u64)],
    payload: &Bytes,
) -> Result<Vec<PartitionBatch>> {
    let pieces = pieces(payload, batches.iter().map(|(_, _, bytes)| *bytes))?;
    batches
        .iter()
        .zip(pieces)
        .map(|((topic, partition, _), bytes)| {
            Ok(PartitionBatch {
                topic: topic.as_str().into(),
                partition: *partition,
                records: Records::parse(bytes.into())?,
            })
        })
        .collect()
}

/// The heads of fetched batches; their bytes are the payload.
pub(super) fn batch_heads(batches: &[FetchedBatch]) -> Vec<BatchHead> {
    batches
        .iter()
        .map(|batch| BatchHead {
            topic: batch.topic.to_string(),
            partition: batch.partition,
            base_offset: batch.base_offset,
            from_offset: batch.from_offset,
            next_offset: batch.next_offset,
            bytes: batch.bytes.len() as u64,
        })
        .collect()
}

/// The inverse of [`batch_heads`].
///
/// # Errors
///
/// `Malformed`.
pub(super) fn fetched(heads: Vec<BatchHead>, payload: &Bytes) -> Result<Vec<FetchedBatch>> {
    let pieces = pieces(payload, heads.iter().map(|head| head.bytes))?;
    let batches = heads.into_iter().zip(pieces).map(|(head, bytes)| FetchedBatch {
        topic: Arc::from(head.topic),
        partition: head.partition,
        base_offset: head.base_offset,
        from_offset: head.from_offset,
        next_offset: head.next_offset,
        bytes,
    });
    Ok(batches.collect())
}

/// A group's offset as it is sent.
pub(super) fn offset_head(offset: GroupOffset) -> (String, String, u32, u64) {
    (offset.group, offset.topic, offset.partition, offset.offset)
}

impl Records {
    /// Takes bytes from outside for records, once each is whole and they are numbered from 0.
    ///
    /// # Errors
    ///
    /// `Malformed`.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let mut count = 0;
        for record in RecordIter::new(&bytes) {
            let record = record.map_err(|error| {
                Error::new(ErrorKind::Malformed, "take records").caused_by(error)
            })?;
            if record.offset_delta != count {
                return Err(Error::new(ErrorKind::Malformed, "take records")
                    .because("they are not numbered from 0")
                    .with("record", count));
            }
            count += 1;
        }
        Ok(Self::from_checked(bytes, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_comes_back() {
        let request = Request::Topic { topic: "t".into() };
        let bytes = frame(7, &request, &[b"ab", b"c"]).unwrap();
        let length = frame_length(*bytes.first_chunk().unwrap()).unwrap();
        assert_eq!(length, bytes.len() - 4);
        let (id, found, payload): (_, Request, _) =
            parse_frame(&Bytes::copy_from_slice(&bytes[4..])).unwrap();
        assert_eq!((id, found, &payload[..]), (7, request, &b"abc"[..]));
    }

    #[test]
    fn the_lower_version_is_spoken_and_what_is_no_longer_spoken_is_told() {
        assert_eq!(agree(*b"GET / HT").unwrap_err().kind(), ErrorKind::Malformed);
        assert_eq!(agree(hello()).unwrap(), VERSION);
        assert_eq!(agree(hello_of(VERSION + 1)).unwrap(), VERSION);
        assert_eq!(agree(hello_of(u32::MAX)).unwrap(), VERSION);
        assert_eq!(agree(hello_of(VERSION_OLDEST)).unwrap(), VERSION_OLDEST);
        let error = agree(hello_of(VERSION_OLDEST - 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let told = error.report();
        assert!(told.contains("version=1, version_here=4, version_oldest=2"), "{told}");
    }

    #[test]
    fn an_error_is_carried_whole() {
        let error = Error::new(ErrorKind::Fenced, "append").with("epoch", 3).help("stop");
        let carried = Failure::of(&error).into_error();
        assert_eq!(carried.kind(), ErrorKind::Fenced);
        assert!(carried.to_string().contains("epoch=3") && carried.to_string().contains("stop"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let bytes = Bytes::from(bytes);
            let _ = parse_frame::<Request>(&bytes);
            let _ = Records::parse(bytes.to_vec());
            let _ = append_batches(&[("t".into(), 0, 5), ("t".into(), 1, 6)], &bytes);
        }
    }
}
