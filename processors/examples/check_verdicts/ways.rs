//! The ways in which a topic's records come to a pipeline beside one after the other: again from the
//! first, by partitions of which each goes over to the new schema at a place of its own, and less than
//! there were.

use super::feed::{Record, key_partition};
use super::look::{Shown, carried, equal, folded};
use super::random::Random;
use super::{judged::Pipeline, run::PARTITIONS};
use std::collections::BTreeMap;
use tidemesh_plan::mesh::PipelinePlan;

impl Pipeline<'_> {
    /// An unaffected plan makes of partitions that go over each in its time what it would have made.
    pub(crate) fn goes_on_by_partitions(&self, random: &mut Random) -> Result<(), String> {
        let Some((as_old, mixed)) = self.mixed(random) else { return Ok(()) };
        let old = self.made(self.running, false, as_old)?;
        equal(&old, &self.made(self.running, false, &mixed)?)
            .map_err(|why| format!("partitions that go over one by one: {why}"))
    }

    /// So does a new plan, which takes over before the last partition has gone over.
    pub(crate) fn upgraded_by_partitions(
        &self,
        new: &PipelinePlan,
        random: &mut Random,
    ) -> Result<(), String> {
        let Some((as_old, mixed)) = self.mixed(random) else { return Ok(()) };
        let old = self.made(self.running, false, as_old)?;
        carried(&old, &self.made(new, true, &mixed)?, &self.former(new))
            .map_err(|why| format!("partitions that go over one by one: {why}"))
    }

    /// The records behind the change, of which each partition goes over at a place of its own.
    fn mixed(&self, random: &mut Random) -> Option<(&Vec<Record>, Vec<Record>)> {
        let (as_old, as_new) = (self.stream.as_old.as_ref()?, self.stream.as_new.as_ref()?);
        if as_old.len() != as_new.len() || self.reads_another_type() {
            return None;
        }
        let cuts: Vec<usize> = (0..PARTITIONS).map(|_| random.below(as_old.len() + 1)).collect();
        let one = |(at, (old, new)): (usize, (&Record, &Record))| {
            if at < cuts[key_partition(at, old)] { old.clone() } else { new.clone() }
        };
        Some((as_old, as_old.iter().zip(as_new).enumerate().map(one).collect()))
    }

    /// Whatever of the older records is still there: read again by the new plan, before what comes, it
    /// leaves the rows that there are. Of a topic that is cut by age each partition has its last ones, of
    /// one that is compacted each key's last.
    pub(crate) fn replays_what_is_left(
        &self,
        new: &PipelinePlan,
        random: &mut Random,
    ) -> Result<(), String> {
        let Some(as_new) = self.stream.as_new.as_ref() else { return Ok(()) };
        if new.outputs[0].schemas.key.is_none() {
            return Ok(());
        }
        let before = &self.stream.before;
        let whole = self.made(new, true, before)?;
        let made = self.made(new, true, as_new)?;
        let rows = folded(&[whole.clone(), made].concat());
        for (left, what) in
            [(cut_by_age(before, random), "cut by age"), (compacted(before), "compacted")]
        {
            let again: Vec<Record> = left.iter().chain(as_new).cloned().collect();
            let again: Vec<Shown> = self.made(new, true, &again)?;
            if folded(&[whole.clone(), again].concat()) != rows {
                return Err(format!("a replay of a topic that is {what} leaves other rows"));
            }
        }
        Ok(())
    }
}

/// Of each partition the records from some place on.
fn cut_by_age(records: &[Record], random: &mut Random) -> Vec<Record> {
    let from: Vec<usize> = (0..PARTITIONS).map(|_| random.below(records.len() + 1)).collect();
    let is_left = |(at, record): &(usize, &Record)| *at >= from[key_partition(*at, record)];
    records.iter().enumerate().filter(is_left).map(|(_, record)| record.clone()).collect()
}

/// The last record of each key.
fn compacted(records: &[Record]) -> Vec<Record> {
    let mut last: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (at, record) in records.iter().enumerate() {
        if let Some(key) = &record.key {
            last.insert(key, at);
        }
    }
    let is_last = |(at, record): &(usize, &Record)| {
        record.key.as_ref().is_none_or(|key| last.get(key.as_slice()) == Some(at))
    };
    records.iter().enumerate().filter(is_last).map(|(_, record)| record.clone()).collect()
}
