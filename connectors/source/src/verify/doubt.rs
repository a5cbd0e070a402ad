//! What differs and proves nothing: where topic and database may rightly say two things.

use super::LookedUp;
use super::texts::unpack;
use std::collections::BTreeSet;
use tidemesh_transport::TopicInfo;

use tidemesh_model::CleanupPolicy;

/// A reason for which some differences prove nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    /// In which columns, by their places.
    columns: Columns,
    /// Whether a row may be missing in the topic.
    missing: bool,
    /// Whether it may have one that the database does not have.
    extra: bool,
    /// Why, behind "they may be right: ".
    why: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Columns {
    All,
    Some(BTreeSet<usize>),
}

impl Doubt {
    /// That everything may be right.
    pub(super) fn of_all(why: String) -> Self {
        Self { columns: Columns::All, missing: true, extra: true, why }
    }

    /// Of what was looked up; none if nothing was.
    pub(super) fn of_lookups(looked_up: &LookedUp) -> Option<Self> {
        let LookedUp { columns, rows, topics } = looked_up;
        let topics = topics.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let why = format!(
            "what was looked up in {topics} is as it was when a row was made, a change of it later \
             writes none anew, and the database knows it only as it is now"
        );
        let columns = if *rows { Columns::All } else { Columns::Some(columns.clone()) };
        let doubts = *rows || columns != Columns::Some(BTreeSet::new());
        doubts.then_some(Self { columns, missing: *rows, extra: *rows, why })
    }

    /// Of a topic from which records go by age or size; none if all of it is there.
    pub(super) fn of_retention(topic: &TopicInfo) -> Option<Self> {
        let lets_go = topic.config.cleanup_policy == CleanupPolicy::Delete;
        let gone = lets_go && topic.partitions.iter().any(|partition| partition.begin > 0);
        let why = format!("{} keeps records for a time, and its first ones are gone", topic.name);
        let columns = Columns::Some(BTreeSet::new());
        gone.then_some(Self { columns, missing: true, extra: false, why })
    }

    fn has(&self, column: usize) -> bool {
        match &self.columns {
            Columns::All => true,
            Columns::Some(columns) => columns.contains(&column),
        }
    }
}

/// Whether doubts are enough to explain that a row of the database and one of the topic differ; each
/// that was needed is noted.
pub(super) fn explained<'d>(
    doubts: &'d [Doubt],
    database: Option<&[u8]>,
    topic: Option<&[u8]>,
    used: &mut BTreeSet<&'d str>,
) -> bool {
    let mut by = |explains: &dyn Fn(&Doubt) -> bool| {
        let found = doubts.iter().find(|doubt| explains(doubt));
        used.extend(found.map(|doubt| doubt.why.as_str()));
        found.is_some()
    };
    match (database, topic) {
        (Some(database), Some(topic)) => {
            let mut both = unpack(database).into_iter().zip(unpack(topic)).enumerate();
            both.all(|(column, (one, other))| one == other || by(&|doubt| doubt.has(column)))
        }
        (Some(_), None) => by(&|doubt| doubt.missing),
        (None, _) => by(&|doubt| doubt.extra),
    }
}

#[cfg(test)]
mod tests {
    use super::super::texts::pack;
    use super::*;
    use tidemesh_transport::{PartitionInfo, TopicConfig};

    fn row(cells: [&str; 3]) -> Vec<u8> {
        pack(cells.map(Some)).unwrap()
    }

    fn looked_up(columns: &[usize], rows: bool) -> Option<Doubt> {
        let columns = columns.iter().copied().collect();
        Doubt::of_lookups(&LookedUp { columns, rows, topics: BTreeSet::from(["c".to_owned()]) })
    }

    fn told(doubt: &Doubt, database: Option<[&str; 3]>, topic: Option<[&str; 3]>) -> bool {
        let (database, topic) = (database.map(row), topic.map(row));
        let mut used = BTreeSet::new();
        let doubts = std::slice::from_ref(doubt);
        let found = explained(doubts, database.as_deref(), topic.as_deref(), &mut used);
        assert!(!found || used.len() == 1);
        found
    }

    #[test]
    fn only_what_was_looked_up_is_in_doubt() {
        let (was, now, other) = (["1", "2", "old"], ["1", "2", "new"], ["1", "3", "old"]);
        assert_eq!(looked_up(&[], false), None);
        let doubt = looked_up(&[2], false).unwrap();
        assert!(told(&doubt, Some(now), Some(was)));
        assert!(!told(&doubt, Some(now), Some(other)), "another column differs too");
        assert!(!told(&doubt, Some(now), None) && !told(&doubt, None, Some(now)));
        let doubt = looked_up(&[2], true).unwrap();
        assert!(told(&doubt, Some(now), None) && told(&doubt, None, Some(now)));
        assert!(told(&doubt, Some(now), Some(other)), "it is another row of the key");
    }

    #[test]
    fn what_a_topic_let_go_of_may_be_missing_and_nothing_else() {
        let config =
            TopicConfig { cleanup_policy: CleanupPolicy::Delete, ..TopicConfig::default() };
        let partition = |begin| PartitionInfo { begin, end: 9, bytes: None };
        let mut topic =
            TopicInfo { name: "t".into(), config, partitions: vec![partition(0), partition(3)] };
        let doubt = Doubt::of_retention(&topic).unwrap();
        let rows = (["1", "2", "a"], ["1", "2", "b"]);
        assert!(told(&doubt, Some(rows.0), None));
        assert!(!told(&doubt, None, Some(rows.0)) && !told(&doubt, Some(rows.0), Some(rows.1)));
        topic.config.cleanup_policy = CleanupPolicy::Compact;
        assert_eq!(Doubt::of_retention(&topic), None);
    }
}
