//! `tidemesh verify`: whether topics hold what tables hold.

use super::client::{Daemon, print_line};
use super::progress::Bar;
use crate::daemon::VerifyLine;
use clap::Args;
use std::process::ExitCode;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_source::{
    Cell, DIFFERENCES_LISTED, Difference, Outcome, TableVerdict, VerifyEvent, VerifyRequest, What,
};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The source.
    #[arg(long)]
    source: String,
    /// A table, as schema.table; may be given again. Default: all of them.
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Name every difference, not the first 100 of a table.
    #[arg(long)]
    all: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command: 0 all equal, 1 some differ, 2 some could not be compared and none differs.
pub(super) async fn run(args: VerifyArgs) -> Result<ExitCode> {
    let request = VerifyRequest { tables: args.tables, all: args.all };
    let path = format!("/v1/sources/{}/verify", args.source);
    let mut bar = Bar::new("rows and records");
    let mut verdicts: Vec<TableVerdict> = Vec::new();
    let mut failed = None;
    let told = args.daemon.post_for_lines(&path, &request, |line| {
        match line {
            VerifyLine::Event(VerifyEvent::Progress { table, done, about }) => {
                bar.show(&format!("of {table}"), done, about);
            }
            VerifyLine::Event(VerifyEvent::Table(verdict)) => {
                bar.end();
                if !args.json {
                    print_verdict(&verdict)?;
                }
                verdicts.push(verdict);
            }
            VerifyLine::Error { error } => failed = Some(error),
        }
        Ok(())
    });
    told.await?;
    bar.end();
    if let Some(error) = failed {
        return Err(Error::new(ErrorKind::Unavailable, "verify").because(error));
    }
    let summary = Summary::of(&verdicts);
    if args.json {
        let outcome = summary.outcome();
        let report = serde_json::json!({"outcome": outcome, "tables": verdicts});
        print_line(&report.to_string())?;
    } else {
        print_line(&summary.line())?;
    }
    Ok(ExitCode::from(match summary.outcome() {
        Outcome::Equal => 0,
        Outcome::Different => 1,
        Outcome::Unknown => 2,
    }))
}

/// How many tables came to what.
struct Summary {
    equal: usize,
    different: usize,
    unknown: usize,
    differences: u64,
}

impl Summary {
    fn of(verdicts: &[TableVerdict]) -> Self {
        let count = |outcome| verdicts.iter().filter(|table| table.outcome == outcome).count();
        Self {
            equal: count(Outcome::Equal),
            different: count(Outcome::Different),
            unknown: count(Outcome::Unknown),
            differences: verdicts
                .iter()
                .filter(|table| table.outcome == Outcome::Different)
                .map(|table| table.differing)
                .sum(),
        }
    }

    fn outcome(&self) -> Outcome {
        match (self.different, self.unknown) {
            (0, 0) => Outcome::Equal,
            (0, _) => Outcome::Unknown,
            _ => Outcome::Different,
        }
    }

    fn line(&self) -> String {
        let mut line = format!("{} tables equal, {} differences", self.equal, self.differences);
        if self.different > 0 {
            line.push_str(&format!(" in {} tables", self.different));
        }
        if self.unknown > 0 {
            line.push_str(&format!(", {} tables could not be compared", self.unknown));
        }
        line
    }
}

fn print_verdict(verdict: &TableVerdict) -> Result<()> {
    let outcome = match verdict.outcome {
        Outcome::Equal => "equal",
        Outcome::Different => "different",
        Outcome::Unknown => "unknown",
    };
    print_line(&format!(
        "{outcome:<10} {:>12} rows  {}  {}",
        verdict.rows, verdict.table, verdict.topic
    ))?;
    if let Some(reason) = &verdict.reason {
        print_line(&format!("  {reason}"))?;
    }
    if verdict.outcome != Outcome::Different {
        return Ok(());
    }
    verdict.differences.iter().try_for_each(print_difference)?;
    let more = verdict.differing.saturating_sub(verdict.differences.len() as u64);
    if more > 0 {
        print_line(&format!("  and {more} more than the {DIFFERENCES_LISTED} listed: see --all"))?;
    }
    Ok(())
}

fn print_difference(difference: &Difference) -> Result<()> {
    let shown = |text: &Option<String>| match text {
        Some(text) => format!("{text:?}"),
        None => "null".to_owned(),
    };
    let cell = |cell: &Cell| format!("{}={}", cell.column, shown(&cell.text));
    let key: Vec<String> = difference.key.iter().map(cell).collect();
    let key = key.join(" ");
    match &difference.what {
        What::MissingInTopic => print_line(&format!("  {key}: missing in the topic")),
        What::ExtraInTopic => print_line(&format!("  {key}: in the topic, not in the table")),
        What::Values { columns } => columns.iter().try_for_each(|column| {
            let (database, topic) = (shown(&column.database), shown(&column.topic));
            let name = &column.column;
            print_line(&format!("  {key}: {name} is {database} in the table, {topic} in the topic"))
        }),
    }
}
