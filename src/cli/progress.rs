//! Progress: a bar on a terminal, lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// How far something has come.
pub(super) struct Bar {
    bar: ProgressBar,
    unit: &'static str,
    /// When the next line is due where there is no terminal.
    line_at: Option<Instant>,
}

impl Bar {
    /// A bar that counts `unit`s.
    pub(super) fn new(unit: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let template = "{elapsed_precise} [{bar:32}] {pos} of about {len} {unit} {msg}";
        if let Ok(style) = ProgressStyle::with_template(&template.replace("{unit}", unit)) {
            bar.set_style(style.progress_chars("##."));
        }
        let line_at = (!std::io::stderr().is_terminal()).then(|| Instant::now() + LINE_INTERVAL);
        Self { bar, unit, line_at }
    }

    /// Shows that `done` of about `all` of `what` are done.
    pub(super) fn show(&mut self, what: &str, done: u64, all: u64) {
        let Some(line_at) = &mut self.line_at else {
            self.bar.set_length(all.max(done));
            self.bar.set_position(done);
            self.bar.set_message(what.to_owned());
            return;
        };
        if Instant::now() >= *line_at {
            *line_at = Instant::now() + LINE_INTERVAL;
            eprintln!("{done} of about {} {} {what}", all.max(done), self.unit);
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
