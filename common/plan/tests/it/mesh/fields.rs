//! Which fields flow on: rules, and fields that came after a pipeline was applied.

use super::{documents, topics};
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_plan::mesh::{Accepted, PipelinePlan, Topics, plan};

fn text(spec: &str) -> String {
    format!(
        "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: p}}\nspec:\n  inputs: {{r: \
         shop.refunds}}\n  processors:\n    - {{name: all, sql: SELECT * FROM r}}\n  sinks:\n    - \
         {{name: out, from: all, kafka: {{topic: a}}}}\n    - {{name: raw, from: r, kafka: {{topic: \
         b}}}}\n{spec}"
    )
}

fn planned(spec: &str, accepted: Option<&[&str]>) -> PipelinePlan {
    let accepted = accepted.map(|names| {
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        BTreeMap::from([("r".to_owned(), names)])
    });
    let accepted: Accepted = accepted.into_iter().map(|of| ("p".to_owned(), of)).collect();
    let plan = plan(&documents(&text(spec)), &topics(), &accepted).unwrap();
    plan.pipelines.into_iter().next().unwrap()
}

/// The columns of both sinks, which are the same.
fn columns(plan: &PipelinePlan) -> Vec<&str> {
    let of = |place: usize| -> Vec<&str> {
        let columns = &plan.outputs[place].query.columns;
        columns.iter().map(|column| column.name.as_str()).collect()
    };
    assert_eq!(of(0), of(1));
    of(0)
}

#[test]
fn a_star_takes_what_there_is_and_what_comes() {
    let all = ["id", "order_id", "amount", "reason", "at"];
    assert_eq!(columns(&planned("", None)), all);
    assert_eq!(columns(&planned("", Some(&["id"]))), all);
}

#[test]
fn a_field_that_came_later_is_left_out_where_new_ones_are_ignored() {
    for spec in ["  new_fields: ignore\n", "  evolution: pinned\n"] {
        let plan = planned(spec, Some(&["id", "reason", "gone"]));
        assert_eq!(columns(&plan), ["id", "reason"]);
        // What is gone and comes back is new then.
        assert_eq!(plan.inputs[0].accepted, BTreeSet::from(["id".into(), "reason".into()]));
        // Of a new pipeline nothing came later.
        assert_eq!(columns(&planned(spec, None)).len(), 5);
    }
}

#[test]
fn a_rule_says_what_becomes_of_a_field_whatever_is_new() {
    let never = "  fields: [{input: r, field: reason, flow: never}]\n";
    let plan = planned(never, None);
    assert_eq!(columns(&plan), ["id", "order_id", "amount", "at"]);
    // It was there: were the rule dropped, it would flow.
    assert!(plan.inputs[0].accepted.contains("reason"));
    let always = "  new_fields: ignore\n  fields: [{input: r, field: at, flow: always}]\n";
    let plan = planned(always, Some(&["id"]));
    assert_eq!(columns(&plan), ["id", "at"]);
    assert!(plan.inputs[0].accepted.contains("at"));
}

#[test]
fn sql_that_names_a_field_has_it_whatever_the_rules_say() {
    let text = text("  fields: [{input: r, field: reason, flow: never}]\n");
    let text = text.replace("SELECT * FROM r", "\"SELECT id, upper(reason) AS why FROM r\"");
    let plan = plan(&documents(&text), &topics(), &Accepted::new()).unwrap();
    let columns = &plan.pipelines[0].outputs[0].query.columns;
    assert_eq!(
        columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
        ["id", "why"]
    );
}

#[test]
fn fields_are_accepted_again_with_what_was_told_of_them() {
    let first = planned("  new_fields: ignore\n", Some(&["id", "amount"]));
    let names: Vec<&str> = first.inputs[0].accepted.iter().map(String::as_str).collect();
    let again = planned("  new_fields: ignore\n", Some(&names));
    assert_eq!(columns(&first), columns(&again));
    assert_eq!(first.digest, again.digest);
    let nothing = Topics::new();
    assert!(plan(&documents(&text("")), &nothing, &Accepted::new()).is_err());
}
