//! Distributed (XA) transactions in a scan: what is held of them when they are prepared, and what becomes of
//! that when they end.

use super::{Scanning, Step, Stop};
use crate::cursor::Statement;
use crate::decode::{Rows, TableMap, Xid};
use crate::held::{Collected, Prepared};
use crate::statement::Effect;
use crate::tables::Purpose;
use crate::transaction::Transaction;
use crate::xa::XaId;
use tidemesh_model::{Error, ErrorKind, Result};

impl Scanning<'_> {
    /// Marks are not among what is held: who writes them writes them alone, and one that came later would
    /// say nothing of the log where it stands.
    pub(super) fn held_table(&mut self, map: &TableMap<'_>, event: &[u8]) -> Result<Step> {
        if self.bounds.captured.purpose(map.name_bytes()) == Some(Purpose::Events) {
            let number = self.events() + 1;
            self.collect(number, event)?;
            self.scan.collected.tables.insert(map.table_name()?);
            self.scan.place.open_held.push(map.id);
        }
        Ok(Step::Take)
    }

    pub(super) fn held_rows(&mut self, rows: &Rows<'_>, event: &[u8]) -> Result<Step> {
        if self.scan.place.open_held.contains(&rows.table) {
            self.collect(self.events(), event)?;
            self.scan.place.has_rows = true;
        }
        if rows.ends_statement {
            self.scan.place.open_held.clear();
        }
        Ok(Step::Take)
    }

    /// Events of rows of the transaction so far, of all tables.
    fn events(&self) -> u64 {
        self.scan.place.cursor.transaction.map_or(0, |transaction| transaction.events)
    }

    /// Keeps an event of a captured table, with the number of its rows or of those that follow.
    fn collect(&mut self, number: u64, event: &[u8]) -> Result<()> {
        let number = u32::try_from(number).map_err(|_| too_many_events())?.to_le_bytes();
        let collected = &mut self.scan.collected;
        let room = self
            .bounds
            .held
            .has_room(collected.events.len() + number.len() + event.len(), &collected.tables);
        room.map_err(|error| self.scan.place.cursor.located(error))?;
        collected.events.extend_from_slice(&number);
        collected.events.extend_from_slice(event);
        Ok(())
    }

    /// What was collected is of a transaction that is not held: descriptions of tables without rows, or rows
    /// that were undone where all is passed over.
    pub(super) fn drop_collected(&mut self) {
        self.scan.collected = Collected::default();
        self.scan.drops_collected = true;
        self.scan.place.open_held.clear();
    }

    /// The end of a distributed transaction. Its event goes with those that are held, and ends them where
    /// they are told.
    pub(super) fn prepared(
        &mut self,
        transaction: Transaction,
        xid: Xid<'_>,
        event: &[u8],
    ) -> Result<Step> {
        if !self.scan.place.has_rows {
            if !xid.is_one_phase {
                self.scan.strangers.push(xid.into());
            }
            self.ended(&transaction)?;
            return Ok(Step::Take);
        }
        if xid.is_one_phase {
            // What comes before it is collected first.
            if self.scan.bytes > 0 {
                return Ok(Step::Before(None));
            }
            self.collect(transaction.events + 1, event)?;
            return Ok(Step::Behind(Some(Stop::CommittedAtOnce(transaction))));
        }
        let place = self.bounds.held.has_place(&self.scan.collected.tables);
        place.map_err(|error| self.scan.place.cursor.located(error))?;
        self.collect(transaction.events + 1, event)?;
        self.scan.prepared = Some(Prepared { id: xid.into(), transaction });
        self.scan.place.open_held.clear();
        self.scan.place.has_rows = false;
        self.passed()?;
        Ok(Step::Behind(None))
    }

    /// The commit of a distributed transaction that is held: its events are told as this one's.
    pub(super) fn committed(&self, id: &XaId, statement: &Statement<'_>) -> Step {
        match self.scan.bytes {
            0 => Step::Behind(Some(Stop::Committed(id.clone(), statement.transaction))),
            _ => Step::Before(None),
        }
    }

    /// The rollback of a distributed transaction, or the commit of one that is not held.
    pub(super) fn ended_distributed(&mut self, id: &XaId, statement: &Statement<'_>) -> Step {
        if self.bounds.held.has(id) {
            return Step::Behind(Some(Stop::RolledBack(id.clone())));
        }
        let is_commit = matches!(statement.effect, Effect::CommitDistributed(_));
        let is_told = is_commit && !self.is_passed_over(statement);
        self.scan.ended_strangers.push((id.clone(), is_told));
        Step::Take
    }
}

#[cold]
fn too_many_events() -> Error {
    Error::new(ErrorKind::TooLarge, "read the log")
        .because("a prepared transaction has more events of rows than a place has")
}

#[cfg(test)]
mod tests;
