//! The schemas that are known, shared by the log and by those who read tables: both have one schema of a
//! table as long as it says the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tidemesh_model::{TableName, TableSchema};

/// Each table's schema that was told last.
#[derive(Debug, Default)]
pub(crate) struct KnownSchemas {
    last: Mutex<HashMap<TableName, Arc<TableSchema>>>,
}

impl KnownSchemas {
    /// The one to go by for this schema: the last one if it says the same.
    pub(crate) fn share(&self, schema: Arc<TableSchema>) -> Arc<TableSchema> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.get(&schema.name) {
            Some(known) if **known == *schema => Arc::clone(known),
            _ => {
                last.insert(schema.name.clone(), Arc::clone(&schema));
                schema
            }
        }
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
    }
}
