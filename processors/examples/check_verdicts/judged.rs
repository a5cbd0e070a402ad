//! A case judged, and each verdict held against what chains really do.

use super::case::{Case, OTHER, TOPIC};
use super::feed::{Feed, NEW, OLD, Record, other, widened};
use super::look::{Former, Shown, carried, equal, folded, new_fields};
use super::random::Random;
use super::run::{Out, Schemas, run, seen};
use apache_avro::reader::datum::GenericDatumReader;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use tidemesh_avro::compat::{Direction, check_level};
use tidemesh_avro::frame;
use tidemesh_avro::resolve::Resolver;
use tidemesh_avro::schema::Schema;
use tidemesh_plan::document::{Document, Evolution, Spec, parse};
use tidemesh_plan::mesh::{Accepted, MeshPlan, PipelinePlan, Topic, Topics, plan};
use tidemesh_plan::relation::Relation;
use tidemesh_plan::upgrade::certificate::{Facts, recheck};
use tidemesh_plan::upgrade::impact::apply;
use tidemesh_plan::upgrade::{
    Judged, Judgement, Question, Snapshot, Subject, Unfit, Verdict, judge,
};

/// How often other records are tried to show that a pipeline that is held must be: by chance the first
/// may not show it.
const ATTEMPTS_MAX: u64 = 12;

/// What was found out about a case.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) wrong: Vec<String>,
    /// Whether other records may show that all is right.
    may_be_chance: bool,
}

/// A case with all that is judged of it.
pub(crate) struct Trial<'t> {
    case: &'t Case,
    documents: Vec<Document>,
    running: MeshPlan,
    topics: Topics,
    judged: Judged,
}

/// What a pipeline reads.
pub(crate) struct Stream {
    pub(crate) before: Vec<Record>,
    /// What would come had nothing changed; none if it cannot be told record by record.
    pub(crate) as_old: Option<Vec<Record>>,
    /// What comes; none if nothing does.
    pub(crate) as_new: Option<Vec<Record>>,
    snapshot: Vec<Record>,
    last: Vec<Record>,
    schemas: Schemas,
    key: Option<Schema>,
    /// The topic's schemas as they are now.
    now: Topic,
    moved: bool,
}

/// Whether a case's documents can be planned and its changes made.
pub(crate) fn valid(case: &Case) -> bool {
    let documents = parse(&case.documents);
    documents.is_ok_and(|documents| plan(&documents, &case.topics, &Accepted::new()).is_ok())
        && !case.changes.is_empty()
        && apply(&case.topics, TOPIC, &case.changes).is_ok()
}

/// Judges a case, and looks.
pub(crate) fn check(case: &Case) -> Found {
    let documents = parse(&case.documents).unwrap();
    let running = plan(&documents, &case.topics, &Accepted::new()).unwrap();
    let topics = apply(&case.topics, TOPIC, &case.changes).unwrap();
    let subject = |of: &PipelinePlan| {
        let history = history(case, of).into_iter().map(|schema| (1, schema)).collect();
        (of.outputs[0].topic.clone(), Subject { level: case.level, history })
    };
    let subjects = running.pipelines.iter().map(subject).collect();
    let (applied, unfit) = (BTreeSet::new(), Unfit::new());
    let question = Question {
        running: &running,
        documents: &documents,
        topics: &topics,
        subjects: &subjects,
        applied: &applied,
        unfit: &unfit,
    };
    let judged = judge(&question);
    let mut found = Found::default();
    for judgement in &judged.pipelines {
        found.verdicts.push(judgement.verdict);
        let facts = Facts::gather(&question, &judged, &judgement.pipeline).unwrap();
        if let Err(wrong) = recheck(&judgement.certificate, &facts) {
            found.wrong.push(format!("{}: certificate: {wrong:?}", judgement.pipeline));
        }
    }
    let trial = Trial { case, documents, running, topics, judged };
    for attempt in 0..ATTEMPTS_MAX {
        let tried = trial.attempt(&mut Random::new(case.seed.wrapping_add(attempt)));
        if tried.wrong.is_empty() || !tried.may_be_chance || attempt + 1 == ATTEMPTS_MAX {
            found.wrong.extend(tried.wrong);
            break;
        }
    }
    found
}

