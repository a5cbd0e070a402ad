//! In which order pipelines are planned: each behind those whose topics it reads. There must be no
//! cycle; a topic of dead letters makes none, since that is how they are processed again.

use super::gather::Gather;
use super::set::Set;
use std::collections::{BTreeMap, BTreeSet};

/// Which pipelines read what which others write.
struct Reading<'d> {
    /// For each pipeline those that it reads from, each with its input and topic.
    before: Vec<BTreeMap<usize, (&'d str, &'d str)>>,
    /// For each pipeline those that read from it.
    behind: Vec<BTreeSet<usize>>,
}

/// The pipelines' places in levels: those of a level read only from those of the levels before it, and
/// one at least from the level just before. Within a level they are in the order in which the last of
/// those that they read from comes, in the documents' order where that leaves a choice. A cycle is
/// reported; neither its pipelines nor those behind it are in a level.
pub(super) fn levels(set: &Set<'_>, gather: &mut Gather<'_>) -> Vec<Vec<usize>> {
    let reading = Reading::of(set);
    let levels = reading.levels();
    let mut left: BTreeSet<usize> = (0..set.pipelines.len()).collect();
    levels.iter().flatten().for_each(|done| {
        left.remove(done);
    });
    while let Some(cycle) = reading.cycle(&left) {
        report(set, &reading, &cycle, gather);
        reading.drop_behind(&cycle, &mut left);
    }
    levels
}

impl<'d> Reading<'d> {
    fn of(set: &Set<'d>) -> Self {
        let count = set.pipelines.len();
        let mut reading =
            Self { before: vec![BTreeMap::new(); count], behind: vec![BTreeSet::new(); count] };
        for (reader, pipeline) in set.pipelines.iter().enumerate() {
            for (name, input) in &pipeline.spec.inputs {
                let Some(topic) = set.topic_of(input) else { continue };
                let Some(writer) = set.writer(topic) else { continue };
                reading.before[reader].entry(writer).or_insert((name, topic));
                reading.behind[writer].insert(reader);
            }
        }
        reading
    }

    /// Those that are in no cycle nor behind one.
    fn levels(&self) -> Vec<Vec<usize>> {
        let mut open: Vec<usize> = self.before.iter().map(BTreeMap::len).collect();
        let ready = |(place, open): (usize, &usize)| (*open == 0).then_some(place);
        let mut level: Vec<usize> = open.iter().enumerate().filter_map(ready).collect();
        let mut levels = Vec::new();
        while !level.is_empty() {
            let mut next = Vec::new();
            for reader in level.iter().flat_map(|done| &self.behind[*done]) {
                open[*reader] -= 1;
                if open[*reader] == 0 {
                    next.push(*reader);
                }
            }
            levels.push(std::mem::replace(&mut level, next));
        }
        levels
    }

    /// A cycle among those that are left: each reads from the one before it, the first from the last.
    fn cycle(&self, left: &BTreeSet<usize>) -> Option<Vec<usize>> {
        let mut at = *left.first()?;
        let mut walked: Vec<usize> = Vec::new();
        let mut place_of: BTreeMap<usize, usize> = BTreeMap::new();
        while !place_of.contains_key(&at) {
            place_of.insert(at, walked.len());
            walked.push(at);
            at = *self.before[at].keys().find(|before| left.contains(before))?;
        }
        let mut cycle = walked.split_off(place_of[&at]);
        cycle.reverse();
        let first = cycle.iter().enumerate().min_by_key(|(_, pipeline)| **pipeline);
        let first = first.map_or(0, |(place, _)| place);
        cycle.rotate_left(first);
        Some(cycle)
    }

    /// Takes out a cycle, and all that is behind it.
    fn drop_behind(&self, cycle: &[usize], left: &mut BTreeSet<usize>) {
        let mut open = cycle.to_vec();
        while let Some(at) = open.pop() {
            if left.remove(&at) {
                open.extend(&self.behind[at]);
            }
        }
    }
}

/// Tells a cycle as the chain of names, at the input of its first pipeline.
fn report(set: &Set<'_>, reading: &Reading<'_>, cycle: &[usize], gather: &mut Gather<'_>) {
    let (Some(first), Some(last)) = (cycle.first(), cycle.last()) else { return };
    let (input, _) = reading.before[*first][last];
    let path = format!("spec.inputs.{input}");
    gather.wrong(set.pipelines[*first].place, &path, || {
        let name = |pipeline: usize| set.pipelines[pipeline].document.name();
        let readers = cycle.iter().skip(1).chain([first]);
        let mut chain = name(*first).to_owned();
        for (writer, reader) in cycle.iter().zip(readers) {
            let (_, topic) = reading.before[*reader][writer];
            chain.push_str(&format!(" → {topic} → {}", name(*reader)));
        }
        let message = format!("the pipeline reads what becomes of its own output: {chain}");
        (message, "let one of them read another topic".into())
    });
}
