//! Where the log is taken up, as it is stored beside the source's checkpoint.

use crate::held::Held;
use crate::takeup::LogPlace;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidemesh_model::{Result, StateItem};
use tidemesh_source::{read_stored, stored_item};

/// The item that says where the log is taken up.
const LOG_KEY: &str = "log";

/// The version of its stored form.
const STORED_VERSION: u32 = 1;

/// The version of a place before what is held, which who does not hold it must not go on from.
const HELD_VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct StoredPlace {
    version: u32,
    #[serde(flatten)]
    place: LogPlace,
}

/// The stored place of a checkpoint.
///
/// # Errors
///
/// `Corrupt`, `NewerVersion`.
pub(crate) fn read_place(items: &BTreeMap<String, Vec<u8>>) -> Result<Option<LogPlace>> {
    let stored = read_stored(items, LOG_KEY, HELD_VERSION, |stored: &StoredPlace| stored.version);
    Ok(stored?.map(|stored| stored.place))
}

/// The item by which a stored place is forgotten: the log is then taken up where the checkpoint's position
/// says.
#[must_use]
pub fn forgotten_place() -> StateItem {
    StateItem { key: LOG_KEY.to_owned(), value: None }
}

/// The item of a place, before what is held if something is.
pub(crate) fn place_item(place: &LogPlace, held: &Held) -> Result<StateItem> {
    let place = held.place(place);
    let is_behind = !held.is_empty() || place.ahead.is_some();
    let version = if is_behind { HELD_VERSION } else { STORED_VERSION };
    stored_item(LOG_KEY, &StoredPlace { version, place })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Flavor;
    use crate::gtid::GtidSet;
    use tidemesh_model::ErrorKind;

    /// What another one reads that knows places up to this version.
    fn read_by(version_max: u32, item: StateItem) -> Result<Option<LogPlace>> {
        let items = BTreeMap::from([(item.key, item.value.unwrap())]);
        let stored =
            read_stored(&items, LOG_KEY, version_max, |stored: &StoredPlace| stored.version);
        Ok(stored?.map(|stored| stored.place))
    }

    #[test]
    fn a_place_before_what_is_held_is_refused_by_who_would_not_hold_it() {
        let mut place = LogPlace {
            flavor: Flavor::MariaDb,
            server: "a".to_owned(),
            file: "log.000002".to_owned(),
            position: 500,
            gtids: Some(GtidSet::parse(Flavor::MariaDb, "0-1-5").unwrap()),
            ahead: None,
        };
        let held = Held::new(0);
        let item = place_item(&place, &held).unwrap();
        assert_eq!(read_by(STORED_VERSION, item).unwrap(), Some(place.clone()));
        place.ahead = Some(GtidSet::parse(Flavor::MariaDb, "0-1-9").unwrap());
        let item = place_item(&place, &held).unwrap();
        assert_eq!(read_by(HELD_VERSION, item.clone()).unwrap(), Some(place));
        let error = read_by(STORED_VERSION, item).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NewerVersion);
    }
}
