//! What is kept in a checkpoint's items as JSON, with the version of its form as the member `version`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidemesh_model::{Error, ErrorKind, Result, StateItem};

/// Takes the items whose keys begin so out of a checkpoint's, in the order of their keys.
///
/// # Errors
///
/// As [`read_stored`], with the item.
pub fn take_stored<T: DeserializeOwned>(
    items: &mut BTreeMap<String, Vec<u8>>,
    prefix: &str,
    version_known: u32,
    doing: &'static str,
) -> Result<Vec<T>> {
    let taken = items.extract_if(.., |key, _| key.starts_with(prefix));
    let read = |(key, value): (String, Vec<u8>)| {
        read_stored(&value, version_known, doing).map_err(|error| error.with("item", &key))
    };
    taken.map(read).collect()
}

/// Reads an item's value.
///
/// # Errors
///
/// `NewerVersion` if its form is of a later version than `version_known`, whatever else it has;
/// `Corrupt` if it cannot be read.
pub fn read_stored<T: DeserializeOwned>(
    value: &[u8],
    version_known: u32,
    doing: &'static str,
) -> Result<T> {
    #[derive(Deserialize)]
    struct Form {
        version: u32,
    }
    let corrupt = |error: serde_json::Error| Error::new(ErrorKind::Corrupt, doing).caused_by(error);
    let Form { version } = serde_json::from_slice(value).map_err(corrupt)?;
    if version > version_known {
        return Err(Error::new(ErrorKind::NewerVersion, doing)
            .because("it was written by a newer version of tidemesh")
            .with("version", version)
            .with("version_known", version_known)
            .help("run that version or a newer one"));
    }
    serde_json::from_slice(value).map_err(corrupt)
}

/// The item that stores a value, which has its version in it.
///
/// # Errors
///
/// `Internal` if it cannot be written as JSON, which does not happen.
pub fn stored_item(key: String, value: &impl Serialize, doing: &'static str) -> Result<StateItem> {
    let value = serde_json::to_vec(value)
        .map_err(|error| Error::new(ErrorKind::Internal, doing).caused_by(error))?;
    Ok(StateItem { key, value: Some(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        version: u32,
        name: String,
    }

    #[test]
    fn items_of_a_prefix_are_taken_and_others_stay() {
        let items = ["a/2", "a/1", "b"].map(|key| {
            let thing = Thing { version: 1, name: key.to_owned() };
            let StateItem { key, value } = stored_item(key.to_owned(), &thing, "store").unwrap();
            (key, value.unwrap())
        });
        let mut items = BTreeMap::from(items);
        let taken: Vec<Thing> = take_stored(&mut items, "a/", 1, "read").unwrap();
        assert_eq!(taken.iter().map(|thing| &*thing.name).collect::<Vec<_>>(), ["a/1", "a/2"]);
        assert_eq!(items.keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_newer_form_is_told_as_such_though_it_cannot_be_read() {
        let read = |value: &str| read_stored::<Thing>(value.as_bytes(), 1, "read").unwrap_err();
        assert_eq!(read(r#"{"version":2,"title":"x"}"#).kind(), ErrorKind::NewerVersion);
        for broken in ["", "{}", r#"{"version":1}"#] {
            assert_eq!(read(broken).kind(), ErrorKind::Corrupt, "{broken}");
        }
        let mut items = BTreeMap::from([("a/1".to_owned(), Vec::new())]);
        let error = take_stored::<Thing>(&mut items, "a/", 1, "read").unwrap_err();
        assert!(error.report().contains("item=a/1"), "{}", error.report());
    }
}
