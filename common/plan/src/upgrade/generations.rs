//! A table's topics: one whose schema broke goes on in the next, `<topic>.g2`.
//!
//! No table's own topic can have such a name, since points in a table's name are escaped.

use crate::mesh::{Topic, Topics};

/// The topic that a table goes on in behind this one, if it did so.
pub(super) fn next<'t>(topic: &str, topics: &'t Topics) -> Option<(&'t str, &'t Topic)> {
    let source = topics.get(topic)?.source.as_ref()?;
    let (name, next) = topics.get_key_value(&name_of_next(topic))?;
    (next.source.as_ref() == Some(source)).then_some((name.as_str(), next))
}

/// What the topic behind this one is called.
pub(super) fn name_of_next(topic: &str) -> String {
    let (table, generation) = parts(topic);
    format!("{table}.g{}", generation.saturating_add(1))
}

/// What the topic before this one is called; none for the first.
pub(super) fn name_before(topic: &str) -> Option<String> {
    match parts(topic) {
        (_, ..=1) => None,
        (table, 2) => Some(table.to_owned()),
        (table, generation) => Some(format!("{table}.g{}", generation - 1)),
    }
}

/// The table's own topic, the first.
pub(super) fn first(topic: &str) -> &str {
    parts(topic).0
}

/// The topic that a table is written to now.
pub(super) fn last<'t>(topic: &'t str, topics: &'t Topics) -> &'t str {
    let mut last = topic;
    while let Some((name, _)) = next(last, topics) {
        last = name;
    }
    last
}

fn parts(topic: &str) -> (&str, u32) {
    let generation = |(table, suffix): (&'_ str, &str)| {
        let number = suffix.strip_prefix('g')?.parse().ok()?;
        // A source, a schema and a table stand before it.
        (number >= 2 && table.contains('.')).then_some(number)
    };
    match topic.rsplit_once('.') {
        Some((table, suffix)) => match generation((table, suffix)) {
            Some(number) => (table, number),
            None => (topic, 1),
        },
        None => (topic, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tables_topics_follow_each_other() {
        assert_eq!(name_of_next("shop.public.orders"), "shop.public.orders.g2");
        assert_eq!(name_of_next("shop.public.orders.g2"), "shop.public.orders.g3");
        assert_eq!(first("shop.public.orders.g12"), "shop.public.orders");
        assert_eq!(name_before("shop.public.orders.g3").unwrap(), "shop.public.orders.g2");
        assert_eq!(name_before("shop.public.orders.g2").unwrap(), "shop.public.orders");
        assert_eq!(name_before("shop.public.orders"), None);
        for plain in ["g2", "shop.public.g", "a.gx", "a.g1", "clicks"] {
            assert_eq!((first(plain), name_of_next(plain)), (plain, format!("{plain}.g2")));
        }
    }
}
