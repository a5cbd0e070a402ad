//! The rule, against a small model of a database whose commits are in the log before they are
//! visible.

use super::super::{Key, RowVisitor};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tidemesh_model::{DataType, Field, KeyOrigin, Position, Result, RowKey, SourceKind, Value};

/// Rows of a table as some view had them.
#[derive(Debug)]
struct View {
    schema: Arc<TableSchema>,
    rows: BTreeMap<u8, u32>,
    visible: HashSet<u64>,
}

impl Chunk for View {
    fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }
    fn rows(&self) -> u64 {
        self.rows.len() as u64
    }
    fn last_key(&self) -> Option<&Key> {
        None
    }
    fn is_last(&self) -> bool {
        true
    }
    fn generation(&self) -> Option<&str> {
        None
    }
    fn sees(&self, transaction: u64) -> bool {
        self.visible.contains(&transaction)
    }
    fn visit<V: RowVisitor>(&self, visitor: &mut V) -> Result<()> {
        self.rows.values().try_for_each(|value| visitor.row(&vec![Value::Int64((*value).into())]))
    }
}

fn schema(columns: &[&str]) -> Arc<TableSchema> {
    let field = |name: &&str| Field {
        name: (*name).to_owned(),
        data_type: DataType::Int64,
        source_type: "bigint".into(),
        nullable: false,
        default: None,
        aliases: Vec::new(),
        kind: SourceKind::Plain,
        key_default: None,
    };
    let key = RowKey { origin: KeyOrigin::PrimaryKey, columns: vec![0] };
    let name = TableName::new("public", "t");
    Arc::new(TableSchema::new(name, columns.iter().map(field).collect(), key).unwrap())
}

/// What may happen next.
#[derive(Debug, Clone)]
enum Step {
    /// A transaction commits these changes: the log has it, readers do not see it yet.
    Commit(Vec<(u8, Option<u32>)>),
    /// One that is committed becomes visible.
    Reveal(prop::sample::Index),
    /// A worker goes on: low mark, view, high mark.
    Advance(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..4_u8, prop::option::of(0..1000_u32));
    let step = prop_oneof![
        3 => prop::collection::vec(change, 1..3).prop_map(Step::Commit),
        3 => any::<prop::sample::Index>().prop_map(Step::Reveal),
        4 => any::<bool>().prop_map(Step::Advance),
    ];
    prop::collection::vec(step, 1..60)
}

/// A worker that reads the whole table, again and again until it is emitted.
#[derive(Default)]
struct Worker {
    window: Option<u64>,
    stage: u8,
    wait_for: Vec<u64>,
    emitted: bool,
}

/// A transaction and its changes: of each key, its value or its delete.
type Transaction = (u64, Vec<(u8, Option<u32>)>);

struct Model {
    schema: Arc<TableSchema>,
    windows: Windows<View>,
    /// Committed changes, in log order.
    log: Vec<Transaction>,
    hidden: Vec<u64>,
    next_transaction: u64,
    topic: BTreeMap<u8, u32>,
    workers: [Worker; 2],
}

impl Model {
    fn new() -> Self {
        let mut windows = Windows::new("run".into());
        windows.follow(true);
        Self {
            schema: schema(&["id", "n"]),
            windows,
            log: Vec::new(),
            hidden: Vec::new(),
            next_transaction: 1,
            topic: BTreeMap::new(),
            workers: Default::default(),
        }
    }

    fn table(&self, visible: impl Fn(u64) -> bool) -> BTreeMap<u8, u32> {
        let mut rows = BTreeMap::from([(0, 1), (1, 1), (2, 1), (3, 1)]);
        for (transaction, changes) in &self.log {
            if visible(*transaction) {
                apply(&mut rows, changes);
            }
        }
        rows
    }

    fn commit(&mut self, changes: Vec<(u8, Option<u32>)>) {
        // A row that is changed is locked: who changes it next has waited until it is visible.
        let locked = |key: u8| {
            self.log.iter().any(|(transaction, changed)| {
                self.hidden.contains(transaction) && changed.iter().any(|(k, _)| *k == key)
            })
        };
        if changes.iter().any(|(key, _)| locked(*key)) {
            return;
        }
        let transaction = self.next_transaction;
        self.next_transaction += 1;
        for (key, value) in &changes {
            self.windows.change(transaction, &self.schema, &[*key], &[]);
            apply(&mut self.topic, &[(*key, *value)]);
        }
        self.log.push((transaction, changes));
        self.hidden.push(transaction);
    }

    fn advance(&mut self, index: usize) {
        let worker = &self.workers[index];
        if worker.emitted || worker.wait_for.iter().any(|id| self.hidden.contains(id)) {
            return;
        }
        match (worker.stage, worker.window) {
            (0, _) => {
                let (number, marks) = self.windows.begin(&self.schema.name.clone());
                assert!(self.windows.mark(Mark::read(&marks[0]).unwrap()).is_none());
                self.workers[index].window = Some(number);
                self.workers[index].stage = 1;
            }
            (1, Some(number)) => {
                let visible: HashSet<u64> =
                    (1..self.next_transaction).filter(|id| !self.hidden.contains(id)).collect();
                let rows = self.table(|id| visible.contains(&id));
                let view = View { schema: Arc::clone(&self.schema), rows, visible };
                self.windows.deliver(number, view);
                self.workers[index].stage = 2;
            }
            (_, Some(number)) => self.high(index, number),
            (_, None) => unreachable!(),
        }
    }

