//! The lease: of several controllers over one store one acts, for as long as it can say so.

use crate::controller::{Controller, Role};
use crate::failpoint::failpoint;
use crate::retention::Kept;
use crate::state::State;
use crate::store::{Holder, Lease};
use crate::topics::Registry;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// What is known of the lease.
#[derive(Default)]
struct Known {
    /// Until when it is this controller's for certain; counted from before the store was asked, so that
    /// the store counts no less.
    until: Option<Instant>,
    /// When what another controller has written was read last.
    read: Option<Instant>,
}

impl<R: Registry> Controller<R> {
    /// Keeps the lease, or waits for it, beside what is done by it: however long that takes, the lease is
    /// renewed meanwhile, and whoever cannot renew it in time stops.
    ///
    /// # Errors
    ///
    /// What the store says and will not pass: `Corrupt`, `NewerVersion`.
    pub(crate) async fn keep_lease(&self) -> Result<Infallible> {
        let mut looks = interval(self.config.reconcile_every.min(self.third()));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = Known::default();
        loop {
            looks.tick().await;
            let fresh = known.until.is_some_and(|until| until - self.third() * 2 > Instant::now());
            if !(fresh && self.leads()) {
                self.ask(&mut known).await?;
            }
            let ran_out = known.until.is_none_or(|until| Instant::now() >= until);
            if ran_out && self.holds() {
                self.step_down().await;
            }
        }
    }

    fn third(&self) -> Duration {
        self.config.lease / 3
    }

    /// Asks for the lease; one that is held no longer than it lasts.
    async fn ask(&self, known: &mut Known) -> Result<()> {
        let asked = Instant::now();
        let done = match known.until.filter(|_| self.holds()) {
            Some(until) => match timeout_at(until, self.renew(known)).await {
                Ok(done) => done,
                Err(_) => Err(Error::new(ErrorKind::Timeout, "renew the controller's lease")
                    .because("its store does not answer")),
            },
            None => self.renew(known).await,
        };
        let trouble = match done {
            Ok(true) => {
                known.until = Some(asked + self.config.lease);
                None
            }
            Ok(false) => None,
            Err(error) => match error.kind() {
                ErrorKind::Corrupt | ErrorKind::NewerVersion => return Err(error),
                _ => Some(error.report()),
            },
        };
        self.note_lease(trouble);
        Ok(())
    }

    /// Takes or renews the lease; answers whether it is this one's. Who gets it reads what is durable.
    async fn renew(&self, known: &mut Known) -> Result<bool> {
        let (holder, time) = (self.holder.clone(), self.config.lease);
        failpoint("lease.due");
        match self.with_store(move |store| store.lease(&holder, time)).await? {
            Lease::Ours { epoch } if self.seen().role == (Role::Leading { epoch }) => {
                failpoint("lease.renewed");
                Ok(true)
            }
            Lease::Ours { epoch } => self.lead(epoch).await.map(|()| true),
            Lease::Others(other) => self.follow(other, known).await.map(|()| false),
        }
    }

    async fn lead(&self, epoch: u64) -> Result<()> {
        let _writing = self.writing.lock().await;
        failpoint("lease.taken");
        let state = self.read_state().await?;
        let documents = state.documents.len();
        let mut seen = self.seen();
        (seen.state, seen.planned) = (state, Arc::default());
        *self.kept() = Kept::default();
        seen.role = Role::Leading { epoch };
        tracing::info!(epoch, documents, "the controller acts");
        self.wake.notify_one();
        Ok(())
    }

    /// Shows what the other one has written, and runs nothing.
    async fn follow(&self, other: Holder, known: &mut Known) -> Result<()> {
        let _writing = self.writing.lock().await;
        let role = Role::Following(Some(other.clone()));
        let recent = known.read.is_some_and(|read| read.elapsed() < self.third());
        if recent && self.seen().role == role {
            return Ok(());
        }
        let held = self.holds();
        let before = std::mem::replace(&mut self.seen().role, role.clone());
        if before != role {
            tracing::info!(controller = other.url, "another controller acts");
        }
        if held {
            self.launcher.leave().await;
            self.stop_connectors().await;
        }
        let state = self.read_state().await?;
        let mut seen = self.seen();
        // What this one planned is of its own time.
        (seen.state, seen.planned) = (state, Arc::default());
        drop(seen);
        known.read = Some(Instant::now());
        Ok(())
    }

    async fn read_state(&self) -> Result<Arc<State>> {
        let items = self.with_store(|store| store.load()).await?;
        Ok(Arc::new(State::load(&items)?.configured(&self.config.sources)))
    }

    /// The lease has run out without being renewed: another controller may act by now. Nothing is waited
    /// for, least of all the store.
    async fn step_down(&self) {
        tracing::warn!("the lease could not be renewed in time: pipelines are stopped until it is");
        self.seen().role = Role::Following(None);
        failpoint("lease.lost");
        self.launcher.leave().await;
        self.stop_connectors().await;
    }

    pub(crate) async fn release(&self) {
        let Some(epoch) = self.held_epoch() else { return };
        self.seen().role = Role::Following(None);
        failpoint("lease.to-release");
        if let Err(error) = self.with_store(move |store| store.release(epoch)).await {
            // It runs out by itself.
            tracing::debug!(error = error.report(), "the lease could not be let go");
        }
        failpoint("lease.released");
    }

    /// Shows what keeps the lease from being kept; its log has each trouble once.
    fn note_lease(&self, trouble: Option<String>) {
        let mut seen = self.seen();
        if let Some(error) = trouble.as_ref().filter(|_| seen.lease_trouble != trouble) {
            tracing::warn!(error, "the controller asks for its lease again");
        }
        seen.lease_trouble = trouble;
    }

    fn holds(&self) -> bool {
        self.held_epoch().is_some()
    }
}
