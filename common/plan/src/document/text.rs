//! From a text of YAML or JSON to trees: the parser's events, what is refused of YAML, and a way on
//! after a mistake to the next document.

use super::limits::{DEPTH_MAX, DOCUMENTS_MAX, ENTRIES_MAX, KEY_BYTES_MAX, TEXT_BYTES_MAX};
use super::origin::Origin;
use super::report::Report;
use super::scalar;
use super::tree::{Content, Entry, Node};
use crate::{Place, Problem};
use granit_parser::{ErrorKind, Event, Marker, Options, Parser, ScalarStyle, ScanError, Span};
use std::collections::HashSet;

/// The trees of a text's documents; of one with a mistake in its form there is none.
pub(super) fn trees(text: &str, report: &mut Report) -> Vec<Node> {
    let mut trees = Vec::new();
    if text.len() > TEXT_BYTES_MAX {
        let message =
            format!("the text has {} bytes, at most {TEXT_BYTES_MAX} are read", text.len());
        report.push(Problem::new("", message).help("split it into several"));
        return trees;
    }
    let mut parser = Parser::new_from_str_with_options(text, options());
    let mut documents = 0;
    while documents < DOCUMENTS_MAX {
        match one(&mut parser, text, report) {
            Next::Tree(tree) => trees.push(tree),
            Next::Nothing => {}
            Next::Broken => match parser.proceed_next_document() {
                Ok(true) => {}
                Ok(false) | Err(_) => return trees,
            },
            Next::End => return trees,
        }
        documents += 1;
    }
    let message = format!("the text has more than {DOCUMENTS_MAX} documents");
    report.push(Problem::new("", message).help("split it into several"));
    trees
}

/// What comes next in a text.
enum Next {
    Tree(Node),
    /// A document without anything in it.
    Nothing,
    /// A document that cannot be read on.
    Broken,
    End,
}

fn options() -> Options {
    let mut options = Options::default();
    options.disallow_directives = true;
    options.emit_unresolved_aliases = true;
    options.emit_anchor_events = true;
    options.flow_nesting_limit = DEPTH_MAX + 1;
    options.block_nesting_limit = DEPTH_MAX + 1;
    options.set_emit_comments(false);
    options
}

fn one<'t>(
    parser: &mut Parser<'t, granit_parser::StrInput<'t>>,
    text: &'t str,
    report: &mut Report,
) -> Next {
    let mut builder = Builder { text, open: Vec::new(), root: None };
    loop {
        match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => return Next::End,
            Some(Ok((Event::DocumentEnd, _))) => {
                let root = builder.root.filter(|root| !matches!(root.content, Content::Null));
                return root.map_or(Next::Nothing, Next::Tree);
            }
            Some(Ok((event, span))) => {
                if builder.on(event, span, report).is_err() {
                    return Next::Broken;
                }
            }
            Some(Err(error)) => {
                report.push(of_form(&error));
                return Next::Broken;
            }
        }
    }
}

/// Makes a tree of events.
struct Builder<'t> {
    text: &'t str,
    open: Vec<Open>,
    root: Option<Node>,
}

/// A list or table that is not at its end.
struct Open {
    place: Place,
    inner: Inner,
}

enum Inner {
    List(Vec<Node>),
    Table { entries: Vec<Entry>, seen: HashSet<String>, key: Option<Key> },
}

/// A key whose value comes next.
enum Key {
    Known(String, Place),
    /// It is reported; its value is not kept.
    Wrong,
}

/// A list or table is too deep or too long to read on.
struct TooMuch;

