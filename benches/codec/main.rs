//! How long a row takes from the log's bytes to record bytes, its parts, and apache-avro beside it.
//! Started by `scripts/bench codec`, which gives the port of a PostgreSQL of its own. Prints JSON.

mod captured;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use captured::{Batch, TABLE, capture, insert};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;
use tidemesh_avro::envelope::{EncodeBuffers, EnvelopeEncoder, RecordSink, SchemaIds};
use tidemesh_avro::frame::FRAME_HEAD_BYTES;
use tidemesh_avro::table::topic_schemas;
use tidemesh_model::{
    CellVisitor, Change, ChangeBatch, ChangeVisitor, DecimalRef, Error, ErrorKind, EventFormat,
    Origin, Result, RowImage, SourceBlock, SourceSettings, TableSchema, Value, Values,
};
use tidemesh_postgres::PostgresConnector;
use tidemesh_source::Connector;
use tidemesh_transport::{Records, topic_name};

const ROWS: u64 = 100_000;

/// Each figure is the median of so many rounds.
const ROUNDS: usize = 9;

fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Internal, "run the benchmark").because(message.into())
}

/// Median nanoseconds a row.
fn time(rows: u64, mut round: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut figures = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        round()?;
        figures.push(began.elapsed().as_nanos());
    }
    figures.sort_unstable();
    let median = u32::try_from(figures[ROUNDS / 2]).map_err(|_| failed("a round took too long"))?;
    let rows = u32::try_from(rows).map_err(|_| failed("too many rows"))?;
    Ok(f64::from(median) / f64::from(rows))
}

/// Takes every cell and forgets it.
struct Forget;

