//! Where the log would be taken up behind what is given out: before the oldest transaction that is held, or
//! where the one begins that is under way, or behind the last one. Pure.

use crate::gtid::TransactionId;
use crate::held::Held;
use crate::place::offset_of;
use crate::scan::{Place, Scan};
use crate::takeup::LogPlace;
use crate::xa::XaId;
use tidemesh_model::Result;

/// What follows to a scan's end.
pub(crate) struct Follower<'a> {
    /// All that was read.
    pub(crate) log: &'a mut LogPlace,
    /// What was read and is not told yet.
    pub(crate) held: &'a mut Held,
    /// The held transaction whose events are being told.
    pub(crate) telling: Option<&'a XaId>,
}

impl Follower<'_> {
    /// Follows to a scan's end; answers distributed transactions that are committed and of which it is not
    /// known what they changed.
    ///
    /// # Errors
    ///
    /// `TooLarge` if there are more transactions' ids than any replication has.
    pub(crate) fn follow(&mut self, scan: &mut Scan) -> Result<Vec<XaId>> {
        let unknown = self.follow_distributed(scan);
        if self.log.gtids.is_none() {
            // With a new file all before it is known again, be it that transactions without ids are there.
            self.log.gtids = scan.before.take();
        }
        if scan.has_anonymous {
            self.has_ended(None)?;
        }
        scan.ended.iter().try_for_each(|id| self.has_ended(Some(*id)))?;
        self.hold(scan)?;
        self.pass_what_was_told(&mut scan.place);
        self.move_to(&scan.place);
        Ok(unknown)
    }

    /// What becomes of distributed transactions.
    fn follow_distributed(&mut self, scan: &mut Scan) -> Vec<XaId> {
        if scan.drops_collected {
            self.held.drop_collected();
        }
        self.held.collect(std::mem::take(&mut scan.collected));
        std::mem::take(&mut scan.strangers).into_iter().for_each(|id| self.held.pass(id));
        let mut unknown = Vec::new();
        for (id, is_told) in std::mem::take(&mut scan.ended_strangers) {
            let is_known = self.held.knows(&id);
            self.held.release(&id);
            if is_told && !is_known {
                unknown.push(id);
            }
        }
        let has_ended = scan.place.cursor.transaction.is_none();
        if let Some(id) = self.telling.filter(|_| has_ended) {
            self.held.release(id);
        }
        unknown
    }

    /// Holds the transaction that a scan ends with, if that is prepared.
    fn hold(&mut self, scan: &mut Scan) -> Result<()> {
        let Some(prepared) = scan.prepared.take() else { return Ok(()) };
        let id = prepared.transaction.id;
        self.held.hold(prepared, &scan.place.cursor, self.log.gtids.as_ref());
        self.has_ended(id)
    }

    /// A transaction is among those that were read; one without an id makes that no set can say which.
    fn has_ended(&mut self, id: Option<TransactionId>) -> Result<()> {
        let Some(id) = id else {
            (self.log.gtids, self.log.ahead) = (None, None);
            return Ok(());
        };
        if let Some(gtids) = &mut self.log.gtids {
            gtids.add(id)?;
        }
        match &mut self.log.ahead {
            // The last one of a domain stays the last.
            Some(ahead) if !ahead.contains(id) => ahead.add(id),
            _ => Ok(()),
        }
    }

    /// Once all is read that another log has told, it need not be known any more.
    fn pass_what_was_told(&mut self, place: &mut Place) {
        let told = place.cursor.told.as_deref();
        let is_passed = |read| told.is_some_and(|told| told.is_subset(read));
        if self.log.gtids.as_ref().is_none_or(is_passed) {
            (place.cursor.told, self.log.ahead) = (None, None);
        }
    }

    fn move_to(&mut self, place: &Place) {
        let cursor = &place.cursor;
        let Some(file) = &cursor.file else { return };
        if *self.log.file != *file.name {
            file.name.as_ref().clone_into(&mut self.log.file);
        }
        self.log.position = match cursor.transaction {
            Some(transaction) => offset_of(transaction.commit),
            None => cursor.offset,
        };
    }
}
