use proptest::prelude::*;
use tidemesh_model::Result;

use super::*;
use crate::level::CompatibilityLevel;
use crate::state::{Change, Filter, Identity, Version};
use crate::version::VersionSpec;

impl Registry {
    /// Sets the level of a subject, or without one the global level.
    pub(crate) async fn set_level(
        &self,
        subject: Option<&str>,
        level: &str,
    ) -> Result<(), Refusal> {
        let members = serde_json::json!({"compatibility": level});
        self.set_setting(subject, members.as_object().cloned().unwrap_or_default()).await
    }

    /// Makes every write to the store fail, or lets them succeed again.
    pub(crate) async fn break_store(&self, broken: bool) {
        let tables = ["schemas", "versions", "counter", "settings", "contexts"];
        let sql: String = tables
            .map(|table| {
                if broken {
                    format!(
                        "CREATE TEMP TRIGGER {table}_i BEFORE INSERT ON {table}
                         BEGIN SELECT RAISE(ABORT, 'broken'); END;
                         CREATE TEMP TRIGGER {table}_u BEFORE UPDATE ON {table}
                         BEGIN SELECT RAISE(ABORT, 'broken'); END;"
                    )
                } else {
                    format!("DROP TRIGGER {table}_i; DROP TRIGGER {table}_u;")
                }
            })
            .concat();
        let work = move |writing: &mut writer::Writing| {
            writing.store.sqlite().unwrap().execute_batch(&sql).unwrap();
        };
        self.writer.with(work).await;
    }

    /// What the store holds.
    async fn stored(&self) -> State {
        let (tell, told) = std::sync::mpsc::channel();
        self.writer
            .with(move |writing| tell.send(writing.store.load().unwrap().state).unwrap())
            .await;
        told.recv().unwrap()
    }
}

fn open(folder: &tempfile::TempDir) -> Registry {
    let file = folder.path().join("registry.db");
    Registry::open(&RegistryConfig::new(StoreConfig::Sqlite(file))).unwrap()
}

fn text(schema: &str) -> Submission {
    Submission { text: Some(schema.to_owned()), ..Submission::default() }
}

#[tokio::test]
async fn a_failed_write_shows_nowhere_and_uses_no_id() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder);
    registry.register("a", &text("\"int\"")).await.unwrap();
    registry.break_store(true).await;
    let refusal = registry.register("a", &text("\"long\"")).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Store { .. }), "{refusal:?}");
    assert_eq!((refusal.status(), refusal.code(IncompatibleCode::default())), (500, 50001));
    let level = registry.set_level(None, "FULL").await;
    assert!(matches!(level, Err(Refusal::Store { .. })));
    let deleted = registry.delete_subject("a", false).await;
    assert!(matches!(deleted, Err(Refusal::Store { .. })));

    assert_eq!(registry.versions("a", Filter::WithDeleted, Page::default()).unwrap(), [1]);
    let level = registry.setting(None, false).unwrap().compatibility_level;
    assert_eq!((registry.id_max("."), level), (1, Some(CompatibilityLevel::Backward)));
    assert_eq!(registry.register("a", &text("\"int\"")).await.unwrap().id, 1, "reads go on");
    registry.break_store(false).await;
    let made = registry.register("a", &text("\"long\"")).await.unwrap();
    assert_eq!((made.id, made.version, made.as_sent), (2, 2, true));
    drop(registry);
    let registry = open(&folder);
    assert_eq!(registry.versions("a", Filter::Live, Page::default()).unwrap(), [1, 2]);
}

#[tokio::test]
async fn health_follows_the_last_write_and_comes_back_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder);
    assert!(registry.healthy());
    registry.break_store(true).await;
    registry.register("a", &text("\"int\"")).await.unwrap_err();
    assert!(!registry.healthy());
    assert!(registry.recover().await.is_err());
    assert!(!registry.healthy());
    registry.break_store(false).await;
    registry.recover().await.unwrap();
    assert!(registry.healthy());
}

/// A disk that fails at the very last step may have kept the transaction all the same.
#[tokio::test]
async fn a_write_that_failed_but_is_on_disk_is_found_before_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder);
    let work = |writing: &mut writer::Writing| {
        let identity = Identity::new("\"int\"", Arc::from([]));
        let version = Version { number: 1, id: 1, deleted: false, created_ms: 0 };
        let changes = [
            Change::AddSchema { context: ".".into(), id: 1, identity },
            Change::PutVersion { subject: "a".into(), version },
        ];
        writing.store.commit(&changes).unwrap();
        writing.suspect = true;
    };
    registry.writer.with(work).await;
    let made = registry.register("b", &text("\"long\"")).await.unwrap();
    assert_eq!(made.id, 2);
    assert_eq!(registry.version("a", VersionSpec::Latest, false).unwrap().id, 1);
}

