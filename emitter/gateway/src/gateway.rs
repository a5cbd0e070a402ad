//! The machine: who may do what, the topics, and how much is done at the same time.

use crate::answer::{Outcome, Refusal};
use crate::body::Incoming;
use crate::clients::{Client, Guard};
use crate::config::{GatewayConfig, Limits};
use crate::emit::emit;
use crate::places::{Place, Places};
use crate::topics::{State, Topics};
use axum::http::{HeaderMap, StatusCode, header};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_emitter::TopicEmitter;
use tidemesh_http::{Certificates, certificates};
use tidemesh_model::{ErrorKind, Result};
use tokio::time::Instant;

/// How often the registry is asked for newer schemas of topics that are connected.
const SCHEMAS_INTERVAL: Duration = Duration::from_secs(30);

/// Bodies are read at one place for so many requests that may be worked on: a body is in memory while it
/// comes, too.
const BODIES_OF_REQUESTS: usize = 2;

/// A client, or a topic, may have one place of so many; where there are fewer, one all the same.
const SHARE_OF_REQUESTS: usize = 4;

/// A gateway: [`serve`](crate::serve) puts it on a port.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) topics: Arc<Topics>,
    pub(crate) limits: Limits,
    pub(crate) certificates: Option<Arc<Certificates>>,
    guard: Option<Guard>,
    /// Requests whose bodies are on their way. They have places of their own, so that slow ones take
    /// none of those where events are worked on.
    bodies: Arc<Places>,
    requests: Arc<Places>,
}

/// Who sends a request; none where nobody has to say.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Option<Arc<Client>>);

impl Gateway {
    /// Checks the settings, reads the files that they name, and begins to connect the topics that are named. To be
    /// called within a runtime. Registry and log may be away: a topic is tried again when it is used.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key.
    pub fn open(config: GatewayConfig) -> Result<Arc<Self>> {
        config.check()?;
        let (certificates, guard) = files(&config)?;
        let limits = config.limits;
        let bodies_max = (limits.requests_max / BODIES_OF_REQUESTS).max(1);
        let share_max = (limits.requests_max / SHARE_OF_REQUESTS).max(1);
        let bodies = Places::new("at their bodies", bodies_max, share_max);
        let requests = Places::new("worked on", limits.requests_max, share_max);
        let topics = Arc::new(Topics::new(config)?);
        let connecting = Arc::clone(&topics);
        tokio::spawn(async move { connecting.connect_named().await });
        let gateway = Arc::new(Self { topics, limits, certificates, guard, bodies, requests });
        let following = Arc::downgrade(&gateway);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SCHEMAS_INTERVAL).await;
                let Some(gateway) = following.upgrade() else { return };
                gateway.look().await;
            }
        });
        Ok(gateway)
    }

    /// Takes up schemas that are new in the registry; by itself it does so twice a minute. Events of the
    /// earlier ones are taken on.
    pub async fn look(&self) {
        self.topics.look().await;
    }

    /// Delivers what was taken and takes no more, for ten seconds at most.
    pub async fn close(&self) {
        self.topics.close().await;
    }

    /// Who sends this.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let Some(guard) = &self.guard else {
            // Without a log-in a page in somebody's browser could send in their name.
            if headers.contains_key(header::ORIGIN) {
                let message = "web pages may not send to a gateway without a log-in";
                return Err(Refusal::new(StatusCode::FORBIDDEN, ErrorKind::Privilege, message));
            }
            return Ok(Caller(None));
        };
        let admitted = guard.admit(headers).map(|client| Caller(Some(client)));
        admitted.map_err(|unknown| {
            Refusal::new(StatusCode::UNAUTHORIZED, ErrorKind::Authentication, unknown.0)
        })
    }

    /// A place among the requests that are worked on.
    pub(crate) fn enter(&self, caller: &Caller, topic: &str) -> Result<Place, Refusal> {
        self.requests.enter(caller.name(), topic)
    }

    /// A place among the requests whose bodies are read.
    pub(crate) fn enter_body(&self, caller: &Caller, topic: &str) -> Result<Place, Refusal> {
        self.bodies.enter(caller.name(), topic)
    }

    /// Takes a request's events and waits for them.
    pub(crate) async fn emit(
        &self,
        topic: &str,
        events: Vec<Result<Incoming>>,
    ) -> Result<Vec<Outcome>> {
        let until = Instant::now() + self.limits.answer_timeout;
        let (slot, schemas) = self.topics.get_until(topic, until).await?;
        let outcomes = emit(&schemas, events, until).await;
        let is_fenced = |outcome: &Outcome| matches!(outcome, Outcome::Refused(error) if error.kind() == ErrorKind::Fenced);
        if outcomes.iter().any(is_fenced) {
            slot.fence();
        }
        Ok(outcomes)
    }

    /// A topic, connected.
    pub(crate) async fn topic(&self, topic: &str) -> Result<TopicEmitter> {
        let until = Instant::now() + self.limits.answer_timeout;
        Ok(self.topics.get_until(topic, until).await?.1.newest().clone())
    }

    /// The topics that a caller may use.
    pub(crate) fn visible(&self, caller: &Caller) -> BTreeMap<String, State> {
        let mut all = self.topics.list();
        all.retain(|topic, _| caller.may_use(topic));
        all
    }
}

/// What the settings' files hold, read again when they change.
fn files(config: &GatewayConfig) -> Result<(Option<Arc<Certificates>>, Option<Guard>)> {
    let read = config.tls.as_ref().map(|tls| certificates("gateway", tls));
    let (certificates, guard) =
        (read.transpose()?, config.clients_file.as_deref().map(Guard::open).transpose()?);
    if let Some(certificates) = &certificates {
        certificates.follow();
    }
    if let Some(guard) = &guard {
        guard.follow();
    }
    Ok((certificates, guard))
}

impl Caller {
    /// None where nobody has to say: whoever reaches the gateway is one and the same then.
    fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|client| client.name())
    }

    fn may_use(&self, topic: &str) -> bool {
        self.0.as_ref().is_none_or(|client| client.may_use(topic))
    }

    /// Refuses a topic that is not the caller's.
    pub(crate) fn check(&self, topic: &str) -> Result<(), Refusal> {
        if self.may_use(topic) {
            return Ok(());
        }
        let message =
            "the client may not use this topic: its `topics` in the clients' file have none such";
        Err(Refusal::new(StatusCode::FORBIDDEN, ErrorKind::Privilege, message))
    }
}
