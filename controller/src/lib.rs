//! The control plane: what is declared, what of it runs, and where each field goes.
//!
//! `store` keeps items for whoever holds the lease, `state` says what they mean, a `draft` what is to
//! change. Documents that are handed in (`proposal`) are planned together with what is there (`planned`, by
//! the schemas that `topics` knows) and become durable (`act`); what a change makes of pipelines is judged (`evolve`) and
//! tried (`canary`); beside the `lease` the loop (`run`) has the
//! jobs run that shall run, through a [`Launcher`], and the connectors, through [`Connectors`]. `report` tells how pipelines are,
//! `catalog` which topics there are and what is in them, `http` is the API. The data plane is elsewhere: it goes on when the controller is away.

mod act;
mod builtin;
mod canary;
mod catalog;
mod config;
mod connectors;
mod controller;
mod difference;
mod draft;
mod evolve;
mod failpoint;
mod http;
mod impact;
mod launcher;
mod lease;
mod lineage;
mod loss;
mod oracle;
mod planned;
mod proposal;
mod report;
mod retention;
mod run;
mod state;
mod store;
mod topics;
mod watch;

pub use act::Asked;
pub use canary::Canary;
pub use catalog::{
    CATALOG_FOUND_MAX, FieldReport, LastRecord, SampleReport, Samples, TopicLog, TopicReport,
    TopicsOf, Writer,
};
pub use config::ControllerConfig;
pub use connectors::{Connectors, SourceJob, StartSource};
pub use controller::{Controller, Refused};
pub use difference::{FieldChange, differences};
pub use failpoint::failpoint;
pub use http::{
    ApplyRequest, DocumentReport, ErrorAnswer, PausedReport, RevisionReport, router, status, whole,
};
pub use impact::{CHANGES_MAX, ImpactRequest};
pub use launcher::{JobCounts, JobReport, JobState, Launcher, Start};
pub use lineage::{LineageAnswer, LineageField, LineageReader};
pub use loss::{AcceptedLoss, LostPlace};
pub use oracle::OutputOracle;
pub use proposal::{Changes, DocumentChange, Refusal, Text, Verb};
pub use report::{InputReport, OutputReport, PipelineReport, PipelineStatus};
pub use retention::{KeptTopics, LEASES_MAX, RetentionLease, TopicKeeper, TopicSize};
pub use state::{
    Action, DOCUMENTS_MAX, GONE_MAX, Id, ManagedBy, REVISIONS_MAX, Revision, State, UPGRADES_MAX,
    Upgrade,
};
pub use store::Holder;
#[cfg(feature = "conformance")]
pub use store::conformance;
pub use tidemesh_store::StoreConfig;
pub use topics::{History, Registry};