impl Found {
    fn must(&mut self, name: &str, held: Result<(), String>) {
        if let Err(why) = held {
            self.may_be_chance = false;
            self.wrong.push(format!("{name}: {why}"));
        }
    }
}

impl Trial<'_> {
    fn attempt(&self, random: &mut Random) -> Found {
        let old = &self.case.topics[TOPIC];
        let next = self.topics.get("shop.t.g2");
        let new = next.unwrap_or(&self.topics[TOPIC]);
        let feed = Feed::random(self.case, old, new, random);
        let mut stream = Stream {
            before: feed.before,
            as_old: Some(feed.as_old),
            as_new: Some(feed.as_new),
            snapshot: feed.snapshot,
            last: feed.last,
            schemas: Schemas::from([(OLD, old.value.clone()), (NEW, new.value.clone())]),
            key: old.key.clone(),
            now: new.clone(),
            moved: next.is_some(),
        };
        let mut found = Found { may_be_chance: true, ..Found::default() };
        for (depth, judgement) in self.judged.pipelines.iter().enumerate() {
            let running = self.running.pipeline(&judgement.pipeline).unwrap();
            let at = Pipeline { trial: self, running, judgement, stream: &stream, depth };
            at.check(&mut found, random);
            if !found.wrong.is_empty() {
                break;
            }
            match at.next() {
                Ok(next) => stream = next,
                Err(why) => found.must(&judgement.pipeline, Err(why)),
            }
        }
        found
    }
}

pub(crate) struct Pipeline<'p> {
    trial: &'p Trial<'p>,
    pub(crate) running: &'p PipelinePlan,
    judgement: &'p Judgement,
    pub(crate) stream: &'p Stream,
    depth: usize,
}

