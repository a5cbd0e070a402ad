//! The schemas that are known, shared by the log and by those who read tables: both have one schema of a
//! table as long as it says the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tidemesh_model::{TableName, TableSchema};

/// Schemas of one table that are remembered; the one goes first that was told least lately.
const VERSIONS_MAX: usize = 8;

/// Each table's schemas, the one that was told last at the end. Earlier ones too: the log is read behind, and
/// tells of a table as it was, while those who read it see it as it is.
#[derive(Debug, Default)]
pub(crate) struct KnownSchemas {
    tables: Mutex<HashMap<TableName, Vec<Arc<TableSchema>>>>,
}

impl KnownSchemas {
    /// The one to go by for this schema: one that is known and says the same.
    pub(crate) fn share(&self, schema: Arc<TableSchema>) -> Arc<TableSchema> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tables.entry(schema.name.clone()).or_default();
        let shared = match known.iter().position(|known| **known == *schema) {
            Some(place) => known.remove(place),
            None => schema,
        };
        if known.len() >= VERSIONS_MAX {
            known.remove(0);
        }
        known.push(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_model::{DataType, Field, KeyOrigin, RowKey, SourceKind};

    fn schema(nullable: bool) -> Arc<TableSchema> {
        let field = Field {
            name: "a".into(),
            data_type: DataType::Int32,
            source_type: "int".into(),
            nullable,
            default: None,
            aliases: Vec::new(),
            kind: SourceKind::Plain,
            key_default: None,
        };
        let key = RowKey { origin: KeyOrigin::WholeRow, columns: vec![0] };
        Arc::new(TableSchema::new(TableName::new("d", "t"), vec![field], key).unwrap())
    }

    #[test]
    fn a_schema_is_shared_while_it_says_the_same() {
        let known = KnownSchemas::default();
        let first = known.share(schema(true));
        assert!(Arc::ptr_eq(&first, &known.share(schema(true))));
        let other = known.share(schema(false));
        assert!(!Arc::ptr_eq(&first, &other));
        assert!(Arc::ptr_eq(&other, &known.share(schema(false))));
        // The log may still tell of the table as it was.
        assert!(Arc::ptr_eq(&first, &known.share(schema(true))));
        assert!(Arc::ptr_eq(&other, &known.share(schema(false))));
    }
}
