//! Progress: a bar on a terminal, lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The bar's width in characters.
const WIDTH: u64 = 32;

/// How far something has come.
pub(super) struct Bar {
    unit: &'static str,
    terminal: bool,
    began: Instant,
    shown: Option<Instant>,
}

impl Bar {
    /// A bar that counts `unit`s.
    pub(super) fn new(unit: &'static str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { unit, terminal, began: Instant::now(), shown: None }
    }

    /// Shows that `done` of about `all` are done.
    pub(super) fn show(&mut self, done: u64, all: u64) {
        let text = self.text(done, all);
        let mut out = std::io::stderr().lock();
        // Progress that cannot be written is no reason to stop.
        let _ = if self.terminal {
            let filled = done.saturating_mul(WIDTH).checked_div(all).unwrap_or(0).min(WIDTH);
            let bar: String = (0..WIDTH).map(|at| if at < filled { '#' } else { '.' }).collect();
            write!(out, "\r[{bar}] {text} ").and_then(|()| out.flush())
        } else if self.shown.is_none_or(|shown| shown.elapsed() >= LINE_INTERVAL) {
            self.shown = Some(Instant::now());
            writeln!(out, "{text}")
        } else {
            Ok(())
        };
        self.shown.get_or_insert_with(Instant::now);
    }

    /// Ends the bar's line.
    pub(super) fn end(&self) {
        if self.terminal && self.shown.is_some() {
            eprintln!();
        }
    }

    fn text(&self, done: u64, all: u64) -> String {
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(0).min(100);
        let seconds = self.began.elapsed().as_secs().max(1);
        format!("{done} of about {all} {} ({percent} %), {} s", self.unit, seconds)
    }
}
