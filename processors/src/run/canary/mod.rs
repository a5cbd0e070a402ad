//! The canary of a plan that shall take the place of another one: whether it fails where that one does not.
//!
//! Nothing is written. The new plan takes the last records that the pipeline has answered for and the first
//! that it has not, and then records that are made up (`made_up`): the last real row with each kind of
//! value in each field that is new or changed, since no real record may have it yet. The running plan takes
//! the same: a record on which both fail says nothing of the new plan. Records that the running plan cannot
//! read have nothing to be held against; there the new plan is unfit if it fails on all of them.
//!
//! Tables of lookups hold the rows of the records that were read, in both plans.

mod made_up;
mod trial;

use super::{Offsets, PipelineJob};
use crate::schemas::Schemas;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tidemesh_avro::frame;
use tidemesh_avro::resolve::Resolver;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{ErrorKind, Result};
use tidemesh_plan::document::Start as From;
use tidemesh_plan::mesh::InputPlan;
use tidemesh_plan::upgrade;
use tidemesh_transport::{FetchLimit, FetchedBatch, Reader, Start, Subscription, Transport};
use tokio::time::Instant;
use trial::{Failed, Trial};

/// About the most records of each topic before where the pipeline stands, and as many behind.
const RECORDS_MAX: u64 = 1_000;

/// About the most bytes of records.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long records are read; what was not read by then is not tried.
const READ_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a record of a schema is waited for that a connector has just registered: it writes one next. It
/// is counted from when the first of the plans was tried that are tried together.
const NEW_RECORD_MAX: Duration = Duration::from_secs(1);

/// The bounds of one fetch.
const FETCH: FetchLimit =
    FetchLimit { bytes_max: 1024 * 1024, wait_max: Duration::from_millis(100) };

/// The canary of a plan.
struct Canary<'c> {
    next: Trial<'c>,
    /// The running plan, if it can be run here.
    running: Option<Trial<'c>>,
    found: Found,
    /// The last record of each topic that has a value: its key and value.
    last: BTreeMap<String, (Option<Vec<u8>>, Vec<u8>)>,
    /// The topics of which a record of a new schema is to come.
    awaited: BTreeSet<String>,
    /// The schemas of records of those, by their ids.
    met: BTreeSet<(String, u32)>,
}

/// Where records are tried, partition by partition.
struct Bounds {
    from: Offsets,
    /// Behind the last one that may be.
    to: Offsets,
    /// Behind the last one that there is.
    ends: Offsets,
}

/// What was found out.
#[derive(Default)]
struct Found {
    /// Records on which the new plan fails and the running one does not, and how the first one does.
    worse: u64,
    first: Option<String>,
    /// Records that the running plan cannot read, those of them on which the new one fails, and how.
    alone: u64,
    failed_alone: u64,
    first_alone: Option<String>,
}

impl Found {
    /// Why the plan is unfit, if it is.
    fn unfit(self) -> Option<String> {
        match (self.first, self.first_alone) {
            (Some(first), _) => Some(format!(
                "{} of the records that the running plan takes fail: {first}",
                self.worse
            )),
            (None, Some(first)) if self.failed_alone == self.alone => {
                Some(format!("all {} records fail that only it can read: {first}", self.alone))
            }
            _ => None,
        }
    }

    fn failed(&mut self, has_reference: bool, how: impl FnOnce() -> String) {
        let (count, first) = match has_reference {
            true => (&mut self.worse, &mut self.first),
            false => (&mut self.failed_alone, &mut self.first_alone),
        };
        *count += 1;
        first.get_or_insert_with(how);
    }
}

impl PipelineJob {
    /// Tries this job's plan where that of `running` is to give way; answers why it must not, if so.
    /// Nothing is written, and the running job goes on. `since` is when the first plan was tried of those
    /// that are tried together.
    ///
    /// # Errors
    ///
    /// What the transport and the registry answer: it is not known then.
    pub async fn canary<T: Transport, S: Schemas>(
        &self,
        running: Option<&PipelineJob>,
        transport: &T,
        schemas: &S,
        since: Instant,
    ) -> Result<Option<String>> {
        let record_bytes_max = transport.record_bytes_max();
        let next = match Trial::new(self, record_bytes_max) {
            Ok(next) => next,
            Err(error) => return Ok(Some(error.report())),
        };
        let running = running.and_then(|running| Trial::new(running, record_bytes_max).ok());
        let awaited = awaited(self, running.as_ref().map(|running| running.job));
        let (found, last) = (Found::default(), BTreeMap::new());
        let mut canary = Canary { next, running, found, last, awaited, met: BTreeSet::new() };
        canary.read(transport, schemas, since + NEW_RECORD_MAX).await?;
        canary.make_up(schemas).await?;
        Ok(canary.found.unfit())
    }
}