impl Pipeline<'_> {
    /// The id of the values that a plan writes.
    fn id(&self, new: bool) -> u32 {
        u32::try_from(self.depth * 2 + usize::from(new)).unwrap() + 100
    }

    fn out_schemas(&self, plan: &PipelinePlan, new: bool) -> (Schemas, Option<Schema>) {
        let schemas = &plan.outputs[0].schemas;
        let value = Schema::parse(&schemas.value).unwrap();
        let key = schemas.key.as_deref().map(|key| Schema::parse(key).unwrap());
        (Schemas::from([(self.id(new), value)]), key)
    }

    fn run(&self, plan: &PipelinePlan, new: bool, records: &[Record]) -> Result<Out, String> {
        run(plan, "r", records, &self.stream.schemas, self.id(new))
    }

    /// What a plan makes of records, as JSON.
    pub(crate) fn made(
        &self,
        plan: &PipelinePlan,
        new: bool,
        records: &[Record],
    ) -> Result<Vec<Shown>, String> {
        let out = self.run(plan, new, records)?;
        let (schemas, key) = self.out_schemas(plan, new);
        let records: Vec<Record> = out.records.into_iter().map(|(_, record)| record).collect();
        Ok(seen(&records, key.as_ref(), &schemas))
    }

    fn check(&self, found: &mut Found, random: &mut Random) {
        let name = &self.judgement.pipeline;
        self.other(found);
        match self.judgement.verdict {
            Verdict::Unaffected | Verdict::Stays => {
                found.must(name, self.goes_on());
                found.must(name, self.goes_on_by_partitions(random));
            }
            Verdict::Upgraded => {
                found.must(name, self.upgraded());
                let new = self.judgement.plan.as_ref();
                let new = || new.ok_or_else(|| "there is no new plan".to_owned());
                found.must(name, new().and_then(|new| self.upgraded_by_partitions(new, random)));
                found.must(name, new().and_then(|new| self.replays_what_is_left(new, random)));
            }
            Verdict::Moved => found.must(name, self.moved()),
            Verdict::Held => {
                if let Err(why) = self.held() {
                    found.wrong.push(format!("{name}: {why}"));
                }
            }
        }
    }

    /// What comes of the topic beside it stays as it is.
    fn other(&self, found: &mut Found) {
        let new = self.judgement.plan.as_ref().filter(|_| self.judgement.verdict.replans());
        let (Some(new), true) = (new, self.running.inputs.iter().any(|input| input.name == "u"))
        else {
            return;
        };
        let topic = &self.trial.case.topics[OTHER];
        let records = other(topic);
        let schemas = Schemas::from([(OLD, topic.value.clone())]);
        let made = |plan, new| -> Result<Vec<Shown>, String> {
            let out = run(plan, "u", &records, &schemas, self.id(new))?;
            let (schemas, key) = self.out_schemas(plan, new);
            let records: Vec<Record> = out.records.into_iter().map(|(_, record)| record).collect();
            Ok(seen(&records, key.as_ref(), &schemas))
        };
        let both = made(self.running, false)
            .and_then(|old| carried(&old, &made(new, true)?, &self.former(new)));
        found.must(&self.judgement.pipeline, both);
    }

    /// As it is, it makes of the new records what it would have made of the old ones.
    fn goes_on(&self) -> Result<(), String> {
        let Some(as_new) = &self.stream.as_new else { return Ok(()) };
        let made = self.made(self.running, false, as_new)?;
        let as_old = self.stream.as_old.as_ref().filter(|_| !self.reads_another_type());
        match as_old {
            Some(as_old) => equal(&self.made(self.running, false, as_old)?, &made),
            None => Ok(()),
        }
    }

    /// The new output's fields, by their former names.
    pub(crate) fn former(&self, new: &PipelinePlan) -> Former {
        let fields = |plan: &PipelinePlan| {
            let schemas = &plan.outputs[0].schemas;
            let key = schemas.key.as_deref().map(|key| Schema::parse(key).unwrap());
            Relation::of_topic(key, Schema::parse(&schemas.value).unwrap())
                .unwrap()
                .fields()
                .to_vec()
        };
        let old: Vec<String> = fields(self.running).into_iter().map(|field| field.name).collect();
        let was = |field: tidemesh_avro::schema::Field| {
            let mut names = std::iter::once(&field.name).chain(&field.aliases);
            let former = names.find(|name| old.contains(name)).cloned();
            (field.name, former)
        };
        fields(new).into_iter().map(was).collect()
    }

    fn upgraded(&self) -> Result<(), String> {
        let new = self.judgement.plan.as_ref().ok_or("there is no new plan")?;
        let former = self.former(new);
        self.only_what_is_gone(&former)?;
        let stream = self.stream;
        let replayed = self.made(new, true, &stream.before)?;
        carried(&self.made(self.running, false, &stream.before)?, &replayed, &former)
            .map_err(|why| format!("older records: {why}"))?;
        self.readers(new, &stream.before, false)?;
        let Some(as_new) = &stream.as_new else { return Ok(()) };
        let made = self.made(new, true, as_new)?;
        if let Some(as_old) = &stream.as_old {
            carried(&self.made(self.running, false, as_old)?, &made, &former)?;
        }
        let out = self.run(new, true, as_new)?;
        let places = out.records.iter().map(|(at, _)| *at).zip(made.iter().cloned());
        let given = seen(as_new, stream.now.key.as_ref(), &stream.schemas);
        new_fields(&places.collect::<Vec<_>>(), &given, &former)?;
        self.readers(new, as_new, true)?;
        if new.outputs[0].schemas.key.is_some() {
            let all: Vec<Shown> = replayed.iter().chain(&replayed).chain(&made).cloned().collect();
            let once: Vec<Shown> = replayed.iter().chain(&made).cloned().collect();
            if folded(&all) != folded(&once) {
                return Err("a replay leaves other rows".into());
            }
        }
        Ok(())
    }

    /// A field of the output is gone only if the column of its name is: one that is renamed is still there.
    fn only_what_is_gone(&self, former: &Former) -> Result<(), String> {
        let kept: BTreeSet<&String> = former.values().flatten().collect();
        let old = self.former(self.running);
        let gone = |name: &String| {
            let columns = self.trial.case.columns.iter();
            columns
                .filter_map(|column| column.old.as_ref().map(|old| (old, &column.new)))
                .any(|(old, new)| old.0 == *name && new.is_none())
        };
        match old.keys().find(|name| !kept.contains(name) && !gone(name)) {
            Some(name) => Err(format!("the output lost {name}, which was not dropped")),
            None => Ok(()),
        }
    }

    /// What other readers make of the outputs: those of the old schemas of new records, as many as the
    /// level is about, and those of the new one of old records.
    fn readers(&self, new: &PipelinePlan, records: &[Record], of_new: bool) -> Result<(), String> {
        let new_value = &new.outputs[0].schemas.value;
        let directions = self.trial.case.level.directions();
        if of_new && directions.contains(&Direction::Forward) {
            let out = self.run(new, true, records)?;
            let versions = self.versions();
            let numbered: Vec<(u32, &Schema)> = versions.iter().map(|schema| (1, schema)).collect();
            for (_, reader) in self.trial.case.level.versions(&numbered) {
                reads(&reader.registry_text(), new_value, &out)?;
            }
        }
        if !of_new && directions.contains(&Direction::Backward) {
            let old_value = &self.running.outputs[0].schemas.value;
            reads(new_value, old_value, &self.run(self.running, false, records)?)?;
        }
        Ok(())
    }

    /// The versions of the output's subject, oldest first.
    fn versions(&self) -> Vec<Schema> {
        let running = Schema::parse(&self.running.outputs[0].schemas.value).unwrap();
        history(self.trial.case, self.running).into_iter().chain([running]).collect()
    }

    /// The rows that are live behind the move are those of the whole table.
    fn moved(&self) -> Result<(), String> {
        let new = self.judgement.plan.as_ref().ok_or("there is no new plan")?;
        let stream = self.stream;
        let as_new = stream.as_new.as_ref().ok_or("nothing comes")?;
        self.only_what_is_gone(&self.former(new))?;
        let before = self.made(self.running, false, &stream.before)?;
        let (snapshot, behind) =
            (self.made(new, true, &stream.snapshot)?, self.made(new, true, as_new)?);
        let whole = folded(&self.made(new, true, &stream.last)?);
        let all = [before.clone(), snapshot, behind.clone()].concat();
        if folded(&all) != whole {
            return Err(format!("live are {:?} instead of {whole:?}", folded(&all)));
        }
        let known = self.judgement.moves.iter().all(|to| to.snapshot == Snapshot::Known);
        if known && folded(&[before, behind.clone()].concat()) != whole {
            return Err("the snapshot was needed".into());
        }
        self.readers(new, as_new, true)?;
        let as_old = stream.as_old.as_ref().filter(|_| !self.reads_another_type());
        match as_old {
            Some(as_old) => {
                carried(&self.made(self.running, false, as_old)?, &behind, &self.former(new))
            }
            None => Ok(()),
        }
    }

    /// Whether a column whose values are others by their new type may be read.
    pub(crate) fn reads_another_type(&self) -> bool {
        let text = &self.trial.case.documents;
        let another = |column: &super::case::Column| match (&column.old, &column.new) {
            (Some((_, of)), Some((_, to))) => !widened(*of, *to),
            _ => false,
        };
        let columns = self.trial.case.columns.iter().filter(|column| another(column));
        columns
            .filter_map(|column| column.old.as_ref())
            .any(|(name, _)| text.contains("SELECT *") || text.contains(name.as_str()))
    }

    /// It cannot go on as it is, and there is no plan by which it could.
    fn held(&self) -> Result<(), String> {
        let stream = self.stream;
        let Some(as_new) = &stream.as_new else {
            return Err("it is held, and nothing new comes".into());
        };
        let rekeyed = self.depth == 0 && self.trial.case.rekeyed();
        let made = self.made(self.running, false, as_new);
        let same = match (&stream.as_old, made) {
            (Some(as_old), Ok(made)) => {
                equal(&self.made(self.running, false, as_old)?, &made).is_ok()
            }
            (None, Ok(_)) | (_, Err(_)) => false,
        };
        if same && !rekeyed && same_key(stream) {
            return Err("it is held, and its plan makes what it made".into());
        }
        self.no_plan()
    }

    fn no_plan(&self) -> Result<(), String> {
        let documents = &self.trial.documents;
        let document = documents.iter().find(|one| one.name() == self.running.name()).unwrap();
        let Spec::Pipeline(spec) = &document.spec else { return Err("it is no pipeline".into()) };
        if spec.evolution != Evolution::Auto {
            return Ok(());
        }
        let input = self.running.inputs.iter().find(|input| input.name == "r").unwrap();
        let mut topics = self.trial.case.topics.clone();
        let topic = input.topic.clone();
        topics.insert(topic, self.stream.now.clone());
        let accepted = self.running.inputs.iter().map(|input| {
            let of_input = self.called_now(&input.accepted);
            (input.name.clone(), of_input)
        });
        let accepted = Accepted::from([(document.name().to_owned(), accepted.collect())]);
        let Ok(planned) = plan(std::slice::from_ref(document), &topics, &accepted) else {
            return Ok(());
        };
        let new = &planned.pipelines[0];
        // What older records have of a column may be another thing, whatever its number is.
        let replays = || self.replays(new) && !self.reads_another_type();
        if self.refused(new) || (!self.stream.moved && !replays()) {
            return Ok(());
        }
        Err("it is held, and there is a plan by which it could go on".into())
    }

    /// What was accepted, with what columns of it are called now: no plan may leave out one that is still
    /// there, whatever else became of it.
    fn called_now(&self, accepted: &BTreeSet<String>) -> BTreeSet<String> {
        let columns = self.trial.case.columns.iter();
        let both = columns.filter_map(|column| column.old.as_ref().zip(column.new.as_ref()));
        let taken = both.filter(|(old, _)| accepted.contains(&old.0));
        accepted.iter().cloned().chain(taken.map(|(_, new)| new.0.clone())).collect()
    }

    /// Whether the output's subjects refuse a plan.
    fn refused(&self, new: &PipelinePlan) -> bool {
        let (old, now) = (&self.running.outputs[0].schemas, &new.outputs[0].schemas);
        let parse = |text: &str| Schema::parse(text).unwrap();
        let versions = self.versions();
        let numbered: Vec<(u32, &Schema)> = versions.iter().map(|schema| (1, schema)).collect();
        let verdict = check_level(self.trial.case.level, &parse(&now.value), &numbered);
        let other_unit = self.other_unit(new);
        let misread = other_unit && !self.trial.case.level.directions().is_empty();
        old.key != now.key || !verdict.compatible() || misread
    }

    /// Whether a field of the output has a logical type that it had not.
    fn other_unit(&self, new: &PipelinePlan) -> bool {
        let units = |plan: &PipelinePlan| {
            let schemas = &plan.outputs[0].schemas;
            let key = schemas.key.as_deref().map(|key| Schema::parse(key).unwrap());
            let rows = Relation::of_topic(key, Schema::parse(&schemas.value).unwrap()).unwrap();
            let unit = |field: &tidemesh_avro::schema::Field| {
                let text = rows.value.at(field.node).registry_text();
                let unit =
                    text.split("logicalType\":\"").nth(1).and_then(|rest| rest.split('"').next());
                (field.name.clone(), unit.map(str::to_owned))
            };
            rows.fields().iter().map(unit).collect::<std::collections::BTreeMap<_, _>>()
        };
        let (old, now) = (units(self.running), units(new));
        let is_other = |(name, was): (&String, &Option<String>)| {
            was.is_some() && old.get(was.as_ref().unwrap_or(name)) != now.get(name)
        };
        self.former(new).iter().any(is_other)
    }

    /// Whether a plan makes of older records what was made of them.
    fn replays(&self, new: &PipelinePlan) -> bool {
        let before = &self.stream.before;
        let both = self
            .made(self.running, false, before)
            .and_then(|old| carried(&old, &self.made(new, true, before)?, &self.former(new)));
        both.is_ok()
    }

    /// What the pipeline behind it reads.
    fn next(&self) -> Result<Stream, String> {
        let stream = self.stream;
        let replaced = self.judgement.plan.as_ref().filter(|_| self.judgement.verdict.replans());
        let new = replaced.unwrap_or(self.running);
        let is_new = replaced.is_some();
        let only = |out: Out| out.records.into_iter().map(|(_, record)| record).collect::<Vec<_>>();
        let old = |records: &[Record]| self.run(self.running, false, records).map(only);
        let now = |records: &[Record]| self.run(new, is_new, records).map(only);
        let moved = self.judgement.verdict == Verdict::Moved;
        let held = self.judgement.verdict == Verdict::Held;
        let as_new = stream.as_new.as_ref().filter(|_| !held);
        let with_snapshot = |records: &Vec<Record>| match moved {
            true => stream.snapshot.iter().chain(records).cloned().collect(),
            false => records.clone(),
        };
        let comparable = stream.as_old.as_ref().filter(|_| !moved);
        let (mut schemas, key) = self.out_schemas(self.running, false);
        let (of_new, new_key) = self.out_schemas(new, is_new);
        schemas.extend(of_new.clone());
        let value = of_new.into_values().next().unwrap();
        Ok(Stream {
            before: old(&stream.before)?,
            as_old: comparable.map(|records| old(records)).transpose()?,
            as_new: as_new.map(with_snapshot).map(|records| now(&records)).transpose()?,
            snapshot: Vec::new(),
            last: Vec::new(),
            schemas,
            key,
            now: Topic { key: new_key, value, source: None },
            moved: false,
        })
    }
}

