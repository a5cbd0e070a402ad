//! What a set of documents means together.

mod bad;
mod fields;
mod good;
mod lineage;
mod openlineage;
mod oracle;
mod removed;
mod speed;

use crate::support;
use tidemesh_avro::schema::Schema;
use tidemesh_plan::Problems;
use tidemesh_plan::document::{Document, parse};
use tidemesh_plan::mesh::{Accepted, MeshPlan, Topic, Topics, plan};

const GOOD: &str = include_str!("../../../testdata/mesh/good.yaml");

/// The topics of the shop's connector, and one of an application.
fn topics() -> Topics {
    let envelope = |row| Topic {
        key: support::key(&["id"]),
        value: support::envelope(row),
        source: Some("shop".into()),
    };
    let clicks = Schema::parse(support::CLICKS).unwrap();
    Topics::from([
        ("shop.orders".to_owned(), envelope(support::ORDERS)),
        ("shop.refunds".to_owned(), envelope(support::REFUNDS)),
        ("shop.customers".to_owned(), envelope(support::CUSTOMERS)),
        ("app.clicks".to_owned(), Topic { key: None, value: clicks, source: None }),
    ])
}

fn documents(text: &str) -> Vec<Document> {
    parse(text).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn planned(text: &str) -> Result<MeshPlan, Problems> {
    plan(&documents(text), &topics(), &Accepted::new())
}

fn good() -> MeshPlan {
    planned(GOOD).unwrap_or_else(|problems| panic!("{problems}"))
}