impl Canary<'_> {
    /// Tries records of the topics around where the pipeline stands; those of a new schema are waited for
    /// until then.
    async fn read<T: Transport, S: Schemas>(
        &mut self,
        transport: &T,
        schemas: &S,
        waits_until: Instant,
    ) -> Result<()> {
        let Bounds { from, to, ends } = bounds(self.next.job, transport).await?;
        let topics: BTreeSet<String> = to.keys().map(|(topic, _)| topic.clone()).collect();
        if topics.is_empty() {
            return Ok(());
        }
        let topics = topics.into_iter().collect();
        let subscription = Subscription { topics, group: None, start: Start::Offsets(from) };
        let mut reader = transport.subscribe(subscription).await?;
        let (began, mut bytes) = (Instant::now(), 0);
        while began.elapsed() < READ_TIME_MAX && bytes < BYTES_MAX {
            let waits = !self.awaited.is_empty() && Instant::now() < waits_until;
            if !waits && !ahead(&ends, &reader.positions()) {
                break;
            }
            for batch in reader.poll(FETCH).await? {
                bytes += batch.bytes.len();
                let place = (batch.topic.to_string(), batch.partition);
                let end = to.get(&place).copied().unwrap_or_default();
                self.try_batch(&batch, end, schemas).await?;
            }
        }
        Ok(())
    }

    /// Has both plans take a batch's records before `end`.
    async fn try_batch<S: Schemas>(
        &mut self,
        batch: &FetchedBatch,
        end: u64,
        schemas: &S,
    ) -> Result<()> {
        let topic: &str = &batch.topic;
        let can_take = self.next.learn(batch, topic, schemas).await?;
        let can_take = can_take.min(end);
        let (mut compared, mut before) = (0, Failed::default());
        if let Some(running) = &mut self.running {
            // A table that goes on in another topic has rows that the running plan knows, perhaps.
            let reads = |topic: &str| running.job.plan.inputs.iter().any(|of| of.topic == topic);
            let known = if reads(topic) { Some(topic.to_owned()) } else { upgrade::former(topic) };
            if let Some(known) = known.filter(|known| reads(known)) {
                compared = running.learn(batch, &known, schemas).await?.min(can_take);
                before = running.take(batch, &known, compared);
            }
        }
        let failed = self.next.take(batch, topic, can_take);
        let mut last = None;
        for record in batch.iter() {
            let (offset, record) = record?;
            if offset >= can_take {
                break;
            }
            let has_reference = offset < compared;
            self.found.alone += u64::from(!has_reference);
            if let Some(how) = failed.at(offset).filter(|_| before.at(offset).is_none()) {
                let place =
                    format!("{how} ({topic}, partition {}, offset {offset})", batch.partition);
                self.found.failed(has_reference, || place);
            }
            if let Some(value) = record.value {
                self.came(topic, value, schemas).await?;
                last = Some((record.key, value));
            }
        }
        if let Some((key, value)) = last {
            let last = (key.map(<[u8]>::to_vec), value.to_vec());
            self.last.insert(topic.to_owned(), last);
        }
        Ok(())
    }

    /// Notes that a topic's record of the new schema has come, if this is one.
    async fn came<S: Schemas>(&mut self, topic: &str, value: &[u8], schemas: &S) -> Result<()> {
        if !self.awaited.contains(topic) {
            return Ok(());
        }
        let Ok((id, _)) = frame::split(value) else { return Ok(()) };
        if !self.met.insert((topic.to_owned(), id)) {
            return Ok(());
        }
        let Some(schema) = schema(id, schemas).await? else { return Ok(()) };
        let plan = &self.next.job.plan;
        let of = plan.inputs.iter().zip(&plan.tables).find(|(input, _)| input.topic == topic);
        if of.is_some_and(|(_, table)| is_same(&table.relation.value, &schema)) {
            self.awaited.remove(topic);
        }
        Ok(())
    }

    /// Tries records that are made up.
    async fn make_up<S: Schemas>(&mut self, schemas: &S) -> Result<()> {
        for place in 0..self.next.job.plan.inputs.len() {
            let input = &self.next.job.plan.inputs[place];
            let Some(running) = &mut self.running else { return Ok(()) };
            let before =
                running.job.plan.inputs.iter().position(|before| before.name == input.name);
            let Some(before) =
                before.filter(|of| running.job.plan.inputs[*of].topic == input.topic)
            else {
                continue;
            };
            let next = &self.next.job.plan.tables[place].relation;
            let last = self.last.get(&input.topic);
            let base = match last {
                Some((_, value)) => read_again(value, &next.value, schemas).await?,
                None => None,
            };
            let key = last.and_then(|(key, _)| key.clone());
            let before = &running.job.plan.tables[before].relation;
            for made in made_up::records(before, next, base.as_ref(), key.as_deref()) {
                let batch = made.batch(&input.topic)?;
                let known = running.learn_as(&input.topic, made_up::SCHEMA_ID, &next.value)
                    && self.next.learn_as(&input.topic, made_up::SCHEMA_ID, &next.value);
                if !known {
                    break;
                }
                let before = running.take(&batch, &input.topic, u64::MAX);
                let failed = self.next.take(&batch, &input.topic, u64::MAX);
                if let Some(how) = failed.at(0).filter(|_| before.at(0).is_none()) {
                    let (topic, what) = (&input.topic, made.what);
                    self.found.failed(true, || format!("{how} ({topic}, a row with {what})"));
                }
            }
        }
        Ok(())
    }
}

