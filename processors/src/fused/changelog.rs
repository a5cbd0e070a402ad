//! What a change of an input row is to a query's output.
//!
//! A filter lets a row in or not, so that an update whose row leaves it is a delete, and one that enters
//! it an insert. Where the row before is not known, what passes is an upsert, and what does not is a
//! delete of its key, which may delete nothing.

use tidemesh_model::Operation;

/// What is known of a row before or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    /// Nothing.
    Unknown,
    /// It passes.
    Passes,
    /// It does not pass.
    Fails,
}

/// What becomes of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// The row after; with the one before if that was there too.
    Upsert {
        operation: Operation,
        before: bool,
    },
    /// The key; with the row before if that is known.
    Delete {
        before: bool,
    },
}

/// The effect of an operation; of a row that says nothing of its operation, of an update of something
/// unknown. None for a truncate, which is about no row.
pub(super) fn effect(operation: Option<Operation>, before: Row, after: Row) -> Option<Effect> {
    use Operation::{Create, Delete, Read, Truncate, Update};
    Some(match (operation.unwrap_or(Update), before, after) {
        (Truncate, ..) => return None,
        (Delete, Row::Passes, _) => Effect::Delete { before: true },
        (Delete, Row::Fails, _) => Effect::Nothing,
        (Delete, Row::Unknown, _) => Effect::Delete { before: false },
        // A row that is created was not there.
        (Create, _, Row::Passes) => Effect::Upsert { operation: Create, before: false },
        (Create, _, Row::Fails) => Effect::Nothing,
        // A row that is read may have been there as another.
        (Read, _, Row::Passes) => Effect::Upsert { operation: Read, before: false },
        (Update, Row::Passes, Row::Passes) => Effect::Upsert { operation: Update, before: true },
        (Update, Row::Unknown, Row::Passes) => Effect::Upsert { operation: Update, before: false },
        (Update, Row::Fails, Row::Passes) => Effect::Upsert { operation: Create, before: false },
        (Update, Row::Passes, _) => Effect::Delete { before: true },
        (Update, Row::Fails, Row::Fails) => Effect::Nothing,
        (Read | Update, ..) | (Create, _, Row::Unknown) => Effect::Delete { before: false },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operation::{Create, Delete, Read, Update};

    #[test]
    fn a_filter_turns_updates_into_what_they_are_behind_it() {
        let (passes, other) = (Row::Passes, Row::Passes);
        for (operation, before, after, expected) in [
            (Update, passes, other, Effect::Upsert { operation: Update, before: true }),
            (Update, passes, Row::Fails, Effect::Delete { before: true }),
            (Update, Row::Fails, other, Effect::Upsert { operation: Create, before: false }),
            (Update, Row::Fails, Row::Fails, Effect::Nothing),
            (Update, Row::Unknown, other, Effect::Upsert { operation: Update, before: false }),
            (Update, Row::Unknown, Row::Fails, Effect::Delete { before: false }),
            (Create, Row::Unknown, other, Effect::Upsert { operation: Create, before: false }),
            (Create, Row::Unknown, Row::Fails, Effect::Nothing),
            (Read, Row::Unknown, other, Effect::Upsert { operation: Read, before: false }),
            (Read, Row::Unknown, Row::Fails, Effect::Delete { before: false }),
            (Delete, passes, Row::Unknown, Effect::Delete { before: true }),
            (Delete, Row::Fails, Row::Unknown, Effect::Nothing),
            (Delete, Row::Unknown, Row::Unknown, Effect::Delete { before: false }),
        ] {
            assert_eq!(
                effect(Some(operation), before, after),
                Some(expected),
                "{operation:?} {before:?} {after:?}"
            );
        }
        assert_eq!(effect(Some(Operation::Truncate), Row::Unknown, Row::Unknown), None);
    }
}
