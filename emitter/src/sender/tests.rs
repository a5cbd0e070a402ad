//! The sender over a log whose answers are lost or wrong: what it says is there is there, once.

use super::*;
use crate::delivery::{Delivery, State};
use crate::queue::NewRecord;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use tidemesh_transport::{
    EmbeddedConfig, EmbeddedReader, EmbeddedTransport, FetchLimit, Reader, Retention, Start,
    Subscription, TopicConfig, TopicInfo,
};

/// What becomes of an append.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// It happens, and an error of this kind is answered.
    Lost(ErrorKind),
    /// It does not happen, and an error of this kind is answered.
    Refused(ErrorKind),
}

/// A log with faults, which the next appends, and openings of the writer, have in turn. It takes what is
/// submitted without waiting for it.
#[derive(Clone)]
struct Faulty {
    log: EmbeddedTransport,
    appends: Arc<Mutex<VecDeque<Option<Fault>>>>,
    openings: Arc<Mutex<VecDeque<ErrorKind>>>,
    /// What the next submissions are answered at once.
    submits: Arc<Mutex<VecDeque<Option<ErrorKind>>>>,
    /// What was submitted fails until the writer is opened again; whether it may be there yet.
    broken: Arc<Mutex<Option<bool>>>,
}

impl Faulty {
    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "append").because("the test has it so")
    }

    /// What becomes of an append that was submitted: it is there at most where those before it are.
    async fn submitted(self, append: Append) -> Result<Appended> {
        let fault = self.appends.lock().unwrap().pop_front().flatten();
        let broken = *self.broken.lock().unwrap();
        let may_happen = broken.unwrap_or(true);
        let (happens, fails) = match fault {
            None => (broken.is_none(), broken.is_some()),
            Some(Fault::Lost(_)) => (may_happen, true),
            Some(Fault::Refused(_)) => (false, true),
        };
        let appended = if happens { self.log.append(append).await? } else { Appended::default() };
        if fails {
            *self.broken.lock().unwrap() = Some(may_happen && happens);
            return Err(Self::error(ErrorKind::Unavailable));
        }
        Ok(appended)
    }
}

impl Transport for Faulty {
    type Reader = EmbeddedReader;

    async fn create_topic(&self, topic: &str, config: &TopicConfig) -> Result<TopicInfo> {
        self.log.create_topic(topic, config).await
    }