/// A record's value as another schema has it; none if it cannot be told.
async fn read_again<S: Schemas>(
    value: &[u8],
    reader: &Schema,
    schemas: &S,
) -> Result<Option<tidemesh_avro::datum::Datum>> {
    let Ok((id, data)) = frame::split(value) else { return Ok(None) };
    let Some(writer) = schema(id, schemas).await? else { return Ok(None) };
    Ok(Resolver::new(&writer, reader).and_then(|resolver| resolver.read(data)).ok())
}

/// The schema of this id, if there is one.
async fn schema<S: Schemas>(id: u32, schemas: &S) -> Result<Option<Schema>> {
    match schemas.schema(id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => Ok(Schema::parse(&text?).ok()),
    }
}

/// The topics that no pipeline writes whose schema is another one than the running plan was made by.
fn awaited(next: &PipelineJob, running: Option<&PipelineJob>) -> BTreeSet<String> {
    let known = |of: &InputPlan| {
        let plan = &running?.plan;
        let place = plan.inputs.iter().position(|known| known.topic == of.topic)?;
        Some(&plan.tables[place].relation.value)
    };
    let inputs = next.plan.inputs.iter().zip(&next.plan.tables);
    let other = inputs.filter(|(input, table)| {
        let known = known(input);
        input.writer.is_none() && known.is_some_and(|known| !is_same(known, &table.relation.value))
    });
    other.map(|(input, _)| input.topic.clone()).collect()
}

fn is_same(one: &Schema, other: &Schema) -> bool {
    one.registry_text() == other.registry_text()
}

/// For each partition from where and up to where its records are tried.
async fn bounds<T: Transport>(job: &PipelineJob, transport: &T) -> Result<Bounds> {
    let committed = transport.committed(&job.id()).await?;
    let (mut from, mut to, mut ends) = (Offsets::new(), Offsets::new(), Offsets::new());
    for topic in job.topics(|_| true) {
        let info = match transport.topic(&topic).await {
            // A pipeline before it is about to make it.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            info => info?,
        };
        let around = RECORDS_MAX.div_ceil(info.partitions.len().max(1) as u64);
        for (partition, has) in (0..).zip(&info.partitions) {
            let place = (topic.clone(), partition);
            let first = if begins_at_the_end(job, &topic) { has.end } else { has.begin };
            let stands = committed.get(&place).copied().unwrap_or(first);
            from.insert(place.clone(), stands.saturating_sub(around).max(has.begin));
            let end = stands.saturating_add(around);
            ends.insert(place.clone(), end.min(has.end));
            to.insert(place, end);
        }
    }
    Ok(Bounds { from, to, ends })
}

/// Whether the pipeline passes over what is in a topic when it starts first.
fn begins_at_the_end(job: &PipelineJob, topic: &str) -> bool {
    let mut inputs = job.plan.inputs.iter();
    inputs.any(|input| input.topic == topic && input.start == Some(From::Latest))
}

/// Whether a partition has more to be read.
fn ahead(to: &Offsets, positions: &Offsets) -> bool {
    to.iter().any(|(place, end)| positions.get(place).copied().unwrap_or_default() < *end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_new_plan_can_read_speaks_against_it_if_all_of_it_fails() {
        let mut found = Found { alone: 2, ..Found::default() };
        found.failed(false, || "one".into());
        found.failed(false, || "two".into());
        let why = found.unfit().unwrap();
        assert!(why.contains("all 2 records") && why.ends_with("one"), "{why}");
        let mut found = Found { alone: 3, ..Found::default() };
        found.failed(false, || "one".into());
        assert_eq!(found.unfit(), None);
    }
}
