//! Reads values of a tree as what they should be. What is wrong is reported, and the reader goes on,
//! so that one pass over a text finds everything.

use super::names;
use super::origin::SqlText;
use super::report::Report;
use super::tree::{Content, Entry, Node};
use crate::{Place, Problem};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::rc::Rc;
use tidemesh_model::is_topic_name;

/// A value of a document, and the path that leads to it.
#[derive(Clone)]
pub(super) struct At<'t> {
    pub(super) node: &'t Node,
    place: Place,
    /// Where its key stands; where it stands itself, if it has none.
    key_place: Place,
    path: Rc<Path<'t>>,
}

/// A path from its end, so that a value's costs nothing but its last step.
enum Path<'t> {
    Root,
    Key(Rc<Self>, &'t str),
    Index(Rc<Self>, usize),
}

/// A table of keys, of which all are known.
pub(super) struct Table<'t> {
    pub(super) at: At<'t>,
}

/// Something that is one of a few words.
pub(super) trait Choice: Sized + Copy + 'static {
    /// The words, with what they stand for.
    const ALL: &'static [(&'static str, Self)];
}

impl<'t> At<'t> {
    pub(super) fn root(node: &'t Node) -> Self {
        Self { node, place: node.place, key_place: node.place, path: Rc::new(Path::Root) }
    }

    fn key(&self, entry: &'t Entry) -> Self {
        let path = Rc::new(Path::Key(Rc::clone(&self.path), &entry.key));
        Self { node: &entry.value, place: entry.value.place, key_place: entry.key_place, path }
    }

    /// The value that a step from here leads to.
    pub(super) fn step(&self, key: &str) -> Option<Self> {
        match &self.node.content {
            Content::Table(entries) => {
                entries.iter().find(|entry| entry.key == key).map(|entry| self.key(entry))
            }
            Content::List(items) => {
                let index = key.parse().ok()?;
                items.get(index).map(|node| self.item(index, node))
            }
            _ => None,
        }
    }

    fn item(&self, index: usize, node: &'t Node) -> Self {
        let path = Rc::new(Path::Index(Rc::clone(&self.path), index));
        Self { node, place: node.place, key_place: node.place, path }
    }

    /// A problem with this value, in a document that is called so.
    pub(super) fn problem(&self, document: &str, message: impl Into<String>) -> Problem {
        let path = self.path();
        let about = match (document, path.as_str()) {
            (document, "") => document.to_owned(),
            ("", path) => path.to_owned(),
            (document, path) => format!("{document}: {path}"),
        };
        Problem::new(about, message).at(Some(self.place))
    }

    /// The path as a text: `spec.processors[0].sql`.
    fn path(&self) -> String {
        let mut steps = Vec::new();
        let mut path = &*self.path;
        while let Path::Key(before, _) | Path::Index(before, _) = path {
            steps.push(path);
            path = before;
        }
        let mut text = String::new();
        for step in steps.into_iter().rev() {
            step.write(&mut text);
        }
        text
    }

    fn expected(&self, what: &str, report: &mut Report) {
        let found = self.node.what();
        report.wrong(self, format!("this is {found}"), format!("{what} is needed here"));
    }

