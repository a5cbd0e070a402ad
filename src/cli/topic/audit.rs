//! `tidemesh topic audit`: whether each event that emitters took is in a topic, once and in order, by the numbers that
//! stand in its records' headers (`EMITTER_HEADER`).

use super::{FETCH_BYTES_MAX, FETCH_WAIT_MAX, is_behind};
use crate::cli::client::{Daemon, print_json, print_line};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::process::ExitCode;
use tidemesh_emitter::EMITTER_HEADER;
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};
use tidemesh_transport::{FetchLimit, Reader, Start, Subscription, TopicInfo, Transport};

/// Starts of emitters, each in a partition, that are told apart.
const RUNS_MAX: usize = 100_000;

/// Stretches of missing events that are remembered of a start in a partition.
const GAPS_MAX: usize = 10_000;

/// Stretches of missing events that are named of a start in a partition.
const GAPS_NAMED: usize = 10;

/// Which start of an emitter it was, and the event's number, as the header has them.
pub(super) fn start_and_number(header: &[u8]) -> Option<(u64, u64)> {
    let (start, number) = header.split_first_chunk()?;
    Some((u64::from_be_bytes(*start), u64::from_be_bytes(number.try_into().ok()?)))
}

/// What one start of an emitter wrote to one partition.
#[derive(Debug, Default)]
struct Run {
    /// The number behind the last one.
    next: u64,
    events: u64,
    /// Numbers that have not come: from, and up to which one.
    gaps: BTreeMap<u64, u64>,
    /// Events that were there before.
    repeated: u64,
    /// Events behind one with a higher number.
    late: u64,
}

impl Run {
    fn take(&mut self, number: u64) -> Result<()> {
        if number >= self.next {
            if number > self.next {
                self.gaps.insert(self.next, number);
            }
            self.next = number + 1;
        } else if let Some((from, to)) =
            self.gaps.range(..=number).next_back().filter(|(_, to)| number < **to)
        {
            let (from, to) = (*from, *to);
            self.late += 1;
            self.gaps.remove(&from);
            if from < number {
                self.gaps.insert(from, number);
            }
            if number + 1 < to {
                self.gaps.insert(number + 1, to);
            }
        } else {
            self.repeated += 1;
            return Ok(());
        }
        self.events += 1;
        if self.gaps.len() > GAPS_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "audit a topic")
                .because("events are missing in more places than are remembered")
                .with("places", GAPS_MAX));
        }
        Ok(())
    }

    /// Events that are missing; those before the first that is there are not, where the topic has dropped some.
    fn missing(&self, has_dropped: bool) -> u64 {
        let gaps = self.gaps.iter().filter(|(from, _)| !(has_dropped && **from == 0));
        gaps.map(|(from, to)| to - from).sum()
    }
}

/// What is told of a start in a partition with which something is wrong.
#[derive(Debug, Serialize)]
struct Wrong {
    /// Whose events they are: the first eight bytes of the header, in hexadecimal.
    emitter_start: String,
    partition: u32,
    events: u64,
    missing: u64,
    /// Their numbers: from, and up to which one.
    missing_numbers: Vec<[u64; 2]>,
    repeated: u64,
    out_of_order: u64,
}

/// What is found in a topic.
#[derive(Debug, Default)]
struct Audit {
    runs: BTreeMap<(u64, u32), Run>,
    /// Records that no emitter wrote.
    others: u64,
}

impl Audit {
    fn take(&mut self, partition: u32, header: Option<&[u8]>) -> Result<()> {
        let Some(header) = header else {
            self.others += 1;
            return Ok(());
        };
        let Some((start, number)) = start_and_number(header) else {
            return Err(Error::new(ErrorKind::Malformed, "audit a topic")
                .because("the header of its emitter has another length")
                .with("bytes", header.len()));
        };
        self.runs.entry((start, partition)).or_default().take(number)?;
        if self.runs.len() > RUNS_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "audit a topic")
                .because("emitters were started more often than are told apart")
                .with("starts", RUNS_MAX));
        }
        Ok(())
    }

    /// What is wrong, by the partitions that have dropped records.
    fn wrong(&self, has_dropped: impl Fn(u32) -> bool) -> Vec<Wrong> {
        let wrong = self.runs.iter().map(|((start, partition), run)| {
            let has_dropped = has_dropped(*partition);
            let named = run.gaps.iter().filter(|(from, _)| !(has_dropped && **from == 0));
            Wrong {
                emitter_start: format!("{start:016x}"),
                partition: *partition,
                events: run.events,
                missing: run.missing(has_dropped),
                missing_numbers: named.take(GAPS_NAMED).map(|(from, to)| [*from, *to]).collect(),
                repeated: run.repeated,
                out_of_order: run.late,
            }
        });
        wrong.filter(|it| it.missing + it.repeated + it.out_of_order > 0).collect()
    }
}

