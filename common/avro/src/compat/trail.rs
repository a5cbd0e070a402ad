//! Where in two schemas the checker is: the steps from both roots, and Java's spelling of them.

/// One step into a pair of types, which goes into the reader's type, the writer's or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PairStep {
    /// The elements of two arrays.
    Items,
    /// The values of two maps.
    Values,
    /// The reader's field at this place, as a whole.
    Field(usize),
    /// The type of the reader's field, and of the writer's that it takes.
    FieldType {
        /// The reader's field.
        reader: usize,
        /// The writer's; none where the writer's record itself is compared.
        writer: Option<usize>,
    },
    /// A branch of the reader's union.
    ReaderBranch(usize),
    /// A branch of the writer's union.
    WriterBranch(usize),
    /// Two types' names.
    Name,
    /// Two fixed types' sizes.
    Size,
    /// Two enums' symbols.
    Symbols,
}

/// The path as Avro Java's `SchemaCompatibility` writes it. It names the reader's fields, but the
/// writer's branches.
pub(crate) fn java_path(trail: &[PairStep]) -> String {
    let steps: Vec<String> = trail.iter().filter_map(|step| java_step(*step)).collect();
    format!("/{}", steps.join("/"))
}

fn java_step(step: PairStep) -> Option<String> {
    Some(match step {
        PairStep::Items => "items".to_owned(),
        PairStep::Values => "values".to_owned(),
        PairStep::Field(place) => format!("fields/{place}"),
        PairStep::FieldType { reader, .. } => format!("fields/{reader}/type"),
        PairStep::WriterBranch(place) => place.to_string(),
        PairStep::ReaderBranch(_) => return None,
        PairStep::Name => "name".to_owned(),
        PairStep::Size => "size".to_owned(),
        PairStep::Symbols => "symbols".to_owned(),
    })
}
