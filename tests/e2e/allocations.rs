//! From the log's bytes to record bytes nothing is allocated for an event.

#[path = "../../benches/codec/captured.rs"]
mod captured;

use crate::support::daemon::Daemon;
use crate::support::postgres::Database;
use captured::{TABLE, capture, insert};
use std::sync::Arc;
use tidemesh_model::{
    Change, ChangeBatch, ChangeVisitor, Origin, Result, RowImage, SourceSettings, TableSchema,
};
use tidemesh_postgres::PostgresConnector;
use tidemesh_source::Connector;
use tidemesh_transport::{EventWriter, RegistryClient, RemoteTransport, TopicConfig};

/// The passes before the last one grow the buffers.
const PASSES: usize = 8;

struct Encode<'w>(&'w mut EventWriter);

impl ChangeVisitor for Encode<'_> {
    fn change<R: RowImage>(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()> {
        self.0.change(schema, origin, &change)
    }

    fn incomplete(&mut self, _: &Arc<TableSchema>, _: &Origin<'_>, _: Vec<String>) -> Result<()> {
        Ok(())
    }

    fn mark(&mut self, _: &Origin<'_>, _: &str) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_allocates_nothing() {
    allocates_nothing("", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_debeziums_types_allocates_nothing() {
    allocates_nothing("types = \"debezium\"", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flat_event_allocates_nothing() {
    allocates_nothing("types = \"debezium\"\nenvelope = \"flat\"", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_columns_left_out_and_masked_allocates_nothing() {
    let lines = "exclude_columns = [\"public.rows.j\", \"*.*.d\"]
        [[postgres.mask]]
        columns = [\"*.*.note\"]
        with = \"hash\"
        salt = \"pepper\"
        [[postgres.mask]]
        columns = [\"*.*.v\"]
        with = \"truncate\"
        length = 1";
    allocates_nothing("", lines).await;
}

/// With these lines in the source's settings and its database's.
async fn allocates_nothing(format: &str, lines: &str) {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database
        .execute(
            "ALTER TABLE rows REPLICA IDENTITY FULL;
             ALTER TABLE rows ADD took interval DEFAULT '1 day 2 hours', ADD exact numeric DEFAULT 1.50,
                 ADD t timetz DEFAULT '04:05:06+01', ADD ms timestamp(3) DEFAULT now()",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let holder = "data_dir = \"data\"\nregistry.listen = \"127.0.0.1:0\"\n\
                  control.listen = \"127.0.0.1:0\"\ndata.listen = \"127.0.0.1:0\"\n";
    let daemon = Daemon::up(folder.path(), holder).await;
    let endpoints = daemon.logged("listening").await;
    let settings: SourceSettings = toml::from_str(&format!(
        "name = \"shop\"\n{format}\n[postgres]\nport = {}\ndatabase = \"{}\"\nuser = \"postgres\"\n\
         tables = [\"public.rows\"]\nslot = \"{}\"\n{lines}",
        database.port, database.name, database.name
    ))
    .unwrap();
    let write = async || {
        database.execute(&insert(1, 3000)).await;
        database.execute("UPDATE rows SET n = n + 1, note = 'another' WHERE id % 2 = 0").await;
        database.execute("UPDATE rows SET id = -id WHERE id % 5 = 0").await;
        database.execute("DELETE FROM rows WHERE id % 3 = 0").await;
    };
    let batches = capture(&settings, write, 3000 + 1500 + 600 + 1000).await.unwrap();
    let transport = RemoteTransport::new(endpoints["data"].as_str().unwrap()).unwrap();
    let registry = RegistryClient::new(endpoints["registry"].as_str().unwrap()).unwrap();
    let block = PostgresConnector::new(&settings).unwrap().block();
    let mut events = EventWriter::new(block, settings.format(), TopicConfig::default(), registry);
    for schema in batches.iter().flat_map(ChangeBatch::schemas) {
        events.prepare(&transport, schema).await.unwrap();
    }
    let mut counted = Vec::new();
    for _ in 0..PASSES {
        for batch in &batches {
            let info = allocation_counter::measure(|| {
                events.begin(1);
                batch.visit(&mut Encode(&mut events)).unwrap();
            });
            counted.push(info.count_total);
            let (append, counts) = events.finish();
            assert!(counts.events > 0 || counts.records == 0);
            events.recycle(append.batches.into_iter().map(|batch| batch.records).collect());
        }
    }
    let warm = &counted[(PASSES - 1) * batches.len()..];
    // A message that describes a table may, as often as one comes: that is not for each event.
    let most = batches.iter().flat_map(ChangeBatch::schemas).count() as u64;
    assert!(warm.iter().sum::<u64>() <= most.min(8), "allocations by batch: {counted:?}");
}
