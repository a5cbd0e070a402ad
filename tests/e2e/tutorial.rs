//! The tutorial of docs/pipelines.md, run: its files, statements and commands one after the other, and
//! what the commands print is what it shows.

use crate::support::daemon::Daemon;
use crate::support::postgres::Database;
use crate::support::{PATIENCE, POLL_INTERVAL};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const DOCUMENT: &str = include_str!("../../docs/pipelines.md");

const CONFIGURATION: &str = "tidemesh.toml";

/// What stands for any text in what is shown.
const ANYTHING: char = '…';

/// Commands that change something: they are run once. What others print is waited for.
const CHANGES: [&str; 5] =
    ["tidemesh apply", "tidemesh pause", "tidemesh resume", "tidemesh rollback", "tidemesh delete"];

/// A fenced block of the tutorial.
enum Block {
    File { name: String, text: String },
    Sql(String),
    Console(Vec<Shown>),
}

/// A command, and what it prints.
struct Shown {
    command: String,
    output: String,
}

fn tutorial() -> Vec<Block> {
    let section = DOCUMENT.split("\n## Tutorial\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let (mut blocks, mut before) = (Vec::new(), "");
    let mut lines = section.lines();
    while let Some(line) = lines.next() {
        match line.strip_prefix("```") {
            Some(kind) => {
                let text = lines.by_ref().take_while(|line| *line != "```");
                let text: String = text.map(|line| format!("{line}\n")).collect();
                blocks.push(block(kind, before, text));
            }
            None if !line.is_empty() => before = line,
            None => {}
        }
    }
    blocks
}

/// `before` is the text's last line before the block: that of a file ends with its name.
fn block(kind: &str, before: &str, text: String) -> Block {
    match kind {
        "yaml" | "toml" => {
            let name = before.split('`').rfind(|part| part.ends_with(kind));
            let name = name.unwrap_or_else(|| panic!("a file has no name: {before}")).to_owned();
            Block::File { name, text }
        }
        "sql" => Block::Sql(text),
        "console" => {
            let text = format!("\n{text}");
            Block::Console(text.split("\n$ ").skip(1).map(shown).collect())
        }
        other => panic!("the tutorial has a block of {other}"),
    }
}

fn shown(text: &str) -> Shown {
    let (command, output) = text.split_once('\n').unwrap_or((text, ""));
    Shown { command: command.to_owned(), output: output.trim_end().to_owned() }
}

/// Whether a text is what is shown.
fn fits(shown: &str, found: &str) -> bool {
    let mut parts = shown.split(ANYTHING);
    let Some(mut rest) = found.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// The configuration as it is shown, for this database, on ports that are free.
fn configuration(shown: &str, database: &Database) -> String {
    let mut text = "registry.listen = \"127.0.0.1:0\"\ncontrol.listen = \"127.0.0.1:0\"\n\
                    data.listen = \"127.0.0.1:0\"\n"
        .to_owned()
        + shown;
    for (line, ours) in [
        ("port = 5432", format!("port = {}", database.port)),
        ("database = \"shop\"", format!("database = \"{}\"", database.name)),
    ] {
        assert!(text.contains(line), "the configuration has no {line}");
        text = text.replace(line, &ours);
    }
    text + &format!("slot = \"{0}\"\npublication = \"{0}\"\n", database.name)
}

/// Runs a command as a shell does, in the folder; answers what it printed.
fn printed(command: &str, folder: &Path, daemon: &Daemon) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_tidemesh")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let command = format!("exec 2>&1; {command}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).current_dir(folder);
    let output = shell.env("PATH", path).env("TIDEMESH_URL", &daemon.url).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

async fn prints(shown: &Shown, folder: &Path, daemon: &Daemon) {
    let Shown { command, output } = shown;
    let changes = CHANGES.iter().any(|change| command.contains(change));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = printed(command, folder, daemon);
        if fits(output, &found) {
            return;
        }
        let waits = !changes && Instant::now() < deadline;
        assert!(waits, "$ {command}\nis shown to print\n{output}\nand prints\n{found}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// What the tutorial has come to.
struct Run {
    database: Database,
    folder: tempfile::TempDir,
    daemon: Option<Daemon>,
    commands: usize,
}

impl Run {
    async fn block(&mut self, block: Block) {
        match block {
            Block::Sql(text) => self.database.execute(&text).await,
            Block::File { name, mut text } => {
                if name == CONFIGURATION {
                    text = configuration(&text, &self.database);
                }
                std::fs::write(self.folder.path().join(name), text).unwrap();
            }
            Block::Console(all) => {
                for shown in all {
                    self.command(&shown).await;
                }
            }
        }
    }

    async fn command(&mut self, shown: &Shown) {
        self.commands += 1;
        if shown.command == "tidemesh up --config tidemesh.toml" {
            let text = std::fs::read_to_string(self.folder.path().join(CONFIGURATION)).unwrap();
            self.daemon = Some(Daemon::up(self.folder.path(), &text).await);
            return;
        }
        let daemon = self.daemon.as_ref().expect("the tutorial starts no daemon");
        prints(shown, self.folder.path(), daemon).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_does_what_it_shows() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let mut run = Run { database, folder, daemon: None, commands: 0 };
    for block in tutorial() {
        run.block(block).await;
    }
    assert!(run.commands > 20, "the tutorial has {} commands", run.commands);
}

#[test]
fn what_is_left_out_fits_anything() {
    for (shown, found) in [("", ""), ("a", "a"), ("a…c", "abbc"), ("…", ""), ("…b…", "abc")]
    {
        assert!(fits(shown, found), "{shown} {found}");
    }
    for (shown, found) in [("", "a"), ("a", "ab"), ("a…c", "abcd"), ("…b…", "ac"), ("a…a", "a")]
    {
        assert!(!fits(shown, found), "{shown} {found}");
    }
}
