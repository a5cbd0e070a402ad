//! A connector's own items beside the checkpoint: JSON, each with its version.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidemesh_model::{Error, ErrorKind, Result, StateItem};

/// An item as it is stored; none if it is not there.
///
/// # Errors
///
/// `Corrupt`; `NewerVersion` if its version, which `version` finds in it, is above `version_max`.
pub fn read_stored<T: for<'de> Deserialize<'de>>(
    items: &BTreeMap<String, Vec<u8>>,
    key: &'static str,
    version_max: u32,
    version: impl Fn(&T) -> u32,
) -> Result<Option<T>> {
    let Some(bytes) = items.get(key) else { return Ok(None) };
    let wrong = |kind| Error::new(kind, "read a checkpoint").with("item", key);
    let read: T =
        serde_json::from_slice(bytes).map_err(|e| wrong(ErrorKind::Corrupt).caused_by(e))?;
    if version(&read) > version_max {
        return Err(wrong(ErrorKind::NewerVersion).with("version", version(&read)));
    }
    Ok(Some(read))
}

/// The item that stores a value, which says its version itself.
///
/// # Errors
///
/// `Internal` if it is none that JSON has.
pub fn stored_item<T: Serialize>(key: &str, value: &T) -> Result<StateItem> {
    let value = serde_json::to_vec(value)
        .map_err(|e| Error::new(ErrorKind::Internal, "store a checkpoint").caused_by(e))?;
    Ok(StateItem { key: key.to_owned(), value: Some(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_comes_back_and_a_newer_one_is_refused() {
        let item = stored_item("numbers", &vec![2, 7]).unwrap();
        let items = BTreeMap::from([(item.key, item.value.unwrap())]);
        let read = |key, max| read_stored(&items, key, max, |numbers: &Vec<u32>| numbers[0]);
        assert_eq!(read("numbers", 2).unwrap(), Some(vec![2, 7]));
        assert_eq!(read("others", 2).unwrap(), None);
        assert_eq!(read("numbers", 1).unwrap_err().kind(), ErrorKind::NewerVersion);
        let spoiled = BTreeMap::from([("numbers".to_owned(), b"{".to_vec())]);
        let error = read_stored(&spoiled, "numbers", 2, |n: &Vec<u32>| n[0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
