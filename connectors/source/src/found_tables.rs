//! The tables that a connector has found: asked for while sessions come and go.

use std::sync::{Mutex, PoisonError};
use tidemesh_model::TableName;

/// The tables that were found last; before that, those that the settings name.
#[derive(Debug)]
pub struct FoundTables(Mutex<Vec<TableName>>);

impl FoundTables {
    /// Those that are named.
    #[must_use]
    pub fn new(named: Vec<TableName>) -> Self {
        Self(Mutex::new(named))
    }

    /// Those that were found now.
    pub fn set(&self, found: Vec<TableName>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Those that were found last.
    #[must_use]
    pub fn get(&self) -> Vec<TableName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