    async fn set_retention(&self, topic: &str, retention: &Retention) -> Result<TopicInfo> {
        self.log.set_retention(topic, retention).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<()> {
        self.log.delete_topic(topic).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.log.topics().await
    }

    async fn topic(&self, topic: &str) -> Result<TopicInfo> {
        self.log.topic(topic).await
    }

    async fn open_writer(&self, id: &str) -> Result<WriterEpoch> {
        if let Some(kind) = self.openings.lock().unwrap().pop_front() {
            return Err(Self::error(kind));
        }
        *self.broken.lock().unwrap() = None;
        self.log.open_writer(id).await
    }

    async fn state(&self, id: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        self.log.state(id).await
    }

    async fn writers(&self) -> Result<Vec<String>> {
        self.log.writers().await
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        let fault = self.appends.lock().unwrap().pop_front().flatten();
        match fault {
            None => self.log.append(append).await,
            Some(Fault::Refused(kind)) => Err(Self::error(kind)),
            Some(Fault::Lost(kind)) => {
                self.log.append(append).await?;
                Err(Self::error(kind))
            }
        }
    }

    async fn submit(&self, append: Append) -> Result<Submitted> {
        match self.submits.lock().unwrap().pop_front().flatten() {
            Some(kind) => Err(Self::error(kind)),
            None => Ok(Box::pin(self.clone().submitted(append))),
        }
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<EmbeddedReader> {
        self.log.subscribe(subscription).await
    }

    async fn committed(&self, group: &str) -> Result<BTreeMap<(String, u32), u64>> {
        self.log.committed(group).await
    }

    async fn consumption(&self, topic: &str) -> Result<BTreeMap<(String, u32), u64>> {
        self.log.consumption(topic).await
    }
}

/// A sender over a faulty log with the topics `a` and `b`.
struct Bench {
    log: Arc<Faulty>,
    queue: Arc<Queue>,
    lanes: [usize; 2],
    sender: Sender<Faulty>,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new(delivery_timeout: Option<Duration>) -> Self {
        Self::with_loads_of(1 << 20, delivery_timeout).await
    }

    async fn with_loads_of(load_bytes: usize, delivery_timeout: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).unwrap();
        let (appends, openings, submits, broken) = Default::default();
        let log = Arc::new(Faulty { log, appends, openings, submits, broken });
        let queue = Arc::new(Queue::new(load_bytes, 7));
        for topic in ["a", "b"] {
            log.create_topic(topic, &TopicConfig::default()).await.unwrap();
        }
        let lanes = ["a", "b"].map(|topic| queue.add_lanes(&topic.into(), 1));
        let sender = Sender {
            transport: Arc::clone(&log),
            queue: Arc::clone(&queue),
            room: Arc::new(Semaphore::new(0)),
            counted: Arc::new(Counted::new("test")),
            tally: Arc::default(),
            settled: Arc::default(),
            #[cfg(feature = "spool")]
            gate: None,
            delivery_timeout,
            drained: None,
            writer: crate::own::take_over(log.as_ref(), "emitter.test", 7).await.unwrap(),
            instance: 7,
            next: 0,
            under_way: VecDeque::new(),
            is_unsure: false,
            is_waiting: false,
            is_taken: false,
            spare: Vec::new(),
        };
        Self { log, queue, lanes, sender, _folder: folder }
    }

    fn faults(&self, faults: &[Option<Fault>]) {
        self.log.appends.lock().unwrap().extend(faults);
    }

    fn push(&self, topic: usize, value: &str) -> Delivery {
        let value = value.as_bytes();
        let lane = self.lanes[topic];
        let new = NewRecord { lane, timestamp_ms: 1, key: None, headers: &[], value, bytes: 1 };
        Delivery { state: State::Taken(self.queue.push(&new, &self.sender.counted).unwrap()) }
    }

    /// Delivers what is queued; whether that went well.
    async fn deliver(&mut self) {
        let load = self.queue.take().unwrap();
        let end = self.sender.deliver(&load).await;
        self.sender.settle(load, end);
    }

    async fn values(&self, topic: &str) -> Vec<String> {
        values(&self.log, topic).await
    }
}

async fn values(log: &Faulty, topic: &str) -> Vec<String> {
    let subscription =
        Subscription { topics: vec![topic.into()], group: None, start: Start::Earliest };
    let mut reader = log.subscribe(subscription).await.unwrap();
    let limit = FetchLimit { bytes_max: 1 << 20, wait_max: Duration::ZERO };
    let batches = reader.poll(limit).await.unwrap();
    let records = batches.iter().flat_map(|batch| batch.iter().map(|record| record.unwrap().1));
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    records.map(|record| text(record.value.unwrap())).collect()
}

#[tokio::test]
async fn an_append_that_happened_under_any_error_is_told_as_such_and_the_next_is_not_taken_for_it()
{
    for kind in [ErrorKind::Unavailable, ErrorKind::Authentication, ErrorKind::Privilege] {
        let mut bench = Bench::new(None).await;
        bench.faults(&[Some(Fault::Lost(kind))]);
        let first = bench.push(0, "1");
        bench.deliver().await;
        first.receipt().await.unwrap();
        let second = bench.push(0, "2");
        bench.deliver().await;
        second.receipt().await.unwrap();
        assert_eq!(bench.values("a").await, ["1", "2"], "{kind}");
    }
}

#[tokio::test]
async fn what_cannot_be_looked_for_is_looked_for_again_before_anything_is_sent() {
    let mut bench = Bench::new(None).await;
    bench.faults(&[Some(Fault::Lost(ErrorKind::Unavailable))]);
    bench.log.openings.lock().unwrap().extend([ErrorKind::Authentication, ErrorKind::Unavailable]);
    let deliveries = [bench.push(0, "1"), bench.push(1, "2")];
    bench.deliver().await;
    for delivery in deliveries {
        delivery.receipt().await.unwrap();
    }
    assert_eq!(bench.values("a").await, ["1"]);
    assert_eq!(bench.values("b").await, ["2"]);
}

#[tokio::test]
async fn what_is_refused_for_good_fails_alone_and_is_not_there() {
    let mut bench = Bench::new(None).await;
    let refused = Some(Fault::Refused(ErrorKind::TooLarge));
    bench.faults(&[refused, refused]);
    let (one, two) = (bench.push(0, "1"), bench.push(1, "2"));
    bench.deliver().await;
    assert_eq!(one.receipt().await.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(two.receipt().await.unwrap().offset, Some(0));
    assert_eq!(bench.values("a").await, [""; 0]);
    assert_eq!(bench.values("b").await, ["2"]);
}

/// Every way in which two of the appends that follow each other may fail, as those do that join one transaction or
/// follow in the next, or have no place there.
#[tokio::test]
async fn appends_that_follow_each_other_are_there_once_and_in_order_whichever_fails() {
    let kind = ErrorKind::Unavailable;
    let faults = [None, Some(Fault::Lost(kind)), Some(Fault::Refused(kind))];
    for case in 0..12 {
        let bench = Bench::with_loads_of(1, None).await;
        let submits = [None, (case > 8).then_some(kind)];
        bench.log.submits.lock().unwrap().extend(submits);
        let faults = [case / 3 % 3, case % 3].map(|fault| faults[fault]);
        bench.faults(&faults);
        let deliveries = ["1", "2", "3", "4"].map(|value| bench.push(0, value));
        bench.queue.close(Error::new(ErrorKind::Unavailable, "emit"));
        let Bench { log, sender, _folder, .. } = bench;
        sender.run().await;
        for delivery in deliveries {
            delivery.receipt().await.unwrap();
        }
        assert_eq!(values(&log, "a").await, ["1", "2", "3", "4"], "{faults:?}, {submits:?}");
    }
}

#[tokio::test]
async fn one_that_was_given_up_and_happened_is_not_taken_for_the_next() {
    let mut bench = Bench::new(Some(Duration::ZERO)).await;
    bench.faults(&[Some(Fault::Lost(ErrorKind::Unavailable))]);
    let first = bench.push(0, "1");
    let load = bench.queue.take().unwrap();
    // In time for one attempt.
    bench.sender.delivery_timeout = Some(PAUSE_MIN / 2 + load.since.elapsed());
    let end = bench.sender.deliver(&load).await;
    bench.sender.settle(load, end);
    assert_eq!(first.receipt().await.unwrap_err().kind(), ErrorKind::Timeout);
    bench.sender.delivery_timeout = None;
    let second = bench.push(0, "2");
    bench.deliver().await;
    assert_eq!(second.receipt().await.unwrap().offset, Some(1));
    assert_eq!(bench.values("a").await, ["1", "2"]);
}
