//! What DDL means to captured tables, of which the log has no word: it describes a table where the next row
//! comes, and the catalog tells what became of the rows before. Other columns or keys are other schemas; what
//! was rewritten, and another table under a known name, is read anew.

use crate::batch::{PostgresBatch, Transaction};
use crate::relation::{self, Relation, RelationShape};
use crate::source::PostgresSource;
use crate::storage::Storage;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{Result, StateItem, TableName, TableSchema};
use tokio::time::Instant;

/// How often it is looked whether a table's change is visible.
const UNSEEN_PAUSE: Duration = Duration::from_millis(20);

/// Tables that were dropped and made anew, or swapped by their names, while nothing was read.
#[derive(Debug)]
pub(crate) struct Remade {
    /// The place in the log behind which it tells nothing of those that had the names before.
    pub(crate) until_lsn: u64,
    pub(crate) tables: Vec<TableName>,
}

/// A table in which DDL gave rows other keys under the names that the key had. Until the log is behind that,
/// it tells rows of the former keys.
#[derive(Debug, Clone)]
pub(crate) struct Rekeyed {
    /// The place in the log behind which it tells nothing of the former keys.
    pub(crate) until_lsn: u64,
    /// How the table was stored when that was seen. It is taken in behind that place alone: until then what is
    /// stored tells the same again.
    pub(crate) storage: Storage,
}