    /// Neither absent nor null nor empty.
    pub(super) fn text(&self, report: &mut Report) -> Option<&'t str> {
        match &self.node.content {
            Content::Text(text, _) if !text.trim().is_empty() => Some(text),
            Content::Text(..) => {
                report.wrong(self, "the text is empty", "write something, or leave out the key");
                None
            }
            Content::Number(_) | Content::Boolean(_) => {
                self.expected("a text, in quotes,", report);
                None
            }
            _ => {
                self.expected("a text", report);
                None
            }
        }
    }

    pub(super) fn owned(&self, report: &mut Report) -> Option<String> {
        self.text(report).map(str::to_owned)
    }

    pub(super) fn sql(&self, report: &mut Report) -> SqlText {
        match (self.text(report), &self.node.content) {
            (Some(text), Content::Text(_, origin)) => SqlText::at(text, *origin),
            _ => SqlText::default(),
        }
    }

    /// A name of something within the document, or an empty text in its place.
    pub(super) fn name(&self, report: &mut Report) -> String {
        let Some(name) = self.text(report) else { return String::new() };
        if !names::name(name) {
            let message = format!("{} cannot be a name", names::shown(name));
            report.wrong(self, message, format!("a name is {}", names::NAME));
            return String::new();
        }
        name.to_owned()
    }

    /// The name of a topic, or an empty text in its place.
    pub(super) fn topic(&self, report: &mut Report) -> String {
        let Some(topic) = self.text(report) else { return String::new() };
        if !is_topic_name(topic) {
            let message = format!("Kafka takes no topic {}", names::shown(topic));
            report.wrong(self, message, format!("a topic's name is {}", names::TOPIC));
            return String::new();
        }
        topic.to_owned()
    }

    pub(super) fn boolean(&self, report: &mut Report) -> Option<bool> {
        if let Content::Boolean(value) = self.node.content {
            return Some(value);
        }
        self.expected("true or false", report);
        None
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>, report: &mut Report) -> Option<u64> {
        let number = match &self.node.content {
            Content::Number(number) => number.as_u64(),
            _ => None,
        };
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let (least, most) = (range.start(), range.end());
        let what = match *most {
            u64::MAX => format!("a whole number of {least} or more"),
            _ => format!("a whole number of {least} to {most}"),
        };
        match &self.node.content {
            Content::Number(number) => {
                report.wrong(
                    self,
                    format!("{number} is out of bounds"),
                    format!("{what} is needed"),
                );
            }
            _ => self.expected(&what, report),
        }
        None
    }

    pub(super) fn number(&self, report: &mut Report) -> Option<f64> {
        match &self.node.content {
            Content::Number(number) => number.as_f64(),
            _ => {
                self.expected("a number", report);
                None
            }
        }
    }

    pub(super) fn choice<T: Choice>(&self, report: &mut Report) -> Option<T> {
        let words = T::ALL.iter().map(|(word, _)| *word);
        let Content::Text(text, _) = &self.node.content else {
            let words: Vec<_> = words.collect();
            self.expected(&format!("one of {}", words.join(", ")), report);
            return None;
        };
        let found = T::ALL.iter().find(|(word, _)| word == text);
        if found.is_none() {
            let words: Vec<_> = words.collect();
            let message = format!("{} is not known", names::shown(text));
            report.wrong(self, message, format!("write one of {}", words.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    pub(super) fn list(&self, report: &mut Report) -> Vec<Self> {
        let Content::List(items) = &self.node.content else {
            self.expected("a list", report);
            return Vec::new();
        };
        items.iter().enumerate().map(|(index, node)| self.item(index, node)).collect()
    }

    /// A list of texts, none of which is there twice, each with its place.
    pub(super) fn placed_texts(&self, report: &mut Report) -> Vec<(&'t str, Self)> {
        let mut seen = BTreeSet::new();
        let mut texts = Vec::new();
        for item in self.list(report) {
            let Some(text) = item.text(report) else { continue };
            if seen.insert(text) {
                texts.push((text, item));
            } else {
                let message = format!("{} is there twice", names::shown(text));
                report.wrong(&item, message, "leave out one of them");
            }
        }
        texts
    }

    pub(super) fn texts(&self, report: &mut Report) -> Vec<String> {
        self.placed_texts(report).into_iter().map(|(text, _)| text.to_owned()).collect()
    }

    /// Whether it is a list or table without entries.
    pub(super) fn is_empty(&self) -> bool {
        match &self.node.content {
            Content::List(items) => items.is_empty(),
            Content::Table(entries) => entries.is_empty(),
            _ => false,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.node.content, Content::Null)
    }

    /// A table whose keys the user chooses.
    pub(super) fn entries(&self, report: &mut Report) -> Vec<(&'t str, Self)> {
        let Content::Table(entries) = &self.node.content else {
            self.expected("a table of keys", report);
            return Vec::new();
        };
        entries.iter().map(|entry| (entry.key.as_str(), self.key(entry))).collect()
    }

    /// The same value, placed where its key stands, if it has one.
    pub(super) fn at_key(&self) -> Self {
        Self { place: self.key_place, ..self.clone() }
    }

    /// Any value that is a table, as JSON.
    pub(super) fn json_table(&self, report: &mut Report) -> Option<Value> {
        if matches!(self.node.content, Content::Table(_)) {
            return Some(self.node.to_json());
        }
        self.expected("a table of keys", report);
        None
    }
}

impl Path<'_> {
    /// Writes the last step.
    fn write(&self, text: &mut String) {
        let plain = |key: &str| {
            key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        };
        let point = if text.is_empty() { "" } else { "." };
        let written = match self {
            Self::Root => Ok(()),
            Self::Key(_, key) if plain(key) => write!(text, "{point}{key}"),
            Self::Key(_, key) => write!(text, "[\"{key}\"]"),
            Self::Index(_, index) => write!(text, "[{index}]"),
        };
        written.expect("a text takes what is written");
    }
}

impl<'t> Table<'t> {
    /// Reads a table whose keys are known; others are reported.
    pub(super) fn of(
        at: &At<'t>,
        known: &'static [&'static str],
        report: &mut Report,
    ) -> Option<Self> {
        let Content::Table(entries) = &at.node.content else {
            at.expected(&format!("a table with the keys {}", known.join(", ")), report);
            return None;
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let unknown = at.key(entry).at_key();
            report.unknown(&unknown, "there is no such key", &entry.key, known.iter().copied());
        }
        Some(Self { at: at.clone() })
    }

    /// The value of a key, unless it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<At<'t>> {
        self.at.step(key).filter(|at| !at.is_null())
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &str, report: &mut Report) -> Option<At<'t>> {
        let value = self.get(key);
        if value.is_none() {
            report.wrong(&self.at, format!("`{key}` is missing"), format!("add the key {key}"));
        }
        value
    }

    /// A key that is not there is not reported: one out of a few words, or the default.
    pub(super) fn choice<T: Choice + Default>(&self, key: &str, report: &mut Report) -> T {
        self.get(key).and_then(|at| at.choice(report)).unwrap_or_default()
    }

    pub(super) fn text(&self, key: &str, report: &mut Report) -> Option<String> {
        self.get(key).and_then(|at| at.owned(report))
    }

    /// A key that must not be beside another.
    pub(super) fn refuse(&self, key: &str, message: &str, help: &str, report: &mut Report) {
        if let Some(at) = self.get(key) {
            report.wrong(&at.at_key(), message, help);
        }
    }

    /// The value of the one key that must be there out of a few.
    pub(super) fn one_of<const N: usize>(
        &self,
        keys: [&'static str; N],
        report: &mut Report,
    ) -> Option<(&'static str, At<'t>)> {
        let mut found = keys.iter().filter_map(|key| self.get(key).map(|at| (*key, at)));
        let first = found.next();
        match (&first, found.next()) {
            (None, _) => {
                let names = keys.map(names::shown).join(" or ");
                let help = format!("add the key {}", keys.join(" or "));
                report.wrong(&self.at, format!("{names} is missing"), help);
            }
            (Some((key, _)), Some((other, at))) => {
                let message = format!("`{key}` and `{other}` are both set");
                report.wrong(&at.at_key(), message, "leave out one of them");
            }
            _ => {}
        }
        first
    }
}
