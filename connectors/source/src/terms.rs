//! What a connector's settings and types are called, where texts that all connectors share name them.

/// The names that messages have of a connector's settings and types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The settings' keys, as `postgres.tables`.
    pub tables: &'static str,
    /// As `postgres.exclude_tables`.
    pub exclude_tables: &'static str,
    /// As `postgres.include_columns`.
    pub include_columns: &'static str,
    /// As `postgres.exclude_columns`.
    pub exclude_columns: &'static str,
    /// As `postgres.mask`.
    pub mask: &'static str,
    /// As `postgres.mask.columns`.
    pub mask_columns: &'static str,
    /// The types that can be masked, in words.
    pub maskable: &'static str,
}

/// The [`Terms`] of the settings' table of this name, and the types that can be masked.
#[macro_export]
macro_rules! terms {
    ($table:literal, $maskable:literal) => {
        $crate::Terms {
            tables: concat!($table, ".tables"),
            exclude_tables: concat!($table, ".exclude_tables"),
            include_columns: concat!($table, ".include_columns"),
            exclude_columns: concat!($table, ".exclude_columns"),
            mask: concat!($table, ".mask"),
            mask_columns: concat!($table, ".mask.columns"),
            maskable: $maskable,
        }
    };
}
