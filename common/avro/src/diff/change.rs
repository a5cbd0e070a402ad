//! The kinds of changes, and how they read.

use serde_json::Value as Json;
use std::fmt;

/// One difference, with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The field, for people: names of the new schema's fields from the root, joined by points (of a
    /// removed field its old name); none at the root.
    pub field: Option<String>,
    /// The place in the old schema, as a JSON pointer into its
    /// [`registry_text`](crate::schema::Schema::registry_text); of what was added the place around it.
    pub old_path: String,
    /// The place in the new schema, likewise; of what was removed the place around it.
    pub new_path: String,
    /// What changed.
    pub change: Change,
}

/// What changed. Types are in short ([`short_type`](crate::schema::Schema::short_type)).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// A field is new.
    FieldAdded {
        /// Its type.
        data_type: String,
        /// Its default.
        default: Option<Json>,
    },
    /// A field is gone.
    FieldRemoved {
        /// Its type.
        data_type: String,
        /// The default it had.
        default: Option<Json>,
    },
    /// A field has another name, and the old one as its alias.
    FieldRenamed {
        /// Its old name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// The fields that are in both records stand in another order.
    FieldsReordered,
    /// A type became one that reads its data by promotion: int to long, string to bytes.
    TypePromoted {
        /// The old type.
        from: String,
        /// The new type.
        to: String,
    },
    /// A type became another.
    TypeChanged {
        /// The old type.
        from: String,
        /// The new type.
        to: String,
    },
    /// The meaning of a type is another, not its bytes: a logical type or its parameters.
    LogicalTypeChanged {
        /// The old type with its attributes.
        from: Json,
        /// The new type with its attributes.
        to: Json,
    },
    /// A field's default is another, came or went.
    DefaultChanged {
        /// The old one.
        from: Option<Json>,
        /// The new one.
        to: Option<Json>,
    },
    /// A record, enum or fixed has another name.
    Renamed {
        /// The old full name.
        from: String,
        /// The new full name.
        to: String,
        /// Whether the new one has the old name as an alias.
        aliased: bool,
    },
    /// A fixed has another size.
    SizeChanged {
        /// The old size in bytes.
        from: usize,
        /// The new size in bytes.
        to: usize,
    },
    /// An enum has more symbols.
    SymbolsAdded(Vec<String>),
    /// An enum has fewer symbols.
    SymbolsRemoved(Vec<String>),
    /// The symbols that are in both enums stand in another order.
    SymbolsReordered,
    /// An enum's default is another, came or went.
    EnumDefaultChanged {
        /// The old one.
        from: Option<String>,
        /// The new one.
        to: Option<String>,
    },
    /// A union has one more branch; a type that became a union counts as one with one branch.
    BranchAdded(String),
    /// A union has one branch less; a union that became a type counts as one with one branch.
    BranchRemoved(String),
    /// The branches that are in both unions stand in another order.
    BranchesReordered,
    /// A field's or named type's aliases are others.
    AliasesChanged {
        /// The old ones.
        from: Vec<String>,
        /// The new ones.
        to: Vec<String>,
    },
    /// Documentation is another, came or went.
    DocChanged {
        /// The old one.
        from: Option<String>,
        /// The new one.
        to: Option<String>,
    },
    /// An attribute that Avro does not know, or a field's sort order, is another, came or went.
    AttributeChanged {
        /// Its name.
        name: String,
        /// The old value.
        from: Option<Json>,
        /// The new value.
        to: Option<Json>,
    },
}

