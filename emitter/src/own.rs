//! Whose name an emitter's is: what its writer's state says of who has it, and how far that one has come.

use tidemesh_model::{Error, ErrorKind, Result, StateItem};
use tidemesh_transport::{Append, Transport, WriterEpoch};

/// What stands before emitters' names where writers are named: no source's name has a colon.
const PREFIX: &str = "emitter:";

/// The item of the state.
const ITEM: &str = "emitter";

/// The longest name.
const NAME_BYTES_MAX: usize = 200;

/// Who has a name, and the number of the append that is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) instance: u64,
    pub(crate) next: u64,
}

/// The writer of the emitter of this name.
///
/// # Errors
///
/// `Config` for a name that cannot be one.
pub(crate) fn writer_id(name: &str) -> Result<String> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(format!("{PREFIX}{name}"));
    }
    Err(Error::new(ErrorKind::Config, "name an emitter")
        .because("its name has 1 to 200 of a-z A-Z 0-9 . _ -")
        .with("emitter", name.escape_debug()))
}

impl Owner {
    /// The item that says so.
    pub(crate) fn item(self) -> StateItem {
        let value = Some(crate::queue::stamp(self.instance, self.next).to_vec());
        StateItem { key: ITEM.to_owned(), value }
    }

    /// The item that says that nobody has the name.
    pub(crate) fn nobody() -> StateItem {
        StateItem { key: ITEM.to_owned(), value: None }
    }

    fn read(value: &[u8]) -> Result<Self> {
        let Ok(bytes) = <&[u8; 16]>::try_from(value) else {
            return Err(Error::new(ErrorKind::Corrupt, "read an emitter's state")
                .because("it has another length")
                .with("bytes", value.len()));
        };
        let both = u128::from_be_bytes(*bytes);
        let low = |both: u128| u64::try_from(both & u128::from(u64::MAX)).unwrap_or_default();
        Ok(Self { instance: low(both >> 64), next: low(both) })
    }
}

/// Takes the name: from here on who had it before is fenced.
///
/// # Errors
///
/// What the transport answers.
pub(crate) async fn take_over<T: Transport>(
    transport: &T,
    writer: &str,
    instance: u64,
) -> Result<WriterEpoch> {
    let epoch = transport.open_writer(writer).await?;
    let state = vec![Owner { instance, next: 0 }.item()];
    let append = Append { writer: Some(epoch.clone()), state, ..Append::default() };
    transport.append(append).await?;
    Ok(epoch)
}

/// Opens the writer again after a failure, and tells how far it has come; none if another has taken the
/// name.
///
/// # Errors
///
/// What the transport answers, `Fenced` among it: two that open at once fence each other, and only the
/// state tells whose the name is.
pub(crate) async fn open_again<T: Transport>(
    transport: &T,
    writer: &str,
    instance: u64,
) -> Result<Option<(WriterEpoch, Owner)>> {
    // Whoever has taken the name is not to be fenced by one that it has fenced.
    if owner(transport, writer, instance).await?.is_none() {
        return Ok(None);
    }
    let epoch = transport.open_writer(writer).await?;
    Ok(owner(transport, writer, instance).await?.map(|owner| (epoch, owner)))
}

async fn owner<T: Transport>(transport: &T, writer: &str, instance: u64) -> Result<Option<Owner>> {
    let state = transport.state(writer).await?;
    let owner = state.get(ITEM).map(|value| Owner::read(value)).transpose()?;
    Ok(owner.filter(|owner| owner.instance == instance))
}

/// What is told of one whose name another has taken.
pub(crate) fn taken(writer: &str) -> Error {
    Error::new(ErrorKind::Fenced, "deliver events")
        .because("another emitter of this name has taken over")
        .with("writer", writer)
        .help("give each running instance a name of its own, as orders-api-1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_comes_back_and_what_is_none_is_refused() {
        let owner = Owner { instance: u64::MAX - 1, next: 7 };
        assert_eq!(Owner::read(&owner.item().value.unwrap()).unwrap(), owner);
        for bytes in [0, 15, 17] {
            assert_eq!(Owner::read(&vec![0; bytes]).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn a_name_that_cannot_be_one_is_refused() {
        assert_eq!(writer_id("orders-api.1").unwrap(), "emitter:orders-api.1");
        for name in ["", "a b", "a:b", "a/b", &"x".repeat(201)] {
            assert!(writer_id(name).unwrap_err().to_string().contains("1 to 200"), "{name}");
        }
    }
}