/// What an output's subject had before the running plan's schema: that with a column more.
fn history(case: &Case, running: &PipelinePlan) -> Option<Schema> {
    let (name, of) = case.former.as_ref()?;
    let mut value: Json = serde_json::from_str(&running.outputs[0].schemas.value).unwrap();
    let fields = match value["fields"][0]["name"].as_str() {
        Some("before") => &mut value["fields"][0]["type"][1]["fields"],
        _ => &mut value["fields"],
    };
    let field = json!({"name": name, "type": ["null", of.avro()], "default": null});
    fields.as_array_mut().unwrap().push(field);
    Some(Schema::parse(&value.to_string()).unwrap())
}

fn same_key(stream: &Stream) -> bool {
    let bare = |key: Option<&Schema>| key.map(|key| key.registry_text().replace(".g2", ""));
    bare(stream.key.as_ref()) == bare(stream.now.key.as_ref())
}

/// Whether other readers read records with another schema than that which they were written with:
/// apache-avro and ours. The former refuses decimals of fewer bytes than their precision needs
/// (`resolve_decimal`), so that it is not asked about them.
fn reads(reader: &str, writer: &str, out: &Out) -> Result<(), String> {
    let parse = |text: &str| Schema::parse(text).map_err(|error| error.to_string());
    let resolver =
        Resolver::new(&parse(writer)?, &parse(reader)?).map_err(|error| error.report())?;
    let theirs = (!writer.contains("decimal")).then(|| theirs(reader, writer)).transpose()?;
    for value in out.records.iter().filter_map(|(_, record)| record.value.as_ref()) {
        let (_, mut payload) = frame::split(value).map_err(|error| error.to_string())?;
        resolver.read(payload).map_err(|error| format!("another reader: {}", error.report()))?;
        let read = theirs.as_ref().map(|theirs| theirs.read(&mut payload)).transpose();
        read.map_err(|error| format!("another reader: apache-avro: {error}"))?;
    }
    Ok(())
}

/// A reader of apache-avro's.
struct Theirs {
    writer: apache_avro::Schema,
    reader: apache_avro::Schema,
}

fn theirs(reader: &str, writer: &str) -> Result<Theirs, String> {
    let parse =
        |text: &str| apache_avro::Schema::parse_str(text).map_err(|error| error.to_string());
    Ok(Theirs { writer: parse(writer)?, reader: parse(reader)? })
}

impl Theirs {
    fn read(&self, bytes: &mut &[u8]) -> Result<(), String> {
        let reader = GenericDatumReader::builder(&self.writer).reader_schema(&self.reader).build();
        let read = reader.and_then(|reader| reader.read_value(bytes));
        read.map(drop).map_err(|error| error.to_string())
    }
}
