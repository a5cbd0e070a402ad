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
    /// It passes, and stands at this place among those that do.
    Passes(usize),
    /// It does not pass.
    Fails,
}

/// What becomes of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    Upsert { operation: Operation, before: Option<usize>, after: usize },
    Delete { before: Option<usize> },
}

/// The effect of an operation; of a row that says nothing of its operation, of an update of something
/// unknown. None for a truncate, which is about no row.
pub(super) fn effect(operation: Option<Operation>, before: Row, after: Row) -> Option<Effect> {
    use Operation::{Create, Delete, Read, Truncate, Update};
    Some(match (operation.unwrap_or(Update), before, after) {
        (Truncate, ..) => return None,
        (Delete, Row::Passes(before), _) => Effect::Delete { before: Some(before) },
        (Delete, Row::Fails, _) => Effect::Nothing,
        (Delete, Row::Unknown, _) => Effect::Delete { before: None },
        // A row that is created was not there.
        (Create, _, Row::Passes(after)) => {
            Effect::Upsert { operation: Create, before: None, after }
        }
        (Create, _, Row::Fails) => Effect::Nothing,
        // A row that is read may have been there as another.
        (Read, _, Row::Passes(after)) => Effect::Upsert { operation: Read, before: None, after },
        (Update, Row::Passes(before), Row::Passes(after)) => {
            Effect::Upsert { operation: Update, before: Some(before), after }
        }
        (Update, Row::Unknown, Row::Passes(after)) => {
            Effect::Upsert { operation: Update, before: None, after }
        }
        (Update, Row::Fails, Row::Passes(after)) => {
            Effect::Upsert { operation: Create, before: None, after }
        }
        (Update, Row::Passes(before), _) => Effect::Delete { before: Some(before) },
        (Update, Row::Fails, Row::Fails) => Effect::Nothing,
        (Read | Update, ..) | (Create, _, Row::Unknown) => Effect::Delete { before: None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operation::{Create, Delete, Read, Update};

    #[test]
    fn a_filter_turns_updates_into_what_they_are_behind_it() {
        let (passes, other) = (Row::Passes(1), Row::Passes(2));
        for (operation, before, after, expected) in [
            (
                Update,
                passes,
                other,
                Effect::Upsert { operation: Update, before: Some(1), after: 2 },
            ),
            (Update, passes, Row::Fails, Effect::Delete { before: Some(1) }),
            (
                Update,
                Row::Fails,
                other,
                Effect::Upsert { operation: Create, before: None, after: 2 },
            ),
            (Update, Row::Fails, Row::Fails, Effect::Nothing),
            (
                Update,
                Row::Unknown,
                other,
                Effect::Upsert { operation: Update, before: None, after: 2 },
            ),
            (Update, Row::Unknown, Row::Fails, Effect::Delete { before: None }),
            (
                Create,
                Row::Unknown,
                other,
                Effect::Upsert { operation: Create, before: None, after: 2 },
            ),
            (Create, Row::Unknown, Row::Fails, Effect::Nothing),
            (Read, Row::Unknown, other, Effect::Upsert { operation: Read, before: None, after: 2 }),
            (Read, Row::Unknown, Row::Fails, Effect::Delete { before: None }),
            (Delete, passes, Row::Unknown, Effect::Delete { before: Some(1) }),
            (Delete, Row::Fails, Row::Unknown, Effect::Nothing),
            (Delete, Row::Unknown, Row::Unknown, Effect::Delete { before: None }),
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