impl Change {
    /// Its name in API answers.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::FieldAdded { .. } => "field_added",
            Self::FieldRemoved { .. } => "field_removed",
            Self::FieldRenamed { .. } => "field_renamed",
            Self::FieldsReordered => "fields_reordered",
            Self::TypePromoted { .. } => "type_promoted",
            Self::TypeChanged { .. } => "type_changed",
            Self::LogicalTypeChanged { .. } => "logical_type_changed",
            Self::DefaultChanged { .. } => "default_changed",
            Self::Renamed { .. } => "renamed",
            Self::SizeChanged { .. } => "size_changed",
            Self::SymbolsAdded(_) => "symbols_added",
            Self::SymbolsRemoved(_) => "symbols_removed",
            Self::SymbolsReordered => "symbols_reordered",
            Self::EnumDefaultChanged { .. } => "enum_default_changed",
            Self::BranchAdded(_) => "branch_added",
            Self::BranchRemoved(_) => "branch_removed",
            Self::BranchesReordered => "branches_reordered",
            Self::AliasesChanged { .. } => "aliases_changed",
            Self::DocChanged { .. } => "doc_changed",
            Self::AttributeChanged { .. } => "attribute_changed",
        }
    }

    /// Whether data, or what is read of it, can be another. Orders of fields, symbols and branches
    /// are resolved away; defaults and aliases change what a reader sees.
    #[must_use]
    pub fn concerns_data(&self) -> bool {
        match self {
            Self::FieldAdded { .. }
            | Self::FieldRemoved { .. }
            | Self::FieldRenamed { .. }
            | Self::TypePromoted { .. }
            | Self::TypeChanged { .. }
            | Self::LogicalTypeChanged { .. }
            | Self::DefaultChanged { .. }
            | Self::Renamed { .. }
            | Self::SizeChanged { .. }
            | Self::SymbolsAdded(_)
            | Self::SymbolsRemoved(_)
            | Self::EnumDefaultChanged { .. }
            | Self::BranchAdded(_)
            | Self::BranchRemoved(_)
            | Self::AliasesChanged { .. } => true,
            Self::FieldsReordered
            | Self::SymbolsReordered
            | Self::BranchesReordered
            | Self::DocChanged { .. }
            | Self::AttributeChanged { .. } => false,
        }
    }
}

fn or_none<T: fmt::Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "none".to_owned(), T::to_string)
}

fn default(json: &Option<Json>) -> String {
    match json {
        Some(json) => format!("default {json}"),
        None => "without default".to_owned(),
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FieldAdded { data_type, default: json } => {
                write!(f, "field added: {data_type}, {}", default(json))
            }
            Self::FieldRemoved { data_type, default: json } => {
                write!(f, "field removed: {data_type}, {}", default(json))
            }
            Self::FieldRenamed { from, to } => write!(f, "field renamed: {from} to {to}, by alias"),
            Self::FieldsReordered => f.write_str("fields reordered"),
            Self::TypePromoted { from, to } => write!(f, "type promoted: {from} to {to}"),
            Self::TypeChanged { from, to } => write!(f, "type changed: {from} to {to}"),
            Self::LogicalTypeChanged { from, to } => {
                write!(f, "logical type changed: {from} to {to}")
            }
            Self::DefaultChanged { from, to } => {
                write!(f, "default changed: {} to {}", or_none(from), or_none(to))
            }
            Self::Renamed { from, to, aliased } => {
                let by = if *aliased { ", by alias" } else { ", without alias" };
                write!(f, "type renamed: {from} to {to}{by}")
            }
            Self::SizeChanged { from, to } => write!(f, "size changed: {from} to {to}"),
            Self::SymbolsAdded(symbols) => write!(f, "symbols added: {}", symbols.join(", ")),
            Self::SymbolsRemoved(symbols) => write!(f, "symbols removed: {}", symbols.join(", ")),
            Self::SymbolsReordered => f.write_str("symbols reordered"),
            Self::EnumDefaultChanged { from, to } => {
                write!(f, "enum's default changed: {} to {}", or_none(from), or_none(to))
            }
            Self::BranchAdded(data_type) => write!(f, "union's branch added: {data_type}"),
            Self::BranchRemoved(data_type) => write!(f, "union's branch removed: {data_type}"),
            Self::BranchesReordered => f.write_str("union's branches reordered"),
            Self::AliasesChanged { from, to } => {
                write!(f, "aliases changed: [{}] to [{}]", from.join(", "), to.join(", "))
            }
            Self::DocChanged { .. } => f.write_str("documentation changed"),
            Self::AttributeChanged { name, from, to } => {
                write!(f, "attribute {name} changed: {} to {}", or_none(from), or_none(to))
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field.as_deref().unwrap_or("(root)"), self.change)
    }
}
