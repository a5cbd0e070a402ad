//! Sets of documents by chance: in whatever way one is planned, the answer is the same.

use super::*;
use crate::document::parse;
use proptest::prelude::*;
use std::fmt::Write as _;
use tidemesh_avro::schema::Schema;

const SOURCES: usize = 4;

/// What pipelines do. Each keeps the columns that the others name.
const RIGHT: [&str; 4] = [
    "SELECT * FROM rows",
    "SELECT id, upper(a) AS a, b + 1 AS b FROM rows WHERE a <> 'x'",
    "SELECT id, CASE WHEN b > 10 THEN a ELSE 'no' END AS a, b * 2 AS b FROM rows",
    "SELECT id, a, b FROM rows WHERE b BETWEEN 1 AND 1000 OR a LIKE 'x%'",
];

const WRONG: [&str; 2] = ["SELECT id, a, c FROM rows", "SELECT a, b FROM rows"];

/// Topics of so many columns beside the key.
fn topics(columns: usize) -> Topics {
    let field = |column: usize| {
        let name = ["a", "b", "more"][column];
        let of = ["string", "long", "double"][column];
        format!(r#",{{"name":"{name}","type":["null","{of}"],"default":null}}"#)
    };
    let fields: String = (0..columns).map(field).collect();
    let record = |name: &str, fields: &str| {
        let id = r#"{"name":"id","type":"long"}"#;
        let text = format!(r#"{{"type":"record","name":"{name}","fields":[{id}{fields}]}}"#);
        Schema::parse(&text).unwrap()
    };
    let topic =
        || Topic { key: Some(record("Key", "")), value: record("Value", &fields), source: None };
    (0..SOURCES).map(|number| (format!("s{number}.t"), topic())).collect()
}

/// A pipeline: whether it reads a source, which topic of its kind, what it does, and whether it is wrong.
type Choice = (bool, usize, usize, bool);

fn documents(choices: &[Choice]) -> Vec<Document> {
    let mut text = String::new();
    for (number, (source, of, sql, wrong)) in choices.iter().enumerate() {
        let input = match number {
            0 => "s0.t".to_owned(),
            _ if *source => format!("s{}.t", of % SOURCES),
            // One that is wrong may read what is behind it; one that reads itself cannot be read at all.
            _ if *wrong => match of % choices.len() {
                of if of == number => format!("m{}", (of + 1) % choices.len()),
                of => format!("m{of}"),
            },
            _ => format!("m{}", of % number),
        };
        let sql = if *wrong { WRONG[sql % WRONG.len()] } else { RIGHT[sql % RIGHT.len()] };
        write!(
            text,
            "---\napiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: p{number}}}\nspec:\n  \
             inputs: {{rows: {input}}}\n  processors: [{{name: made, sql: \"{sql}\"}}]\n  \
             sinks: [{{name: out, from: made, kafka: {{topic: m{number}}}}}]\n"
        )
        .unwrap();
    }
    parse(&text).unwrap()
}

/// All that a plan says.
fn told(planned: Result<MeshPlan, Problems>) -> Result<Vec<String>, Problems> {
    let text = |plan: &PipelinePlan| {
        let PipelinePlan { digest, inputs, queries, outputs, .. } = plan;
        let of = outputs.iter().map(|of| (&of.schemas, &of.settings, &of.query, &of.reads));
        let of: Vec<_> = of.collect();
        format!("{plan}{digest}{inputs:?}{queries:?}{of:?}")
    };
    planned.map(|plan| plan.pipelines.iter().map(text).collect())
}

fn choices(wrong: f64) -> impl Strategy<Value = Vec<Choice>> {
    let choice = (any::<bool>(), 0..1_000_usize, 0..1_000_usize, prop::bool::weighted(wrong));
    prop::collection::vec(choice, 1..48)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_set_is_planned_alike_by_one_thread_and_by_several_anew_and_from_what_was_kept(
        choices in prop_oneof![choices(0.0), choices(0.1)],
    ) {
        let documents = documents(&choices);
        let by = |topics: &Topics, cache: &PlanCache, threads: usize| {
            let planned = || plan_all(&documents, topics, &Accepted::new(), cache, threads);
            told(with_stack(planned))
        };
        let (before, after) = (topics(2), topics(3));
        let (none, few, all) = (PlanCache::new(0), PlanCache::new(3), PlanCache::default());
        let alone = by(&before, &none, 1);
        prop_assert_eq!(&by(&before, &none, 4), &alone);
        prop_assert_eq!(&by(&before, &all, 4), &alone);
        prop_assert_eq!(&by(&before, &all, 1), &alone);
        prop_assert_eq!(&by(&before, &few, 4), &alone);
        prop_assert!(few.len() <= 3 && none.is_empty());
        let alone = by(&after, &none, 1);
        prop_assert_eq!(&by(&after, &all, 4), &alone);
        prop_assert_eq!(&by(&after, &few, 4), &alone);
    }
}

#[test]
fn what_a_plan_is_made_of_decides_whether_there_is_one_already() {
    let cache = PlanCache::default();
    let set = documents(&[(true, 0, 0, false), (false, 0, 1, false)]);
    let kept = |documents: &[Document], topics: &Topics, accepted: &Accepted| {
        plan_with(documents, topics, accepted, &cache).unwrap();
        cache.len()
    };
    let none = Accepted::new();
    assert_eq!(kept(&set, &topics(2), &none), 2);
    assert_eq!(kept(&set, &topics(2), &none), 2);
    // The other one reads what the first makes, which has a column more.
    assert_eq!(kept(&set, &topics(3), &none), 4);
    let mut owned = set.clone();
    owned[1].metadata.owner = Some("somebody".into());
    assert_eq!(kept(&owned, &topics(2), &none), 5);
    let of_rows = BTreeMap::from([("rows".to_owned(), BTreeSet::from(["id".to_owned()]))]);
    let accepted = Accepted::from([("p1".to_owned(), of_rows)]);
    assert_eq!(kept(&set, &topics(2), &accepted), 6);
}
