//! An event of an application on its way through its database: what the emitter's outbox writes in the
//! application's transaction, and a connector turns into a record of the topic that it names. Pure; any
//! bytes are an event or are refused as `Malformed`, those of a later form as `NewerVersion`.
//!
//! The form, numbers big-endian, each part of variable length behind its length:
//!
//! ```text
//! head    version u8 = 1
//!         place u8: 0 by the key, 1 by an ordering key (u32 length, bytes), 2 a partition (u32)
//!         event time i64, in milliseconds since 1970-01-01 00:00:00 UTC
//!         headers u16, and of each: name (u16 length, UTF-8), value (u32 length, bytes)
//! event   head
//!         topic (u16 length, UTF-8)
//!         parts u8: 1 a key, 2 a value, 3 both
//!         key, value (u32 length, bytes), those that are there
//! ```
//!
//! A message of the log is an event; of an outbox's row the column `headers` is a head, and the other
//! parts stand in columns of their own.

use tidemesh_model::{Error, ErrorKind, Result};

/// The version of the form.
pub const VERSION: u8 = 1;

/// The newest version that there may be: texts begin with none.
const VERSIONS_MAX: u8 = 15;

/// The most headers of one event.
pub const HEADERS_MAX: usize = 100;

/// The header that has an event's idempotency key: of those whose names begin with `__` the one that an
/// application sets.
pub const IDEMPOTENCY_HEADER: &str = "__idempotency_key";

/// The attribute of a key's schema that tells what its topic's records are.
pub const RECORDS_ATTRIBUTE: &str = "tidemesh.records";

/// What it says of events: each stands for itself, and takes the place of none before it with the same key.
pub const RECORDS_ARE_EVENTS: &str = "events";

const HAS_KEY: u8 = 1;
const HAS_VALUE: u8 = 2;

/// Whether a header's name is the platform's, which no application sets.
#[must_use]
pub fn is_own_header(name: &str) -> bool {
    (name.starts_with("__") && name != IDEMPOTENCY_HEADER) || name.starts_with("tidemesh.")
}

/// Which partition an event goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmittedPlace<'a> {
    /// By its key; without one, in turn.
    #[default]
    ByKey,
    /// By this, as if it were its key.
    By(&'a [u8]),
    /// This one.
    Partition(u32),
}

/// An event's headers, borrowed from its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmittedHeaders<'a> {
    count: usize,
    /// Whole, as `EmittedHead::read` has found.
    bytes: &'a [u8],
}

/// What is said of an event beside topic, key and value.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmittedHead<'a> {
    /// When what it tells of happened, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub event_time_ms: i64,
    /// Its partition.
    pub place: EmittedPlace<'a>,
    /// Its headers.
    pub headers: EmittedHeaders<'a>,
}

/// An event for a topic.
#[derive(Debug, Clone, Copy)]
pub struct Emitted<'a> {
    /// What is said of it.
    pub head: EmittedHead<'a>,
    /// The topic.
    pub topic: &'a str,
    /// The record's key, framed.
    pub key: Option<&'a [u8]>,
    /// The record's value, framed.
    pub value: Option<&'a [u8]>,
}

impl<'a> EmittedHeaders<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each name with its value, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let mut input = Input { rest: self.bytes };
        // They were read once already.
        (0..self.count).map_while(move |_| input.header().ok())
    }
}

impl<'a> EmittedHead<'a> {
    /// Appends a head of these headers.
    ///
    /// # Errors
    ///
    /// `TooLarge` for more than [`HEADERS_MAX`] headers, and for parts that no length can say.
    pub fn write(
        event_time_ms: i64,
        place: EmittedPlace<'_>,
        headers: &[(&str, &[u8])],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        out.push(VERSION);
        match place {
            EmittedPlace::ByKey => out.push(0),
            EmittedPlace::By(key) => {
                out.push(1);
                write_bytes("ordering key", key, out)?;
            }
            EmittedPlace::Partition(partition) => {
                out.push(2);
                out.extend_from_slice(&partition.to_be_bytes());
            }
        }
        out.extend_from_slice(&event_time_ms.to_be_bytes());
        if headers.len() > HEADERS_MAX {
            return Err(too_large("headers", headers.len(), HEADERS_MAX));
        }
        write_u16("headers", headers.len(), out)?;
        for (name, value) in headers {
            write_text("header", name, out)?;
            write_bytes("header", value, out)?;
        }
        Ok(())
    }

    /// Reads a head that is all of `bytes`.
    ///
    /// # Errors
    ///
    /// `Malformed`; `NewerVersion`.
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut input = Input { rest: bytes };
        let head = input.head()?;
        input.end()?;
        Ok(head)
    }
}

