//! The checkpoint as stored: the run loop's own item beside those of the source.

use crate::Checkpoint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidemesh_model::{Error, ErrorKind, Position, Result, StateItem};
use tidemesh_transport::{read_stored, stored_item};

/// The key of the run loop's own item in a writer's state.
pub const POSITION_KEY: &str = "position";

/// The key of the epoch from which a source without a checkpoint begins: one of its name was removed.
const EPOCH_KEY: &str = "epoch";

/// The version this program writes.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    position: String,
    /// When the log was written up to there, by the source's clock.
    at_us: i64,
}

/// The item that says: everything at or before `position` is in the topics.
///
/// # Errors
///
/// `Internal` if it cannot be written as JSON, which does not happen.
pub fn position_item(position: Position, at_us: i64) -> Result<StateItem> {
    let stored = Stored { version: VERSION, position: position.to_string(), at_us };
    stored_item(POSITION_KEY.to_owned(), &stored, "write a checkpoint")
}

/// The checkpoint in a writer's state; none if nothing was ever stored.
///
/// # Errors
///
/// `NewerVersion` if a newer program wrote it; `Corrupt` if it cannot be read.
pub fn read_checkpoint(
    source: &str,
    mut state: BTreeMap<String, Vec<u8>>,
) -> Result<Option<Checkpoint>> {
    let Some(bytes) = state.remove(POSITION_KEY) else {
        return Ok(None);
    };
    let doing = "read a checkpoint";
    let stored: Stored =
        read_stored(&bytes, VERSION, doing).map_err(|e| e.with("source", source))?;
    let position = stored.position.parse().map_err(|error| {
        Error::new(ErrorKind::Corrupt, doing).with("source", source).caused_by(error)
    })?;
    Ok(Some(Checkpoint { position, items: state }))
}

/// The item that says from which epoch a source begins that has no checkpoint.
pub(crate) fn epoch_item(epoch: u32) -> StateItem {
    StateItem { key: EPOCH_KEY.to_owned(), value: Some(epoch.to_string().into_bytes()) }
}

/// The epoch from which a source begins that has no checkpoint.
///
/// # Errors
///
/// `Corrupt` if the item is no number.
pub(crate) fn first_epoch(state: &BTreeMap<String, Vec<u8>>) -> Result<u32> {
    let Some(value) = state.get(EPOCH_KEY) else { return Ok(1) };
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "read a checkpoint").with("item", EPOCH_KEY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(item: StateItem) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([(item.key, item.value.unwrap()), ("relation/1".into(), vec![7])])
    }

    #[test]
    fn a_checkpoint_comes_back_with_the_sources_items() {
        let position = Position { epoch: 2, commit: 3, ordinal: 4 };
        let checkpoint =
            read_checkpoint("s", state(position_item(position, 5).unwrap())).unwrap().unwrap();
        assert_eq!(checkpoint.position, position);
        assert_eq!(checkpoint.items, BTreeMap::from([("relation/1".to_owned(), vec![7])]));
    }

    #[test]
    fn a_newer_checkpoint_is_refused() {
        let item = StateItem {
            key: POSITION_KEY.into(),
            value: Some(br#"{"version":2,"position":"0-0-0","at_us":0}"#.to_vec()),
        };
        let error = read_checkpoint("s", state(item)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NewerVersion);
    }

    #[test]
    fn an_epoch_outlives_its_source() {
        assert_eq!(first_epoch(&BTreeMap::new()).unwrap(), 1);
        let item = epoch_item(7);
        let mut state = BTreeMap::from([(item.key, item.value.unwrap())]);
        assert_eq!(first_epoch(&state).unwrap(), 7);
        state.insert(EPOCH_KEY.into(), b"x".to_vec());
        assert_eq!(first_epoch(&state).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn no_state_is_no_checkpoint() {
        assert_eq!(read_checkpoint("s", BTreeMap::new()).unwrap(), None);
    }
}
