//! What to change in the new schema: one sentence a rule and direction.

use crate::compat::{
    Checker, Direction, Found, IncompatibilityKind, Matter, PairStep, WriterField, promoted,
    writer_fields,
};
use crate::schema::{Field, Kind, NodeId, Schema};

/// The most names that one sentence lists.
const LISTED_MAX: usize = 8;

/// Whom and where a suggestion is for.
pub(super) struct Context<'s> {
    pub(super) reader: &'s Schema,
    pub(super) writer: &'s Schema,
    pub(super) direction: Direction,
    /// The field's path.
    pub(super) field: Option<&'s str>,
    /// Whether the reasons that are behind this one are told too.
    pub(super) caused: bool,
}

/// What would make the new schema compatible at that place.
pub(super) fn suggest(context: &Context<'_>, checker: &mut Checker<'_>, found: &Found) -> String {
    match (found.matter, found.what.kind) {
        (Matter::Limit, _) => {
            "make the schema smaller: it is too large or nested too deep to be compared".to_owned()
        }
        (Matter::Several(place), _) => context.several(found, place),
        (Matter::Field(place), _) => context.missing_field(checker, found, place),
        (Matter::Branch(branch), _) => context.branch(found, branch),
        (_, IncompatibilityKind::NameMismatch) => context.name(found),
        (_, IncompatibilityKind::FixedSizeMismatch) => context.size(found),
        (_, IncompatibilityKind::MissingEnumSymbols) => context.symbols(found),
        _ => context.types(found),
    }
}

