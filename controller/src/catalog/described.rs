//! Topics as the catalog describes them: all, and one by itself, with the schemas that the registry has.

use super::mask::Mask;
use super::{Catalog, Found, TopicReport};
use crate::controller::Controller;
use crate::state::TopicSchemas;
use crate::topics::{ASKED_AT_ONCE, Newest, Registry};
use futures_util::{StreamExt, stream};
use std::sync::OnceLock;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};

/// What is known of a topic's schemas.
#[derive(Default)]
pub(super) struct Schemas {
    /// Of its values; none if the registry does not have it, or another than Avro's.
    pub(super) value: Option<Schema>,
    /// Of its keys, where nobody else tells which they are, likewise.
    pub(super) key: Option<Schema>,
    /// The ids of both there.
    pub(super) ids: Option<TopicSchemas>,
}

impl<R: Registry> Controller<R> {
    /// All topics of the catalog, by their names. One whose schemas cannot be had is among them, with the reason.
    pub(crate) async fn topic_reports(&self) -> Result<Vec<TopicReport>> {
        let catalog = self.catalog().await?;
        let (all, away) = (catalog.all(), OnceLock::new());
        let reports: Vec<_> = all.iter().map(|found| self.listed(&catalog, found, &away)).collect();
        let reports = stream::iter(reports).buffered(ASKED_AT_ONCE);
        let mut reports: Vec<TopicReport> = reports.collect().await;
        reports.sort_by(|one, other| one.topic.cmp(&other.topic));
        Ok(reports)
    }

    /// A topic, with the ids that its schemas have in the registry now.
    pub(crate) async fn described(&self, topic: &str) -> Result<TopicReport> {
        let catalog = self.catalog().await?;
        let found = catalog.found(topic)?;
        let schemas = self.schemas(&found).await?;
        let mut report = catalog.topic_report(&found, &schemas);
        if let (Some(value), Ok(mesh)) = (&schemas.value, catalog.planned.mesh()) {
            let mask = Mask::of(topic, value, &catalog.sayings, mesh);
            report.fields.iter_mut().for_each(|field| field.masked |= mask.has(&field.path));
        }
        if !matches!(found, Found::Others(_))
            && let Some(Newest { ids, .. }) = self.topics.newest_of(topic).await?
        {
            report.value_schema = Some(ids.value);
            report.key_schema = ids.key.or(report.key_schema);
        }
        Ok(report)
    }

    /// One of a list. A registry that is `away` is not waited for again.
    async fn listed(
        &self,
        catalog: &Catalog,
        found: &Found<'_>,
        away: &OnceLock<String>,
    ) -> TopicReport {
        let schemas = match away.get().filter(|_| self.is_to_be_asked(found)) {
            Some(why) => Err(why.clone()),
            None => self.schemas(found).await.map_err(|error| noted(&error, away)),
        };
        let (schemas, schemas_unknown) = match schemas {
            Ok(schemas) => (schemas, None),
            Err(why) => (Schemas::default(), Some(why)),
        };
        TopicReport { schemas_unknown, ..catalog.topic_report(found, &schemas) }
    }

    /// Whether only the registry has a topic's schemas.
    fn is_to_be_asked(&self, found: &Found<'_>) -> bool {
        match found {
            Found::Output(..) => false,
            Found::Table(table) => self.topics.parsed(table.value_schema).is_none(),
            Found::Others(_) => true,
        }
    }

    pub(super) async fn schemas(&self, found: &Found<'_>) -> Result<Schemas> {
        let of_value = |value| Schemas { value, ..Schemas::default() };
        Ok(match found {
            Found::Output(_, output) => of_value(Some(Schema::parse(&output.schemas.value)?)),
            Found::Table(table) => match self.topics.schema(table.value_schema).await {
                Err(error) if error.kind() == ErrorKind::NotFound => of_value(None),
                schema => of_value(Some(schema?)),
            },
            Found::Others(topic) => match self.topics.newest_of(topic).await? {
                Some(Newest { ids, key, value }) => Schemas { value, key, ids: Some(ids) },
                None => Schemas::default(),
            },
        })
    }
}

/// Why schemas are not known; noted if it is that the registry is away.
fn noted(error: &Error, away: &OnceLock<String>) -> String {
    let why = error.to_string();
    if error.kind() == ErrorKind::Unavailable {
        away.get_or_init(|| why.clone());
    }
    why
}
