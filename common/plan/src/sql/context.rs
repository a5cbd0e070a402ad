//! What DataFusion's planner is told: the tables and functions that there are.

use super::declared::PostgresTypes;
use super::functions::{Functions, functions};
use datafusion_common::arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion_expr::{AggregateUDF, ScalarUDF, TableSource, WindowUDF};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The tables of one query.
pub(super) struct Context {
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    functions: &'static Functions,
}

/// DataFusion's options, all of which are left as they are.
pub(super) static OPTIONS: LazyLock<ConfigOptions> = LazyLock::new(ConfigOptions::default);

/// A table by its columns.
#[derive(Debug)]
struct Table(SchemaRef);

impl TableSource for Table {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }
}

impl Context {
    pub(super) fn new(tables: impl IntoIterator<Item = (String, SchemaRef)>) -> Self {
        let tables = tables
            .into_iter()
            .map(|(name, schema)| (name, Arc::new(Table(schema)) as Arc<dyn TableSource>))
            .collect();
        Self { tables, functions: functions() }
    }

    pub(super) fn table_names(&self) -> Vec<&str> {
        self.tables.keys().map(String::as_str).collect()
    }
}

impl ContextProvider for Context {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.get(name.table()) {
            Some(table) => Ok(table.clone()),
            None => plan_err!("there is no table `{name}`"),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.functions.planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(PostgresTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.get(name)
    }

    fn get_aggregate_meta(&self, _: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &OPTIONS
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.names()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