impl Builder<'_> {
    fn on(&mut self, event: Event<'_>, span: Span, report: &mut Report) -> Result<(), TooMuch> {
        let place = place(&span.start);
        self.refuse_extras(&event, &span, report);
        match event {
            Event::Scalar(text, style, ..) => self.scalar(&text, style, span, report),
            Event::SequenceStart(..) => return self.begin(place, Inner::List(Vec::new()), report),
            Event::MappingStart(..) => {
                let (entries, seen) = (Vec::new(), HashSet::new());
                return self.begin(place, Inner::Table { entries, seen, key: None }, report);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(report),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.add(Node { place, content: Content::Wrong }, report);
            }
            _ => {}
        }
        self.bounded(report)
    }

    /// Whether the list or table that is open may have one more.
    fn bounded(&self, report: &mut Report) -> Result<(), TooMuch> {
        let Some(open) = self.open.last() else { return Ok(()) };
        let entries = match &open.inner {
            Inner::List(items) => items.len(),
            Inner::Table { entries, .. } => entries.len(),
        };
        if entries <= ENTRIES_MAX {
            return Ok(());
        }
        let message = format!("a list or table has more than {ENTRIES_MAX} entries");
        report.push(Problem::new("", message).help("make it shorter").at(Some(open.place)));
        Err(TooMuch)
    }

    /// What a document must not have of YAML: it reads as JSON does, and nothing stands twice.
    fn refuse_extras(&mut self, event: &Event<'_>, span: &Span, report: &mut Report) {
        let (message, help) = match event {
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                ("an alias (`*name`) is not taken", "write out what it stands for")
            }
            Event::Anchor(..) => ("an anchor (`&name`) is not taken", "leave it out"),
            _ => ("a tag (`!name`) is not taken", "leave it out; put a text into quotes"),
        };
        let marker = match event {
            Event::Alias(_) | Event::UnresolvedAlias(_) | Event::Anchor(..) => Some(span.start),
            _ => span.tag_start,
        };
        if let Some(marker) = marker {
            report.push(Problem::new("", message).help(help).at(Some(place(&marker))));
        }
    }

    fn begin(&mut self, place: Place, inner: Inner, report: &mut Report) -> Result<(), TooMuch> {
        if self.open.len() >= DEPTH_MAX {
            report.push(too_deep(place));
            return Err(TooMuch);
        }
        self.open.push(Open { place, inner });
        Ok(())
    }

    fn end(&mut self, report: &mut Report) {
        let Some(Open { place, inner }) = self.open.pop() else { return };
        let content = match inner {
            Inner::List(items) => Content::List(items),
            Inner::Table { entries, .. } => Content::Table(entries),
        };
        self.add(Node { place, content }, report);
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span, report: &mut Report) {
        let begin = place(&span.start);
        if let Some(character) = text.chars().find(|character| !printable(*character)) {
            let message =
                format!("the text holds U+{:04X}, which cannot be printed", character as u32);
            report.push(Problem::new("", message).help("leave it out").at(Some(begin)));
        }
        let source = source(self.text, span);
        // The parser gives `~` for what is not there.
        let text = if style == ScalarStyle::Plain && source.is_empty() { "" } else { text };
        if self.awaits_key() {
            return self.key(text, style, begin, report);
        }
        let content = match style {
            ScalarStyle::Plain => scalar::plain(text, Origin::flow(text, source, begin))
                .unwrap_or_else(|(message, help)| {
                    report.push(Problem::new("", message).help(help).at(Some(begin)));
                    Content::Wrong
                }),
            ScalarStyle::Literal => {
                let origin = Origin::block(text, lines_from(self.text, &span.start), begin);
                Content::Text(text.to_owned(), origin)
            }
            ScalarStyle::Folded => Content::Text(text.to_owned(), Origin::Begin(begin)),
            _ => Content::Text(text.to_owned(), Origin::flow(text, source, begin)),
        };
        self.add(Node { place: begin, content }, report);
    }

    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { inner: Inner::Table { key: None, .. }, .. }))
    }

    fn key(&mut self, text: &str, style: ScalarStyle, place: Place, report: &mut Report) {
        let Some(Open { inner: Inner::Table { seen, key, .. }, .. }) = self.open.last_mut() else {
            return;
        };
        let wrong = match text {
            "" => Some(("a key is missing", "write one before the `:`")),
            "<<" if style == ScalarStyle::Plain => {
                Some(("a merge (`<<`) is not taken", "write out the keys that it stands for"))
            }
            _ if text.len() > KEY_BYTES_MAX => {
                Some(("the key is too long", "give it a shorter name"))
            }
            _ if !seen.insert(text.to_owned()) => {
                Some(("the key is there twice", "leave out one of them"))
            }
            _ => None,
        };
        *key = Some(match wrong {
            Some((message, help)) => {
                let about = text.chars().take(KEY_BYTES_MAX / 8).collect::<String>();
                report.push(Problem::new(about, message).help(help).at(Some(place)));
                Key::Wrong
            }
            None => Key::Known(text.to_owned(), place),
        });
    }

    /// Puts a value that is at its end where it belongs.
    fn add(&mut self, node: Node, report: &mut Report) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.inner {
            Inner::List(items) => items.push(node),
            Inner::Table { key: key @ None, .. } => {
                let problem = Problem::new("", "a key must be a text").help("write `key: value`");
                report.push(problem.at(Some(node.place)));
                *key = Some(Key::Wrong);
            }
            Inner::Table { entries, key, .. } => {
                if let Some(Key::Known(key, key_place)) = key.take() {
                    entries.push(Entry { key, key_place, value: node });
                }
            }
        }
    }
}

/// What a text may hold, so that it can be written as YAML and JSON and read again: YAML 1.2.2's
/// printable characters (5.1).
fn printable(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' | '\u{85}' => true,
        '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => !character.is_control(),
    }
}

fn source(text: &str, span: Span) -> &str {
    let range = span.start.byte_offset().zip(span.end.byte_offset());
    range.and_then(|(start, end)| text.get(start..end)).unwrap_or_default()
}

/// The text from the begin of a marker's line on.
fn lines_from<'t>(text: &'t str, marker: &Marker) -> &'t str {
    let before = marker.byte_offset().and_then(|offset| text.get(..offset)).unwrap_or_default();
    &text[before.rfind('\n').map_or(0, |end| end + 1)..]
}

fn place(marker: &Marker) -> Place {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place { line: number(marker.line()), column: number(marker.col()).saturating_add(1) }
}

fn too_deep(place: Place) -> Problem {
    let message = format!("lists and tables stand more than {DEPTH_MAX} deep within each other");
    Problem::new("", message).help("make it flatter").at(Some(place))
}

/// A mistake in the form of the text.
fn of_form(error: &ScanError) -> Problem {
    let place = place(error.marker());
    let help = match error.kind() {
        ErrorKind::TabInBlockIndentation | ErrorKind::TabNotAllowed => {
            "indent with spaces, not tabs"
        }
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidIndentation => {
            "put a text that holds `: ` into quotes, and let the keys of a table begin in one column"
        }
        ErrorKind::UnexpectedCharacter { .. } => "put the text into quotes",
        ErrorKind::UnclosedQuotedScalar => "end the text with the quote that it begins with",
        ErrorKind::DirectiveDisallowed => "leave out lines that begin with %",
        _ => {
            "look for a bracket or a quote that is not closed, or a line with too little indentation"
        }
    };
    Problem::new("", format!("this is no YAML: {}", error.info())).help(help).at(Some(place))
}