impl PostgresSource {
    /// Waits until the catalog has what it will be asked for of a table: the log tells a commit before
    /// readers see it. False if it has not by the deadline.
    pub(crate) async fn is_visible(
        &self,
        shape: &RelationShape,
        deadline: Instant,
    ) -> Result<bool> {
        let is_captured = self.config.tables.contains(&shape.name);
        let Some(transaction) = self.place.transaction.filter(|_| is_captured) else {
            return Ok(true);
        };
        let before = self.versions.get(&shape.id).and_then(|versions| versions.last());
        let is_altered = match before {
            Some(before) => before.shape.columns != shape.columns,
            None => self.known.find(shape).is_none(),
        };
        // Under REPLICA IDENTITY FULL the shape does not show another key.
        let must_see = is_altered || shape.replica_identity == b'f';
        while !self.catalog.sees(transaction.xid).await? {
            // What has altered columns holds the table until it is visible.
            if !must_see && !self.catalog.is_held(shape.id).await? {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(UNSEEN_PAUSE).await;
        }
        Ok(true)
    }

    /// Takes in a table that may be new or changed; what is new of it is stored with the next batch.
    pub(crate) async fn learn(&mut self, shape: RelationShape) -> Result<()> {
        let id = shape.id;
        if !self.config.tables.contains(&shape.name) {
            self.describe(id, None);
            return Ok(());
        }
        let mut storage = self.catalog.storages(&[id]).await?.remove(&id);
        let relation = self.version(shape, storage.as_ref()).await?;
        if !self.is_stored(&relation) {
            // Behind what was asked for it, so that no DDL is between both unseen.
            storage = self.catalog.storages(&[id]).await?.remove(&id);
        }
        let rekeyed = self.rekeyed(&relation.schema, id, storage.as_ref()).await?;
        // Nothing is waited for behind this: a call that is dropped before has learnt nothing.
        let mut first = self.empty();
        let is_unsure = storage.as_ref().is_some_and(|now| self.is_unsure(&relation, now));
        first.state.extend(self.remember(&relation)?);
        let schema = Arc::clone(&relation.schema);
        self.describe(id, Some(relation));
        let storage = storage.filter(|_| rekeyed.is_none());
        self.rekeyed.extend(rekeyed.map(|rekeyed| (id, rekeyed)));
        let taken =
            storage.map(|storage| self.storages.take(id, storage, is_unsure)).transpose()?;
        let (is_rewritten, item) = taken.map_or((false, None), |t| (t.is_rewritten, t.item));
        first.state.extend(item);
        // Where rows are passed over, the topics tell of what came after this table already.
        if self.ids.had_other(&schema.name, id) && !self.is_passed_over() {
            self.replace(&schema.name, id, &mut first)?;
            first.schemas.push(Arc::clone(&schema));
            first.replaced.push(schema);
        } else if is_rewritten {
            tracing::info!(table = %schema.name, "was rewritten by DDL: it is read anew");
            first.rewritten.push(schema.name.clone());
        }
        if !first.state.is_empty() || is_rewritten {
            self.first = Some(first);
        }
        Ok(())
    }

    /// Whether a table has columns, told here for the first time, of which the catalog has none of their
    /// names any more: whether they were dropped since, or go by the name of one that is not told here,
    /// nothing tells.
    fn is_unsure(&self, relation: &Arc<Relation>, now: &Storage) -> bool {
        let told = &relation.shape.columns;
        let mut others = now.columns.iter().filter(|(_, column)| !column.is_generated);
        let has_another = others.any(|(name, _)| told.iter().all(|column| column.name != *name));
        let mut fields = relation.schema.fields.iter().zip(&relation.numbers);
        !self.is_stored(relation)
            && has_another
            && fields
                .any(|(field, number)| number.is_none() && !now.columns.contains_key(&field.name))
    }

    /// What comes of a table whose rows got other keys, if they did.
    async fn rekeyed(
        &self,
        schema: &TableSchema,
        id: u32,
        now: Option<&Storage>,
    ) -> Result<Option<Rekeyed>> {
        let has_others =
            |now: &&Storage| self.storages.has_other_keys(id, now, |name| is_of_key(schema, name));
        let Some(storage) = now.filter(has_others) else { return Ok(None) };
        if let Some(known) = self.rekeyed.get(&id).filter(|known| known.storage == *storage) {
            return Ok(Some(known.clone()));
        }
        let until_lsn = self.catalog.place().await?;
        Ok(Some(Rekeyed { until_lsn, storage: storage.clone() }))
    }

    /// Whether the log tells no former keys any more of a table whose rows got others.
    pub(crate) fn has_come_to_rekeyed(&self) -> bool {
        self.rekeyed.values().any(|rekeyed| self.place.end.commit >= rekeyed.until_lsn)
    }

    /// Has the rows of tables whose keys are others deleted from their topics, and the tables read anew.
    pub(crate) async fn take_rekeyed(&mut self) -> Result<()> {
        let come = self.place.end.commit;
        let due = |(_, rekeyed): &(&u32, &Rekeyed)| come >= rekeyed.until_lsn;
        let due: Vec<u32> = self.rekeyed.iter().filter(due).map(|(id, _)| *id).collect();
        let mut found = Vec::new();
        for id in due {
            found.push((id, self.relation_of(id).await?));
        }
        // Nothing is waited for behind this.
        let mut first = self.empty();
        for (id, relation) in found {
            let (Some(rekeyed), Some(relation)) = (self.rekeyed.remove(&id), relation) else {
                continue;
            };
            first.state.extend(self.remember(&relation)?);
            first.state.extend(self.storages.take(id, rekeyed.storage, true)?.item);
            let schema = &relation.schema;
            tracing::warn!(table = %schema.name, "DDL gave its rows other keys: it is read anew");
            first.schemas.push(Arc::clone(schema));
            first.replaced.push(Arc::clone(schema));
            // Also where tables are not read at first, for the log does not tell the rows' new keys.
            first.rewritten.push(schema.name.clone());
        }
        self.first = Some(first).filter(|first| !first.replaced.is_empty());
        Ok(())
    }

    /// What the log, or else the catalog, says of a table; none if it is no more.
    async fn relation_of(&self, id: u32) -> Result<Option<Arc<Relation>>> {
        if let Some(Some(relation)) = self.relations.get(&id) {
            return Ok(Some(Arc::clone(relation)));
        }
        let told = self.versions.get(&id).and_then(|versions| versions.last());
        let Some(name) = told.map(|told| told.shape.name.clone()) else { return Ok(None) };
        let found = self.catalog.find(&name).await?.filter(|(today, _)| *today == id);
        let Some((_, replica_identity)) = found else { return Ok(None) };
        let shape = self.catalog.shape(id, &name, replica_identity).await?;
        if shape.columns.is_empty() {
            return Ok(None);
        }
        self.version(shape, None).await.map(Some)
    }

    /// A name is another table's from here on: that of the one before is forgotten.
    fn replace(&mut self, name: &TableName, id: u32, first: &mut PostgresBatch) -> Result<()> {
        tracing::warn!(table = %name, "is another table than before: it is read anew");
        let before = self.ids.set(name, id);
        first.state.push(self.ids.item()?);
        if let Some(before) = before {
            if self.versions.remove(&before).is_some() {
                first.state.push(StateItem { key: relation::state_key(before), value: None });
            }
            first.state.extend(self.storages.forget(before));
            self.rekeyed.remove(&before);
            self.asked_at.remove(&before);
        }
        // Another one may be waited for that the catalog has by now.
        let mut waiting = self.remade.iter().flat_map(|remade| &remade.tables);
        if !waiting.any(|waiting| waiting == name) {
            self.known.stand(name.clone(), id);
        }
        Ok(())
    }

    /// Whether the log tells nothing more of tables whose names are others' by now: in the midst of a
    /// transaction, too, since those that are committed before it have come.
    pub(crate) fn has_come_to_remade(&self) -> bool {
        self.remade.as_ref().is_some_and(|remade| self.place.end.commit >= remade.until_lsn)
    }

    /// Takes in tables that were made anew while nothing was read, and of which the log has told nothing
    /// since: it may never, and the topics have the rows of those before.
    pub(crate) async fn take_remade(&mut self) -> Result<()> {
        let mut found = Vec::new();
        for name in self.remade.iter().flat_map(|remade| &remade.tables) {
            // One that is gone again is found by the watch if another one comes.
            let Some((id, replica_identity)) = self.catalog.find(name).await? else { continue };
            let shape = self.catalog.shape(id, name, replica_identity).await?;
            if self.ids.had_other(name, id) && !shape.columns.is_empty() {
                found.push(self.version(shape, None).await?);
            }
        }
        // Nothing is waited for behind this.
        self.remade = None;
        let mut first = self.empty();
        for relation in found {
            first.state.extend(self.remember(&relation)?);
            self.replace(&relation.shape.name, relation.shape.id, &mut first)?;
            first.schemas.push(Arc::clone(&relation.schema));
            first.replaced.push(Arc::clone(&relation.schema));
        }
        self.first = Some(first).filter(|first| !first.replaced.is_empty());
        Ok(())
    }

    /// Whether the row that comes next is in the topics already.
    fn is_passed_over(&self) -> bool {
        let next = |transaction: Transaction| Transaction {
            ordinal: transaction.ordinal + 1,
            ..transaction
        };
        let next = self.place.transaction.map(next);
        next.is_some_and(|next| next.position(self.epoch) <= self.resume_after)
    }

    fn describe(&mut self, id: u32, relation: Option<Arc<Relation>>) {
        if relation.is_some() {
            self.asked_at.insert(id, self.commit_lsn());
        }
        Arc::make_mut(&mut self.relations).insert(id, relation);
        self.described = Some(id);
    }

    fn commit_lsn(&self) -> u64 {
        self.place.transaction.map_or(self.place.end.commit, |transaction| transaction.commit_lsn)
    }

    /// The stored version for this place of the log, or a new one from the catalog, which says today that the
    /// table is stored so.
    async fn version(
        &self,
        shape: RelationShape,
        today: Option<&Storage>,
    ) -> Result<Arc<Relation>> {
        let commit_lsn = self.commit_lsn();
        let mut versions = self.versions.get(&shape.id).into_iter().flatten();
        // A later version that is stored says what came of it.
        let is_latest = !versions.any(|known| known.since_lsn > commit_lsn);
        let today = today.filter(|_| is_latest);
        let key = if is_latest { self.key_of_today(&shape).await? } else { None };
        let fits = |relation: &Arc<Relation>| {
            key.as_ref().is_none_or(|key| relation.has_key(key))
                && today.is_none_or(|today| relation.has_numbers_of(today))
        };
        let versions = self.versions.get(&shape.id).map_or(&[][..], Vec::as_slice);
        if let Some(known) = relation::known(versions, &shape, commit_lsn).filter(fits) {
            relation::check_composites(&self.catalog, &known).await?;
            return Ok(known);
        }
        let resolved = match self.known.find(&shape).filter(fits) {
            Some(known) => Relation { since_lsn: commit_lsn, ..known.as_ref().clone() },
            None => {
                let earlier = self.known.earlier(&shape.name);
                relation::resolve(&self.catalog, &shape, commit_lsn, &earlier).await?
            }
        };
        relation::check_composites(&self.catalog, &resolved).await?;
        Ok(Arc::new(resolved))
    }

    fn is_stored(&self, relation: &Arc<Relation>) -> bool {
        let mut versions = self.versions.get(&relation.shape.id).into_iter().flatten();
        versions.any(|known| Arc::ptr_eq(known, relation))
    }

    /// Adds a version, unless it is a stored one; answers what is to be stored.
    fn remember(&mut self, relation: &Arc<Relation>) -> Result<Option<StateItem>> {
        if self.is_stored(relation) {
            return Ok(None);
        }
        let shape = &relation.shape;
        let versions = self.versions.entry(shape.id).or_default();
        self.known.add(Arc::clone(relation));
        tracing::info!(table = %shape.name, columns = shape.columns.len(), "schema");
        relation::remember(versions, Arc::clone(relation));
        relation::state_item(shape.id, versions).map(Some)
    }

    /// The primary key by which rows must be keyed, if the log does not show it: with REPLICA
    /// IDENTITY FULL every column is flagged.
    async fn key_of_today(&self, shape: &RelationShape) -> Result<Option<Vec<String>>> {
        if shape.replica_identity != b'f' {
            return Ok(None);
        }
        let key = self.catalog.primary_key(shape.id).await?;
        // A table that is no more tells nothing.
        Ok(Some(key).filter(|key| !key.is_empty()))
    }
}

/// Whether a table's rows are told apart by this column, among others.
pub(crate) fn is_of_key(schema: &TableSchema, name: &str) -> bool {
    schema.key.columns.iter().any(|column| schema.fields[*column].name == name)
}
