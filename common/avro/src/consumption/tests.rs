use super::*;
use crate::compat::IncompatibilityKind;

fn order(zip: &str, more: &str) -> Schema {
    let text = format!(
        r#"{{"type":"record","name":"Order","fields":[{{"name":"id","type":"long"}},
            {{"name":"customer","type":["null",{{"type":"record","name":"Customer","fields":[
                {{"name":"name","type":"string"}}{zip}]}}]}}{more}]}}"#
    );
    Schema::parse(&text).unwrap()
}

const ZIP: &str = r#",{"name":"zip","type":"string"}"#;

fn fields(paths: &[&str]) -> Reads {
    Reads::Fields(paths.iter().map(|path| path.parse().unwrap()).collect())
}

fn verdict(
    candidate: &Schema,
    latest: &Schema,
    reads: &Reads,
    reader: Option<&Schema>,
) -> ConsumerVerdict {
    let proposal = Proposal { candidate, latest: Some(latest), pending: false };
    let consumer = Consumer { name: "c", reads, reader, pending: &[] };
    judge(&proposal, &[consumer]).unwrap().remove(0)
}

#[test]
fn a_removed_field_hurts_who_reads_it_alone() {
    let (old, new) = (order(ZIP, ""), order("", ""));
    let hurt = verdict(&new, &old, &fields(&["customer.zip"]), None);
    assert_eq!(hurt.effect, Effect::Hurt);
    let root = hurt.harms[0].finding.roots()[0];
    assert_eq!(root.field.as_deref(), Some("customer.zip"));
    assert_eq!(root.rule, IncompatibilityKind::ReaderFieldMissingDefaultValue);
    assert_eq!(root.reader_path, "/fields/1/type/1/fields/1");
    assert!(root.suggestion.starts_with("keep field `customer.zip`"), "{}", root.suggestion);
    for reads in [&["id"][..], &["customer.name"], &[]] {
        assert_eq!(verdict(&new, &old, &fields(reads), None).effect, Effect::Unaffected);
    }
    assert_eq!(verdict(&new, &old, &fields(&["customer"]), None).effect, Effect::Hurt);
    assert_eq!(verdict(&new, &old, &Reads::All, None).effect, Effect::Hurt);
}

#[test]
fn a_default_of_the_readers_own_saves_it() {
    let (old, new) = (order(ZIP, ""), order("", ""));
    let reader = order(r#",{"name":"zip","type":"string","default":""}"#, "");
    let saved = verdict(&new, &old, &fields(&["customer.zip"]), Some(&reader));
    assert_eq!(saved.effect, Effect::Readable);
}

#[test]
fn a_rename_hurts_who_has_no_alias_for_it() {
    let old = order(ZIP, "");
    let new = order(r#",{"name":"code","type":"string","aliases":["zip"]}"#, "");
    let reads = fields(&["customer.zip"]);
    assert_eq!(verdict(&new, &old, &reads, None).effect, Effect::Hurt);
    let prepared = order(r#",{"name":"zip","type":"string","aliases":["code"]}"#, "");
    assert_eq!(verdict(&new, &old, &reads, Some(&prepared)).effect, Effect::Readable);
}

#[test]
fn an_added_field_concerns_who_reads_all_and_hurts_none() {
    let (old, new) = (order(ZIP, ""), order(ZIP, r#",{"name":"more","type":"int"}"#));
    assert_eq!(verdict(&new, &old, &Reads::All, None).effect, Effect::Readable);
    assert_eq!(verdict(&new, &old, &fields(&["id"]), None).effect, Effect::Unaffected);
}

#[test]
fn a_type_is_judged_by_who_reads_it() {
    let (old, new) = (order(ZIP, ""), order(r#",{"name":"zip","type":"bytes"}"#, ""));
    assert_eq!(verdict(&new, &old, &fields(&["customer.zip"]), None).effect, Effect::Readable);
    let new = order(r#",{"name":"zip","type":"int"}"#, "");
    assert_eq!(verdict(&new, &old, &fields(&["customer.zip"]), None).effect, Effect::Hurt);
    assert_eq!(verdict(&new, &old, &fields(&["customer.name"]), None).effect, Effect::Unaffected);
}

#[test]
fn pending_versions_count_if_asked_for() {
    let (old, new) = (order("", ""), order(ZIP, ""));
    let reads = fields(&["customer.zip"]);
    let pending = [(1, &old), (2, &new)];
    let consumer = Consumer { name: "c", reads: &reads, reader: Some(&new), pending: &pending };
    let ask = |pending| {
        let proposal = Proposal { candidate: &new, latest: Some(&old), pending };
        judge(&proposal, &[consumer]).unwrap().remove(0)
    };
    assert_eq!(ask(false).effect, Effect::Readable);
    let hurt = ask(true);
    assert_eq!(hurt.effect, Effect::Hurt);
    assert_eq!(hurt.harms.len(), 1);
    assert_eq!(hurt.harms[0].written, Written::Version(1));
    assert!(hurt.harms[0].finding.roots()[0].suggestion.contains("`customer.zip` a default"));
}

#[test]
fn who_follows_the_newest_will_read_what_is_pending_with_the_new_schema() {
    let (old, new) = (order("", ""), order(ZIP, ""));
    let pending = [(1, &old)];
    let ask = |paths: &[&str], latest| {
        let reads = fields(paths);
        let consumer = Consumer { name: "c", reads: &reads, reader: None, pending: &pending };
        let proposal = Proposal { candidate: &new, latest, pending: true };
        judge(&proposal, &[consumer]).unwrap().remove(0)
    };
    let hurt = ask(&["customer.zip"], Some(&old));
    assert_eq!((hurt.effect, hurt.harms[0].written), (Effect::Hurt, Written::Version(1)));
    assert_eq!(ask(&["id"], Some(&old)).effect, Effect::Unaffected);
    // Also if all versions were taken away since they were written.
    assert_eq!(ask(&["customer.zip"], None).effect, Effect::Hurt);
    assert_eq!(ask(&["id"], None).effect, Effect::Unaffected);
}

#[test]
fn fields_that_were_gone_before_are_listed_and_not_judged() {
    let (old, new) = (order("", ""), order("", r#",{"name":"more","type":"int"}"#));
    let verdict = verdict(&new, &old, &fields(&["customer.zip", "id"]), None);
    assert_eq!(verdict.effect, Effect::Unaffected);
    assert_eq!(verdict.unknown, ["customer.zip".parse().unwrap()]);
}

#[test]
fn one_type_in_two_places_is_judged_by_place() {
    let of = |extra: &str| {
        Schema::parse(&format!(
            r#"{{"type":"record","name":"R","fields":[
                {{"name":"a","type":{{"type":"record","name":"T","fields":[{{"name":"x","type":"int"}}{extra}]}}}},
                {{"name":"b","type":"T"}}]}}"#
        ))
        .unwrap()
    };
    let (old, new) = (of(r#",{"name":"y","type":"int"}"#), of(""));
    assert_eq!(verdict(&new, &old, &fields(&["a.x", "b.x"]), None).effect, Effect::Unaffected);
    let hurt = verdict(&new, &old, &fields(&["a.x", "b.y"]), None);
    let paths: Vec<_> = hurt.harms.iter().map(|harm| harm.finding.field.as_deref()).collect();
    assert_eq!(paths, [Some("b.y")]);
}
