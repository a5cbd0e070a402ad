//! Which tables are captured, before a session begins.

use crate::Connector;
use std::collections::HashMap;
use tidemesh_model::Result;
use tidemesh_transport::{check_topics, topic_name};

/// Has the connector find its tables, of which no two may share a topic.
///
/// # Errors
///
/// As [`Connector::discover`]; `Config` for two tables of one topic.
pub(crate) async fn discover<C: Connector>(connector: &C, source: &str) -> Result<()> {
    connector.discover().await?;
    let mut by_topic = HashMap::new();
    for table in connector.tables() {
        check_topics(source, std::slice::from_ref(&table))?;
        if let Some(other) = by_topic.insert(topic_name(source, &table), table.clone()) {
            check_topics(source, &[other, table])?;
        }
    }
    Ok(())
}