impl<'a> Emitted<'a> {
    /// Appends an event to a head that was written.
    ///
    /// # Errors
    ///
    /// `TooLarge` for parts that no length can say.
    pub fn write(
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        write_text("topic", topic, out)?;
        let has = |part: Option<&[u8]>, bit: u8| if part.is_some() { bit } else { 0 };
        out.push(has(key, HAS_KEY) | has(value, HAS_VALUE));
        key.map_or(Ok(()), |key| write_bytes("key", key, out))?;
        value.map_or(Ok(()), |value| write_bytes("value", value, out))
    }

    /// Reads an event that is all of `bytes`.
    ///
    /// # Errors
    ///
    /// `Malformed`; `NewerVersion`.
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut input = Input { rest: bytes };
        let head = input.head()?;
        let topic = input.text("the topic")?;
        let parts = input.u8("its parts")?;
        if !(1..=HAS_KEY | HAS_VALUE).contains(&parts) {
            return Err(malformed("it has neither key nor value, or parts that are unknown")
                .with("parts", parts));
        }
        let has = |bit: u8| parts & bit != 0;
        let key = has(HAS_KEY).then(|| input.bytes("the key")).transpose()?;
        let value = has(HAS_VALUE).then(|| input.bytes("the value")).transpose()?;
        input.end()?;
        Ok(Self { head, topic, key, value })
    }
}