    fn high(&mut self, index: usize, number: u64) {
        let worker = &mut self.workers[index];
        worker.stage = 0;
        match self.windows.mark(Mark::High("run", number)).unwrap().1 {
            Verdict::Emit(view, touched) => {
                worker.emitted = true;
                for (key, value) in view.rows {
                    if !touched.contains(&[key][..]) {
                        self.topic.insert(key, value);
                    }
                }
            }
            Verdict::Again(Again::Unseen(transactions)) => worker.wait_for = transactions,
            Verdict::Again(_) => {}
        }
    }
}

fn apply(rows: &mut BTreeMap<u8, u32>, changes: &[(u8, Option<u32>)]) {
    for (key, value) in changes {
        match value {
            Some(value) => rows.insert(*key, *value),
            None => rows.remove(key),
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_topic_ends_as_the_table_whatever_the_order(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Commit(changes) => model.commit(changes),
                Step::Reveal(which) if !model.hidden.is_empty() => {
                    let place = which.index(model.hidden.len());
                    model.hidden.remove(place);
                }
                Step::Reveal(_) => {}
                Step::Advance(first) => model.advance(usize::from(first)),
            }
        }
        model.hidden.clear();
        for _ in 0..12 {
            model.advance(0);
            model.advance(1);
        }
        prop_assert!(model.workers.iter().all(|worker| worker.emitted));
        prop_assert_eq!(&model.topic, &model.table(|_| true));
    }
}

fn open(windows: &mut Windows<View>, schema: &Arc<TableSchema>) -> u64 {
    windows.follow(true);
    let (number, _) = windows.begin(&schema.name);
    windows.mark(Mark::Low("run", number));
    let schema = Arc::clone(schema);
    windows.deliver(number, View { schema, rows: BTreeMap::new(), visible: HashSet::new() });
    number
}

fn verdict(windows: &mut Windows<View>, number: u64) -> Again {
    match windows.mark(Mark::High("run", number)).unwrap().1 {
        Verdict::Again(again) => again,
        Verdict::Emit(..) => panic!("emitted"),
    }
}

#[test]
fn a_truncate_or_another_schema_in_a_window_discards_its_chunk() {
    let (one, other) = (schema(&["id", "n"]), schema(&["id", "n", "m"]));
    let mut windows = Windows::new("run".into());
    let number = open(&mut windows, &one);
    windows.truncate(1, &one.name);
    assert_eq!(verdict(&mut windows, number), Again::Truncated);
    let number = open(&mut windows, &one);
    windows.change(2, &one, &[1], &[]);
    windows.change(3, &other, &[1], &[]);
    assert_eq!(verdict(&mut windows, number), Again::Schema);
    let number = open(&mut windows, &one);
    windows.change(4, &other, &[1], &[]);
    assert_eq!(verdict(&mut windows, number), Again::Schema, "the chunk has the older one");
}

#[test]
fn a_key_change_drops_both_keys() {
    let one = schema(&["id", "n"]);
    let mut windows = Windows::new("run".into());
    let number = open(&mut windows, &one);
    windows.change(1, &one, b"new", b"old");
    match windows.mark(Mark::High("run", number)).unwrap().1 {
        Verdict::Emit(_, touched) => {
            assert!(touched.contains(&b"new"[..]) && touched.contains(&b"old"[..]));
        }
        Verdict::Again(again) => panic!("{again:?}"),
    }
}

#[test]
fn too_many_touched_keys_discard_the_chunk() {
    let one = schema(&["id", "n"]);
    let mut windows = Windows::new("run".into());
    let number = open(&mut windows, &one);
    let large = vec![0; TOUCHED_BYTES_MAX / 2 + 1];
    windows.change(1, &one, &large, &[]);
    windows.change(1, &one, &[large.as_slice(), &[1]].concat(), &[]);
    assert_eq!(verdict(&mut windows, number), Again::Touched);
}

#[test]
fn marks_of_another_run_are_ignored() {
    let one = schema(&["id", "n"]);
    let mut windows = Windows::new("run".into());
    let number = open(&mut windows, &one);
    assert!(windows.mark(Mark::High("other", number)).is_none());
    assert!(windows.mark(Mark::High("run", number)).is_some());
}

#[test]
fn a_batch_closes_the_chunks_whose_high_marks_it_holds() {
    let mut windows = Windows::new("run".into());
    windows.follow(true);
    let schema = schema(&["id"]);
    let chunk =
        || View { schema: Arc::clone(&schema), rows: BTreeMap::new(), visible: HashSet::new() };
    let [first, second, third] = [(); 3].map(|()| windows.begin(&schema.name));
    windows.deliver(first.0, chunk());
    windows.deliver(second.0, chunk());
    let origin =
        Origin { position: Position::before(1, 2), transaction: 3, committed_at_us: 4, block: &[] };
    let closed = |marks: &[&str]| {
        let mut closed = Closed::new(&windows);
        marks.iter().for_each(|mark| closed.mark(&origin, mark).unwrap());
        closed.into_chunks().len()
    };
    assert_eq!(closed(&[&first.1[1]]), 1);
    assert_eq!(closed(&[&first.1[1], &second.1[0], &second.1[1]]), 2);
    let others = [&first.1[0], &third.1[1], "high another 1", "sync x", "of a later version"];
    assert_eq!(closed(&others), 0, "low marks, chunks that are not here, other marks");
}