impl Context<'_> {
    fn backward(&self) -> bool {
        self.direction == Direction::Backward
    }

    /// The field, or the whole.
    fn here(&self) -> String {
        self.field.map_or_else(|| "the schema".to_owned(), |field| format!("`{field}`"))
    }

    fn reader_fields(&self, id: NodeId) -> &[Field] {
        record_fields(self.reader, id)
    }

    fn name(&self, found: &Found) -> String {
        let (read, written) = (self.reader.node(found.reader), self.writer.node(found.writer));
        let kind = read.type_name().to_lowercase();
        let (Some(new_reader), Some(written)) = (&read.name, &written.name) else {
            return format!("keep the name of the {kind}");
        };
        if self.backward() {
            format!(
                "keep the name `{written}`, or give {kind} `{new_reader}` the alias `{written}`"
            )
        } else {
            format!(
                "keep the name `{new_reader}`: readers of the old {kind} have no alias `{written}`"
            )
        }
    }

    fn size(&self, found: &Found) -> String {
        let (Kind::Fixed(read), Kind::Fixed(written)) =
            (&self.reader.node(found.reader).kind, &self.writer.node(found.writer).kind)
        else {
            return "keep the size".to_owned();
        };
        let old = if self.backward() { written } else { read };
        format!("keep the size {old} at {}, or add another field of the new size", self.here())
    }

    fn symbols(&self, found: &Found) -> String {
        let (Kind::Enum { symbols, .. }, Kind::Enum { symbols: written, .. }) =
            (&self.reader.node(found.reader).kind, &self.writer.node(found.writer).kind)
        else {
            return "keep the symbols".to_owned();
        };
        let missing: Vec<&String> = written.iter().filter(|s| !symbols.contains(s)).collect();
        let listed = list(missing.iter().map(|symbol| symbol.as_str()));
        let noun = if missing.len() == 1 { "symbol" } else { "symbols" };
        let named = self.reader.short_type(found.reader);
        if self.backward() {
            format!("add the missing {noun} {listed} to {named}, or give it a default")
        } else {
            format!(
                "leave the new {noun} {listed} out of {named}: its old readers have no default; \
                 give it one first, and add the {noun} in the version after that"
            )
        }
    }

    fn missing_field(&self, checker: &mut Checker<'_>, found: &Found, place: usize) -> String {
        let Some(field) = self.reader_fields(found.reader).get(place) else {
            return "give the field a default".to_owned();
        };
        let path = self.here();
        let (name, renamed) = (&field.name, self.renamed(checker, found, field));
        match (self.backward(), renamed) {
            (true, None) => format!("give field {path} a default"),
            (true, Some(old)) => format!(
                "give field {path} a default, or the alias `{old}` if it is that field renamed"
            ),
            (false, None) => {
                format!("keep field {path}: the old schema, which reads it, has no default for it")
            }
            (false, Some(new)) => format!(
                "keep field {path}: the old schema, which reads it, has no default for it; \
                 `{new}` cannot take its place without being called `{name}`"
            ),
        }
    }

    /// The one field of the writer that no field of the reader takes and that could be this one
    /// under another name.
    fn renamed(&self, checker: &mut Checker<'_>, found: &Found, field: &Field) -> Option<String> {
        let (read, written) =
            (self.reader_fields(found.reader), record_fields(self.writer, found.writer));
        let mut free = vec![true; written.len()];
        for source in writer_fields(read, written) {
            if let WriterField::One(taken) = source {
                free[taken] = false;
            }
        }
        let mut fitting = written
            .iter()
            .zip(free)
            .filter(|(other, free)| *free && checker.readable(field.node, other.node));
        let (only, more) = (fitting.next()?, fitting.next());
        more.is_none().then(|| only.0.name.clone())
    }

    fn several(&self, found: &Found, place: usize) -> String {
        let Some(field) = self.reader_fields(found.reader).get(place) else {
            return "take the alias away".to_owned();
        };
        let written = record_fields(self.writer, found.writer);
        let names = std::iter::once(&field.name).chain(&field.aliases);
        let fitting =
            list(names.filter(|name| written.iter().any(|w| w.name == **name)).map(String::as_str));
        if self.backward() {
            format!("let the name and aliases of {} fit one of {fitting} only", self.here())
        } else {
            format!(
                "leave out all but one of {fitting}: old readers take each of them for {}",
                self.here()
            )
        }
    }

    fn branch(&self, found: &Found, branch: NodeId) -> String {
        let (lacking, here) = (self.writer.short_type(branch), self.here());
        if self.caused {
            let union = if self.backward() { "the union" } else { "the old readers' union" };
            return format!(
                "mend what is wrong within `{lacking}`: {union} at {here} has a branch for it that \
                 cannot read all of it"
            );
        }
        if self.backward() {
            return format!("add the branch `{lacking}` to the union at {here}");
        }
        match &self.writer.node(found.writer).kind {
            Kind::Union(_) => format!(
                "leave the branch `{lacking}` out of the union at {here}: old readers have none for it"
            ),
            _ => format!(
                "keep one of the types of the old readers' union {} at {here}",
                self.reader.short_type(found.reader)
            ),
        }
    }

    fn types(&self, found: &Found) -> String {
        let (read, written) =
            (self.reader.short_type(found.reader), self.writer.short_type(found.writer));
        let here = self.here();
        let in_union = match found.trail.last() {
            // The checker's oddity about enums' defaults: the writer lacks the field.
            Some(PairStep::FieldType { writer: None, .. }) if self.backward() => {
                return format!("give field {here} a default");
            }
            Some(PairStep::FieldType { writer: None, .. }) => return format!("keep field {here}"),
            last => matches!(last, Some(PairStep::WriterBranch(_))),
        };
        match (self.backward(), in_union) {
            (true, true) => format!("keep a union with the branch `{written}` at {here}"),
            (false, true) => {
                format!("leave `{written}` out at {here}: old readers take `{read}` alone")
            }
            (true, false) => {
                let wider = list(promotions(&self.writer.node(found.writer).kind));
                let or = if wider.is_empty() {
                    String::new()
                } else {
                    format!(" or a type that reads it ({wider})")
                };
                format!(
                    "keep the type `{written}`{or} at {here}, or add `{read}` as a new field with a \
                     default"
                )
            }
            (false, false) => format!(
                "keep the type `{read}` at {here}, or write `{written}` as a new field beside it"
            ),
        }
    }
}

fn record_fields(schema: &Schema, id: NodeId) -> &[Field] {
    match &schema.node(id).kind {
        Kind::Record(fields) => fields,
        _ => &[],
    }
}

/// The names of the other types that read this one's data.
fn promotions(written: &Kind) -> impl Iterator<Item = &'static str> {
    let wider = [
        (Kind::Long, "long"),
        (Kind::Float, "float"),
        (Kind::Double, "double"),
        (Kind::Bytes, "bytes"),
        (Kind::String, "string"),
    ];
    wider.into_iter().filter(|(read, _)| promoted(written, read)).map(|(_, name)| name)
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.len() > LISTED_MAX {
        let more = names.len() - LISTED_MAX;
        names.truncate(LISTED_MAX);
        return format!("{} and {more} more", names.join(", "));
    }
    match names.pop() {
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} and {last}", names.join(", ")),
        None => String::new(),
    }
}