/// What is left to be read.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn head(&mut self) -> Result<EmittedHead<'a>> {
        let version = self.u8("the version")?;
        if !(1..=VERSIONS_MAX).contains(&version) {
            return Err(malformed("its first byte is no version of its form").with("byte", version));
        }
        if version > VERSION {
            return Err(Error::new(ErrorKind::NewerVersion, "read an emitted event")
                .because("its form is of a newer version")
                .with("version", version)
                .with("known", VERSION)
                .help("run a connector that is as new as the application's emitter"));
        }
        let place = match self.u8("the place")? {
            0 => EmittedPlace::ByKey,
            1 => EmittedPlace::By(self.bytes("the ordering key")?),
            2 => EmittedPlace::Partition(u32::from_be_bytes(self.array("the partition")?)),
            other => return Err(malformed("its place is unknown").with("place", other)),
        };
        let event_time_ms = i64::from_be_bytes(self.array("the event time")?);
        let count = usize::from(u16::from_be_bytes(self.array("the number of headers")?));
        if count > HEADERS_MAX {
            return Err(malformed("it has too many headers")
                .with("headers", count)
                .with("headers_max", HEADERS_MAX));
        }
        let all = self.rest;
        for _ in 0..count {
            self.header()?;
        }
        let bytes = &all[..all.len() - self.rest.len()];
        let headers = EmittedHeaders { count, bytes };
        Ok(EmittedHead { event_time_ms, place, headers })
    }

    fn header(&mut self) -> Result<(&'a str, &'a [u8])> {
        Ok((self.text("a header's name")?, self.bytes("a header")?))
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| {
            malformed("it is cut short").with("at", what).with("lacks", length - self.rest.len())
        })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8> {
        self.array(what).map(|[byte]| byte)
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str> {
        let length = u16::from_be_bytes(self.array(what)?);
        let bytes = self.take(length.into(), what)?;
        std::str::from_utf8(bytes)
            .map_err(|error| malformed("a text is not UTF-8").with("at", what).caused_by(error))
    }

    fn bytes(&mut self, what: &'static str) -> Result<&'a [u8]> {
        let length = u32::from_be_bytes(self.array(what)?);
        self.take(usize::try_from(length).unwrap_or(usize::MAX), what)
    }

    fn end(&self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(malformed("bytes follow its end").with("bytes", self.rest.len()))
    }
}

fn malformed(message: &'static str) -> Error {
    Error::new(ErrorKind::Malformed, "read an emitted event").because(message)
}

fn write_u16(what: &'static str, length: usize, out: &mut Vec<u8>) -> Result<()> {
    let most = usize::from(u16::MAX);
    let fits = u16::try_from(length).map_err(|_| too_large(what, length, most))?;
    out.extend_from_slice(&fits.to_be_bytes());
    Ok(())
}

fn write_text(what: &'static str, text: &str, out: &mut Vec<u8>) -> Result<()> {
    write_u16(what, text.len(), out)?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn write_bytes(what: &'static str, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let most = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
    let fits = u32::try_from(bytes.len()).map_err(|_| too_large(what, bytes.len(), most))?;
    out.extend_from_slice(&fits.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

fn too_large(what: &'static str, length: usize, most: usize) -> Error {
    Error::new(ErrorKind::TooLarge, "write an emitted event")
        .because("a part is larger than its form has room for")
        .with("part", what)
        .with("length", length)
        .with("most", most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Option<Vec<u8>>, Option<Vec<u8>>, i64, Vec<(String, Vec<u8>)>);

    fn written(
        (key, value, at_ms, headers): &Owned,
        topic: &str,
        place: EmittedPlace<'_>,
    ) -> Vec<u8> {
        let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        let mut out = Vec::new();
        EmittedHead::write(*at_ms, place, &headers, &mut out).unwrap();
        Emitted::write(topic, key.as_deref(), value.as_deref(), &mut out).unwrap();
        out
    }

    fn small() -> Vec<u8> {
        let event = (Some(vec![1]), Some(vec![2, 3]), 7, vec![("a".to_owned(), vec![4])]);
        written(&event, "t", EmittedPlace::Partition(9))
    }

    #[test]
    fn the_form_stays_as_it_is() {
        let expected = [
            &[1, 2, 0, 0, 0, 9][..],
            &[0, 0, 0, 0, 0, 0, 0, 7],
            &[0, 1, 0, 1, b'a', 0, 0, 0, 1, 4],
            &[0, 1, b't', 3, 0, 0, 0, 1, 1, 0, 0, 0, 2, 2, 3],
        ];
        assert_eq!(small(), expected.concat());
    }

    #[test]
    fn what_is_cut_short_or_goes_on_is_refused() {
        let whole = small();
        for end in 0..whole.len() {
            let error = Emitted::read(&whole[..end]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{end}: {error}");
            assert!(error.to_string().contains("cut short"), "{end}: {error}");
        }
        let error = Emitted::read(&[&whole[..], &[0]].concat()).unwrap_err();
        assert!(error.to_string().contains("bytes follow its end"), "{error}");
    }

    #[test]
    fn a_later_form_is_told_from_a_wrong_one() {
        let mut bytes = small();
        bytes[0] = 2;
        let error = Emitted::read(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NewerVersion);
        assert!(error.to_string().contains("version=2"), "{error}");
        for no_version in [0, 16, b'{'] {
            bytes[0] = no_version;
            assert_eq!(Emitted::read(&bytes).unwrap_err().kind(), ErrorKind::Malformed);
        }
    }

    #[test]
    fn too_many_headers_are_refused_both_ways() {
        let header = ("a", &b""[..]);
        let mut out = Vec::new();
        let many = vec![header; HEADERS_MAX + 1];
        let error = EmittedHead::write(0, EmittedPlace::ByKey, &many, &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        out.clear();
        EmittedHead::write(0, EmittedPlace::ByKey, &many[1..], &mut out).unwrap();
        assert_eq!(EmittedHead::read(&out).unwrap().headers.len(), HEADERS_MAX);
        out[11] += 1;
        out.extend_from_slice(&[0, 1, b'a', 0, 0, 0, 0]);
        assert!(EmittedHead::read(&out).unwrap_err().to_string().contains("too many headers"));
    }

    #[test]
    fn the_platforms_headers_are_no_applications() {
        for own in ["__emitter", "tidemesh.position", "__"] {
            assert!(is_own_header(own), "{own}");
        }
        for free in [IDEMPOTENCY_HEADER, "id", "_x", "traceparent"] {
            assert!(!is_own_header(free), "{free}");
        }
    }

    fn part() -> impl Strategy<Value = Option<Vec<u8>>> {
        prop::option::of(prop::collection::vec(any::<u8>(), 0..40))
    }

    proptest! {
        #[test]
        fn an_event_comes_back_as_it_was_written(
            key in part(),
            value in part(),
            at_ms in any::<i64>(),
            topic in "[a-z.é]{0,20}",
            headers in prop::collection::vec((".{0,8}", prop::collection::vec(any::<u8>(), 0..9)), 0..9),
            by in prop::option::of(prop::collection::vec(any::<u8>(), 0..9)),
            partition in prop::option::of(any::<u32>()),
        ) {
            prop_assume!(key.is_some() || value.is_some());
            let place = match (&by, partition) {
                (Some(key), _) => EmittedPlace::By(key),
                (None, Some(partition)) => EmittedPlace::Partition(partition),
                (None, None) => EmittedPlace::ByKey,
            };
            let event = (key, value, at_ms, headers);
            let bytes = written(&event, &topic, place);
            let read = Emitted::read(&bytes).unwrap();
            let (key, value, _, headers) = &event;
            prop_assert_eq!(read.topic, topic);
            prop_assert_eq!(read.key, key.as_deref());
            prop_assert_eq!(read.value, value.as_deref());
            prop_assert_eq!(read.head.event_time_ms, at_ms);
            prop_assert_eq!(read.head.place, place);
            let told: Vec<_> = read.head.headers.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
            prop_assert_eq!(&told, headers);
        }

        #[test]
        fn any_bytes_are_an_event_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            changed in prop::option::of((0usize..30, any::<u8>())),
        ) {
            let mut of_whole = small();
            if let Some((place, byte)) = changed {
                let place = place % of_whole.len();
                of_whole[place] = byte;
            }
            for bytes in [bytes, of_whole] {
                if let Ok(event) = Emitted::read(&bytes) {
                    prop_assert_eq!(event.head.headers.iter().count(), event.head.headers.len());
                }
                let _ = EmittedHead::read(&bytes);
            }
        }
    }
}