impl CellVisitor for Forget {
    fn null(&mut self) -> Result<()> {
        Ok(())
    }
    fn absent(&mut self) -> Result<()> {
        Ok(())
    }
    fn boolean(&mut self, value: bool) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn int32(&mut self, value: i32) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn int64(&mut self, value: i64) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn float32(&mut self, value: f32) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn float64(&mut self, value: f64) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn decimal(&mut self, value: DecimalRef<'_>) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn text(&mut self, value: &str) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn bytes(&mut self, value: &[u8]) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn uuid(&mut self, value: &[u8; 16]) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn date(&mut self, value: i32) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn time(&mut self, value: i64) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn timestamp(&mut self, value: i64) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn timestamp_tz(&mut self, value: i64) -> Result<()> {
        black_box(value);
        Ok(())
    }
    fn array_start(&mut self, length: usize) -> Result<()> {
        black_box(length);
        Ok(())
    }
    fn array_end(&mut self) -> Result<()> {
        Ok(())
    }
    fn record_start(&mut self) -> Result<()> {
        Ok(())
    }
    fn record_end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Reads every row, to nothing.
struct Decode;

impl ChangeVisitor for Decode {
    fn change<R: RowImage>(
        &mut self,
        _: &Arc<TableSchema>,
        _: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()> {
        match change {
            Change::Create { after } => after.visit(&mut Forget),
            _ => Err(failed("the log has something else than inserts")),
        }
    }

    fn incomplete(&mut self, _: &Arc<TableSchema>, _: &Origin<'_>, _: Vec<String>) -> Result<()> {
        Ok(())
    }

    fn mark(&mut self, _: &Origin<'_>, _: &str) -> Result<()> {
        Ok(())
    }
}

/// Keeps rows as owned values, for encoding alone.
#[derive(Default)]
struct Keep {
    rows: Vec<Vec<Value>>,
    schema: Option<Arc<TableSchema>>,
}

impl ChangeVisitor for Keep {
    fn change<R: RowImage>(
        &mut self,
        schema: &Arc<TableSchema>,
        _: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()> {
        self.schema = Some(Arc::clone(schema));
        if let Change::Create { after } = change {
            self.rows.push(Values::of(&after)?);
        }
        Ok(())
    }

    fn incomplete(&mut self, _: &Arc<TableSchema>, _: &Origin<'_>, _: Vec<String>) -> Result<()> {
        Ok(())
    }

    fn mark(&mut self, _: &Origin<'_>, _: &str) -> Result<()> {
        Ok(())
    }
}

/// Records in one buffer.
#[derive(Default)]
struct Sink(Records);

impl RecordSink for Sink {
    #[inline]
    fn record(&mut self, origin: &Origin<'_>, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let position = origin.position.to_bytes();
        self.0.push(0, Some(key), &[(tidemesh_transport::POSITION_HEADER, &position)], value)
    }
}

/// From the log to records.
struct Encode {
    encoder: EnvelopeEncoder,
    buffers: EncodeBuffers,
    sink: Sink,
}

impl Encode {
    fn new(schema: &TableSchema, block: &SourceBlock) -> Result<Self> {
        let topic = topic_name(&block.name, &schema.name);
        let (_, rows) = topic_schemas(&topic, schema, block, EventFormat::default())?;
        let encoder = EnvelopeEncoder::new(rows, schema, block, SchemaIds { key: 1, value: 2 });
        Ok(Self { encoder, buffers: EncodeBuffers::default(), sink: Sink::default() })
    }
}

impl ChangeVisitor for Encode {
    #[inline]
    fn change<R: RowImage>(
        &mut self,
        _: &Arc<TableSchema>,
        origin: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()> {
        self.encoder.encode(origin, &change, 0, &mut self.buffers, &mut self.sink)
    }

    fn incomplete(&mut self, _: &Arc<TableSchema>, _: &Origin<'_>, _: Vec<String>) -> Result<()> {
        Ok(())
    }

    fn mark(&mut self, _: &Origin<'_>, _: &str) -> Result<()> {
        Ok(())
    }
}

/// The batches' rows, again and again, each batch into a cleared buffer.
fn pass(batches: &[Batch], encode: &mut Encode) -> Result<()> {
    for batch in batches {
        encode.sink.0.clear();
        batch.visit(encode)?;
        black_box(encode.sink.0.len_bytes());
    }
    Ok(())
}

/// apache-avro's time for the same envelopes, from values of its own that are there already: without
/// its check of each value, and with it, as is its default.
fn apache(batches: &[Batch], encode: &mut Encode, schema: &str) -> Result<(f64, f64)> {
    let wrong = |error: apache_avro::Error| failed(error.to_string());
    let schema = apache_avro::Schema::parse_str(schema).map_err(wrong)?;
    let reader = GenericDatumReader::builder(&schema).build().map_err(wrong)?;
    let (mut values, mut out) = (Vec::new(), Vec::new());
    for batch in batches {
        encode.sink.0.clear();
        batch.visit(encode)?;
        for record in tidemesh_transport::RecordIter::new(encode.sink.0.as_bytes()) {
            let value = record?.value.ok_or_else(|| failed("a tombstone"))?;
            let mut datum = &value[FRAME_HEAD_BYTES..];
            values.push(reader.read_value(&mut datum).map_err(wrong)?);
        }
    }
    let rows = values.len() as u64;
    let mut encode = |writer: &GenericDatumWriter<'_>| {
        time(rows, || {
            for value in &values {
                out.clear();
                writer.write_value_ref(&mut out, value).map_err(wrong)?;
                black_box(out.len());
            }
            Ok(())
        })
    };
    let checked = GenericDatumWriter::builder(&schema).build().map_err(wrong)?;
    let unchecked = GenericDatumWriter::builder(&schema).validate(false).build().map_err(wrong)?;
    Ok((encode(&unchecked)?, encode(&checked)?))
}

async fn client(port: u16) -> Result<tokio_postgres::Client> {
    let config = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
    let wrong = |error: tokio_postgres::Error| failed(error.to_string());
    let (client, connection) =
        tokio_postgres::connect(&config, tokio_postgres::NoTls).await.map_err(wrong)?;
    tokio::spawn(connection);
    Ok(client)
}

async fn execute(client: &tokio_postgres::Client, statement: &str) -> Result<()> {
    client.batch_execute(statement).await.map_err(|error| failed(error.to_string()))
}

async fn write(client: &tokio_postgres::Client) -> Result<()> {
    for first in (1..=ROWS).step_by(1000) {
        execute(client, &insert(first, first + 999)).await?;
    }
    Ok(())
}

async fn run(port: u16) -> Result<serde_json::Value> {
    let settings = format!(
        "name = \"bench\"\n[postgres]\nport = {port}\ndatabase = \"postgres\"\n\
         user = \"postgres\"\ntables = [\"public.rows\"]\n"
    );
    let settings: SourceSettings =
        toml::from_str(&settings).map_err(|error| failed(error.to_string()))?;
    let block = PostgresConnector::new(&settings)?.block();
    let client = client(port).await?;
    execute(&client, TABLE).await?;
    let mut written = Ok(());
    let batches = capture(&settings, async || written = write(&client).await, ROWS).await?;
    written?;
    let mut kept = Keep::default();
    batches.iter().try_for_each(|batch| batch.visit(&mut kept))?;
    let schema = kept.schema.clone().ok_or_else(|| failed("the log has no row"))?;
    let mut encode = Encode::new(&schema, &block)?;
    pass(&batches, &mut encode)?;
    let mut passed = Ok(());
    let allocations = allocation_counter::measure(|| passed = pass(&batches, &mut encode));
    passed?;
    let decode = time(ROWS, || batches.iter().try_for_each(|batch| batch.visit(&mut Decode)))?;
    let both = time(ROWS, || pass(&batches, &mut encode))?;
    let origin = Origin {
        position: tidemesh_model::Position::before(1, 1),
        transaction: 1,
        committed_at_us: 0,
        block: &vec![tidemesh_model::BlockCell::Null; block.fields.len()],
    };
    let alone = time(ROWS, || {
        encode.sink.0.clear();
        for row in &kept.rows {
            let change = Change::Create { after: row };
            encode.encoder.encode(&origin, &change, 0, &mut encode.buffers, &mut encode.sink)?;
        }
        Ok(())
    })?;
    let topic = topic_name(&block.name, &schema.name);
    let (schemas, _) = topic_schemas(&topic, &schema, &block, EventFormat::default())?;
    let (theirs, checked) = apache(&batches, &mut encode, &schemas.value)?;
    let round = |figure: f64| (figure * 10.0).round() / 10.0;
    let allocations = u32::try_from(allocations.count_total).map_err(|_| failed("too many"))?;
    Ok(serde_json::json!({
        "rows": ROWS,
        "decode_ns_per_row": round(decode),
        "encode_ns_per_row": round(alone),
        "decode_encode_ns_per_row": round(both),
        "apache_avro_ns_per_row": round(theirs),
        "apache_avro_checked_ns_per_row": round(checked),
        "allocations_per_event": f64::from(allocations) / f64::from(u32::try_from(ROWS).unwrap_or(1)),
    }))
}

fn main() -> std::process::ExitCode {
    let Some(port) = std::env::args().find_map(|argument| argument.parse().ok()) else {
        eprintln!("codec: needs a PostgreSQL: run `scripts/bench codec`");
        return std::process::ExitCode::FAILURE;
    };
    let done = tokio::runtime::Runtime::new()
        .map_err(|error| failed(error.to_string()))
        .and_then(|runtime| runtime.block_on(run(port)));
    match done {
        Ok(figures) => {
            println!("{figures}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("codec: {}", error.report());
            std::process::ExitCode::FAILURE
        }
    }
}
