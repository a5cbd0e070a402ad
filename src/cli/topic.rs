//! `tidemesh topic`: list, describe, read as JSON lines, audit.

mod audit;

use super::client::{Daemon, print_json, print_line};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::time::Duration;
use tidemesh_avro::schema::Schema;
use tidemesh_emitter::EMITTER_HEADER;
use tidemesh_model::{Error, ErrorKind, Position, Result};
use tidemesh_transport::{
    FetchLimit, POSITION_HEADER, Reader, RecordRef, RegistryClient, Start, Subscription, Transport,
};

/// Bytes that one fetch asks for.
const FETCH_BYTES_MAX: usize = 1024 * 1024;

/// How long one fetch waits for the next record.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Subcommand)]
pub(super) enum TopicCommand {
    /// List the topics with their records and bytes.
    #[command(after_help = "Example:\n  tidemesh topic list")]
    List(Daemon),
    /// Show a topic's configuration and partitions.
    #[command(after_help = "Example:\n  tidemesh topic describe shop.public.orders")]
    Describe {
        /// The topic.
        topic: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Print a topic's records as JSON lines, keys and values decoded by their schemas.
    #[command(
        after_help = "Examples:\n  tidemesh topic read shop.public.orders --follow\n  tidemesh topic read shop.public.orders --from latest --follow --max 10"
    )]
    Read(ReadArgs),
    /// Look whether each event that emitters took is in a topic, once and in order: exit code 0 if so, 1 if not.
    #[command(
        after_help = "Events that an emitter told as failed are missing too, and those that it has taken and not \
                      delivered are not known here.\n\nExample:\n  tidemesh topic audit shop.orders"
    )]
    Audit {
        /// The topic.
        topic: String,
        #[command(flatten)]
        daemon: Daemon,
    },
}

#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    /// The topic.
    topic: String,
    /// Wait for more records at the end.
    #[arg(long)]
    follow: bool,
    /// Where to begin: `earliest`, `latest`, or an offset in every partition.
    #[arg(long, default_value = "earliest", value_parser = parse_from)]
    from: From,
    /// Stop after so many records.
    #[arg(long, value_name = "RECORDS")]
    max: Option<u64>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Clone)]
enum From {
    Earliest,
    Latest,
    Offset(u64),
}

fn parse_from(text: &str) -> std::result::Result<From, String> {
    match text {
        "earliest" => Ok(From::Earliest),
        "latest" => Ok(From::Latest),
        _ => text
            .parse()
            .map(From::Offset)
            .map_err(|_| "must be earliest, latest or an offset".to_owned()),
    }
}

pub(super) async fn run(command: TopicCommand) -> Result<ExitCode> {
    match command {
        TopicCommand::List(daemon) => list(&daemon).await?,
        TopicCommand::Describe { topic, daemon } => {
            print_json(&daemon.log().await?.topic(&topic).await?)?;
        }
        TopicCommand::Read(args) => read(args).await?,
        TopicCommand::Audit { topic, daemon } => return audit::audit(&topic, &daemon).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(daemon: &Daemon) -> Result<()> {
    let topics = daemon.log().await?.topics().await?;
    print_line(&format!("{:>12} {:>14} {:>10}  TOPIC", "OFFSETS", "BYTES", "PARTITIONS"))?;
    for topic in topics {
        let offsets: u64 = topic.partitions.iter().map(|p| p.end - p.begin).sum();
        let bytes: Option<u64> = topic.partitions.iter().map(|p| p.bytes).sum();
        let bytes = bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
        print_line(&format!(
            "{offsets:>12} {bytes:>14} {:>10}  {}",
            topic.partitions.len(),
            topic.name
        ))?;
    }
    Ok(())
}

async fn read(args: ReadArgs) -> Result<()> {
    let log = args.daemon.log().await?;
    let mut decoder = Decoder { registry: args.daemon.registry().await?, schemas: HashMap::new() };
    let info = log.topic(&args.topic).await?;
    let ends: Vec<u64> = info.partitions.iter().map(|partition| partition.end).collect();
    let start = match args.from {
        From::Earliest => Start::Earliest,
        From::Latest => Start::Latest,
        From::Offset(offset) => Start::Offsets(
            (0..).zip(&ends).map(|(p, _)| ((args.topic.clone(), p), offset)).collect(),
        ),
    };
    let topics = vec![args.topic.clone()];
    let mut reader = log.subscribe(Subscription { topics, group: None, start }).await?;
    let mut left = args.max.unwrap_or(u64::MAX);
    let limit = FetchLimit { bytes_max: FETCH_BYTES_MAX, wait_max: FETCH_WAIT_MAX };
    while left > 0 && (args.follow || is_behind(&reader.positions(), &ends)) {
        for batch in reader.poll(limit).await? {
            for record in batch.iter() {
                let (offset, record) = record?;
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                let line = decoder.line(batch.partition, offset, &record).await?;
                print_line(&line.to_string())?;
            }
        }
    }
    Ok(())
}

fn is_behind(positions: &BTreeMap<(String, u32), u64>, ends: &[u64]) -> bool {
    positions.iter().any(|((_, partition), offset)| {
        ends.get(*partition as usize).is_some_and(|end| offset < end)
    })
}

/// Decodes framed data by the schemas that its ids name.
struct Decoder {
    registry: RegistryClient,
    schemas: HashMap<u32, Schema>,
}

impl Decoder {
    async fn line(&mut self, partition: u32, offset: u64, record: &RecordRef<'_>) -> Result<Json> {
        let located = |error: Error| error.with("partition", partition).with("offset", offset);
        let mut line = json!({
            "partition": partition,
            "offset": offset,
            "timestamp_ms": record.timestamp_ms,
        });
        if let Some(position) = record.header(POSITION_HEADER) {
            line["position"] = Position::from_bytes(position).map_err(located)?.to_string().into();
        }
        let headers: serde_json::Map<String, Json> = record
            .headers()
            .filter(|(name, _)| *name != POSITION_HEADER)
            .map(|(name, value)| (name.to_owned(), text_of(name, value).into()))
            .collect();
        if !headers.is_empty() {
            line["headers"] = headers.into();
        }
        line["key"] = self.decode(record.key).await.map_err(located)?;
        line["value"] = self.decode(record.value).await.map_err(located)?;
        Ok(line)
    }

    async fn decode(&mut self, framed: Option<&[u8]>) -> Result<Json> {
        let Some(framed) = framed else {
            return Ok(Json::Null);
        };
        let Some((&[0, a, b, c, d], data)) = framed.split_first_chunk() else {
            return Err(Error::new(ErrorKind::Malformed, "decode a record")
                .because("it has no Confluent frame")
                .with("bytes", framed.len()));
        };
        let id = u32::from_be_bytes([a, b, c, d]);
        if !self.schemas.contains_key(&id) {
            let text = self.registry.schema(id).await?;
            self.schemas.insert(id, Schema::parse(&text)?);
        }
        match self.schemas.get(&id) {
            Some(schema) => tidemesh_avro::json::to_json(schema, data),
            None => Ok(Json::Null),
        }
    }
}

/// A header's value: text, or of an emitter's which start it was and the event's number.
fn text_of(name: &str, value: &[u8]) -> String {
    match audit::start_and_number(value) {
        Some((start, number)) if name == EMITTER_HEADER => format!("{start:016x} {number}"),
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}
