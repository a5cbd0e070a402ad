//! A real log, captured once and read again and again: what the codec's benchmark and the test of
//! its allocations share.

use std::time::Duration;
use tidemesh_model::{ChangeBatch, Result, SourceSettings};
use tidemesh_postgres::{PostgresConnector, PostgresSource};
use tidemesh_source::{BatchLimit, Connector, Source};

/// The table that is captured, as `DESIGN.md`'s "Measures that count" has it.
pub(crate) const TABLE: &str = "CREATE TABLE rows (id bigint PRIMARY KEY, n int, note text,
    price numeric(12,2), at timestamptz DEFAULT now(), ok bool, j jsonb,
    u uuid DEFAULT gen_random_uuid(), d float8, v varchar(20))";

/// Its rows, from one number to another, in one transaction.
pub(crate) fn insert(first: u64, last: u64) -> String {
    format!(
        "INSERT INTO rows (id, n, note, price, ok, j, d, v)
         SELECT g, g, repeat('x', 40), g * 0.01, g % 2 = 0, '{{\"a\": 1}}', g / 3.0, 'v' || (g % 10)
         FROM generate_series({first}, {last}) g"
    )
}

/// A batch as the source gives it; it owns its bytes.
pub(crate) type Batch = <PostgresSource as Source>::Batch;

/// Reads the log until `write` is done and `bytes` of it are there; the source keeps its slot.
///
/// # Errors
///
/// What the source answers.
pub(crate) async fn capture(
    settings: &SourceSettings,
    write: impl AsyncFnOnce(),
    until: u64,
) -> Result<Vec<Batch>> {
    let connector = PostgresConnector::new(settings)?;
    let mut source = connector.open(None, 1).await?;
    write().await;
    let limit = BatchLimit { bytes_max: 1024 * 1024, wait_max: Duration::from_millis(200) };
    let mut batches = Vec::new();
    let mut counted = 0;
    while counted < until {
        let batch = source.next_batch(limit).await?;
        counted += count(&batch)?;
        batches.push(batch);
    }
    Ok(batches)
}

/// How many changes a batch has.
fn count(batch: &Batch) -> Result<u64> {
    struct Count(u64);
    impl tidemesh_model::ChangeVisitor for Count {
        fn change<R: tidemesh_model::RowImage>(
            &mut self,
            _: &std::sync::Arc<tidemesh_model::TableSchema>,
            _: &tidemesh_model::Origin<'_>,
            _: tidemesh_model::Change<R>,
        ) -> Result<()> {
            self.0 += 1;
            Ok(())
        }

        fn incomplete(
            &mut self,
            _: &std::sync::Arc<tidemesh_model::TableSchema>,
            _: &tidemesh_model::Origin<'_>,
            _: Vec<String>,
        ) -> Result<()> {
            Ok(())
        }

        fn mark(&mut self, _: &tidemesh_model::Origin<'_>, _: &str) -> Result<()> {
            Ok(())
        }
    }
    let mut visitor = Count(0);
    batch.visit(&mut visitor)?;
    Ok(visitor.0)
}