#[test]
fn a_page_bounds_what_is_answered() {
    let all = || 0..50;
    let page = |offset, limit| Page { offset, limit };
    assert_eq!(page(0, None).of(all(), 10).len(), 10);
    assert_eq!(page(48, None).of(all(), 10), [48, 49]);
    assert_eq!(page(1, Some(2)).of(all(), 10), [1, 2]);
    // As in Confluent's registry, a page that is too large is the default one.
    assert_eq!(page(0, Some(11)).of(all(), 10).len(), 10);
    assert_eq!(page(0, Some(0)).of(all(), 10).len(), 10);
}

#[derive(Debug, Clone)]
enum Step {
    Register { subject: usize, schema: usize },
    DeleteSubject { subject: usize, permanent: bool },
    DeleteVersion { subject: usize, version: u32, permanent: bool },
    SetLevel { subject: usize, level: CompatibilityLevel },
    RemoveLevel { subject: usize },
}

const SCHEMAS: [&str; 5] =
    ["\"int\"", "\"long\"", "\"float\"", "\"string\"", r#"{"type":"array","items":"int"}"#];

fn step() -> impl Strategy<Value = Step> {
    let subject = 0..3_usize;
    let level = prop_oneof![
        Just(CompatibilityLevel::None),
        Just(CompatibilityLevel::Backward),
        Just(CompatibilityLevel::FullTransitive),
    ];
    prop_oneof![
        4 => (subject.clone(), 0..SCHEMAS.len())
            .prop_map(|(subject, schema)| Step::Register { subject, schema }),
        1 => (subject.clone(), any::<bool>())
            .prop_map(|(subject, permanent)| Step::DeleteSubject { subject, permanent }),
        3 => (subject.clone(), 1..5_u32, any::<bool>()).prop_map(
            |(subject, version, permanent)| Step::DeleteVersion { subject, version, permanent }
        ),
        2 => (subject.clone(), level)
            .prop_map(|(subject, level)| Step::SetLevel { subject, level }),
        1 => subject.prop_map(|subject| Step::RemoveLevel { subject }),
    ]
}

async fn take(registry: &Registry, step: Step) -> Result<Option<Registered>, Refusal> {
    let name = |subject: usize| ["a", ":.c:b", "c"][subject];
    match step {
        Step::Register { subject, schema } => {
            registry.register(name(subject), &text(SCHEMAS[schema])).await.map(Some)
        }
        Step::DeleteSubject { subject, permanent } => {
            registry.delete_subject(name(subject), permanent).await.map(|_| None)
        }
        Step::DeleteVersion { subject, version, permanent } => registry
            .delete_version(name(subject), &version.to_string(), permanent)
            .await
            .map(|_| None),
        Step::SetLevel { subject, level } => {
            registry.set_level(Some(name(subject)), level.name()).await.map(|()| None)
        }
        Step::RemoveLevel { subject } => {
            registry.remove_setting(Some(name(subject))).await.map(|_| None)
        }
    }
}

async fn check_steps(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder);
    let mut meaning: Vec<(bool, u32, usize)> = Vec::new();
    for step in steps {
        let (context, schema) = match step {
            Step::Register { subject, schema } => (subject == 1, Some(schema)),
            _ => (false, None),
        };
        let before = registry.stored().await;
        match (take(&registry, step).await, schema) {
            (Ok(Some(made)), Some(schema)) => {
                let known = meaning.iter().find(|known| (known.0, known.1) == (context, made.id));
                assert!(known.is_none_or(|(_, _, other)| *other == schema));
                meaning.push((context, made.id, schema));
                let scope = if context { ":.c:" } else { "" };
                assert_eq!(&*registry.schema(made.id, scope).unwrap().1.text, SCHEMAS[schema]);
            }
            (Err(_), _) => assert_eq!(&before, &**registry.state()),
            (Ok(_), _) => {}
        }
        assert_eq!(&registry.stored().await, &**registry.state());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn memory_is_what_the_disk_holds_and_an_id_means_one_schema_for_ever(
        steps in prop::collection::vec(step(), 1..25)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check_steps(steps));
    }
}

#[tokio::test]
async fn writes_that_wait_together_are_committed_together_and_each_on_its_own_state() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Arc::new(open(&folder));
    let mut tasks = tokio::task::JoinSet::new();
    for (place, schema) in SCHEMAS.into_iter().enumerate() {
        let registry = Arc::clone(&registry);
        tasks.spawn(async move {
            registry.register(&format!("s{place}"), &text(schema)).await.unwrap().id
        });
    }
    let mut ids = tasks.join_all().await;
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
}