/// Reads a topic to where it ends now; 0 if every event is there once and in order, else 1.
pub(super) async fn audit(topic: &str, daemon: &Daemon) -> Result<ExitCode> {
    let log = daemon.log().await?;
    let info = log.topic(topic).await?;
    if info.config.cleanup_policy == CleanupPolicy::Compact {
        return Err(Error::new(ErrorKind::Config, "audit a topic")
            .because("it is compacted, and so keeps the newest event of each key alone")
            .with("topic", topic));
    }
    let ends: Vec<u64> = info.partitions.iter().map(|partition| partition.end).collect();
    let topics = vec![topic.to_owned()];
    let subscription = Subscription { topics, group: None, start: Start::Earliest };
    let mut reader = log.subscribe(subscription).await?;
    let limit = FetchLimit { bytes_max: FETCH_BYTES_MAX, wait_max: FETCH_WAIT_MAX };
    let mut audit = Audit::default();
    while is_behind(&reader.positions(), &ends) {
        for batch in reader.poll(limit).await? {
            for record in batch.iter() {
                let (offset, record) = record?;
                let taken = audit.take(batch.partition, record.header(EMITTER_HEADER));
                taken.map_err(|error| {
                    error.with("partition", batch.partition).with("offset", offset)
                })?;
            }
        }
    }
    tell(&info, &audit)
}

fn tell(info: &TopicInfo, audit: &Audit) -> Result<ExitCode> {
    let begin = |partition: u32| {
        info.partitions.get(partition as usize).map_or(0, |partition| partition.begin)
    };
    let wrong = audit.wrong(|partition| begin(partition) > 0);
    for wrong in &wrong {
        print_json(wrong)?;
    }
    let starts: std::collections::BTreeSet<u64> =
        audit.runs.keys().map(|(start, _)| *start).collect();
    let sum = |of: fn(&Wrong) -> u64| wrong.iter().map(of).sum::<u64>();
    let figures = json!({
        "topic": info.name,
        "emitter_starts": starts.len(),
        "events": audit.runs.values().map(|run| run.events).sum::<u64>(),
        "missing": sum(|wrong| wrong.missing),
        "repeated": sum(|wrong| wrong.repeated),
        "out_of_order": sum(|wrong| wrong.out_of_order),
        "records_of_others": audit.others,
    });
    print_line(&figures.to_string())?;
    Ok(ExitCode::from(u8::from(!wrong.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn header(start: u64, number: u64) -> [u8; 16] {
        ((u128::from(start) << 64) | u128::from(number)).to_be_bytes()
    }

    #[test]
    fn what_is_missing_repeated_and_late_is_told_of_whose_it_is() {
        let mut audit = Audit::default();
        for (start, partition, number) in
            [(7, 0, 0), (7, 0, 1), (7, 1, 0), (8, 0, 0), (8, 0, 4), (8, 0, 2), (8, 0, 4)]
        {
            audit.take(partition, Some(&header(start, number))).unwrap();
        }
        audit.take(0, None).unwrap();
        let wrong = audit.wrong(|_| false);
        assert_eq!((wrong.len(), audit.others), (1, 1));
        let Wrong {
            emitter_start, events, missing, missing_numbers, repeated, out_of_order, ..
        } = &wrong[0];
        assert_eq!((emitter_start.as_str(), *events), ("0000000000000008", 3));
        assert_eq!((*missing, *repeated, *out_of_order), (2, 1, 1));
        assert_eq!(missing_numbers[..], [[1, 2], [3, 4]]);
        assert!(audit.take(0, Some(&[1])).is_err());
    }

    #[test]
    fn what_a_topic_has_dropped_is_not_missing() {
        let mut audit = Audit::default();
        for number in [5, 6, 8] {
            audit.take(0, Some(&header(1, number))).unwrap();
        }
        assert_eq!(audit.wrong(|_| true)[0].missing, 1);
        assert_eq!(audit.wrong(|_| false)[0].missing, 6);
    }

    proptest! {
        #[test]
        fn any_numbers_are_counted_as_a_set_counts_them(numbers in prop::collection::vec(0..60_u64, 1..80)) {
            let (mut run, mut seen, mut late) = (Run::default(), BTreeSet::new(), 0);
            for number in &numbers {
                run.take(*number).unwrap();
                let is_late = seen.last().is_some_and(|newest| number < newest);
                late += u64::from(seen.insert(*number) && is_late);
            }
            let newest = *seen.last().unwrap();
            prop_assert_eq!(run.events, seen.len() as u64);
            prop_assert_eq!(run.missing(false), newest + 1 - seen.len() as u64);
            prop_assert_eq!(run.repeated, (numbers.len() - seen.len()) as u64);
            prop_assert_eq!(run.late, late);
        }
    }
}
