//! Documents and pipelines by the command line: what would change, making it so, and looking at it.

mod apply;
mod catalog;
mod event_trigger;
mod impact;
mod lineage;
mod look;
mod pipeline;

pub(super) use apply::{
    ApplyArgs, DeleteArgs, FileArgs, RollbackArgs, apply, delete, plan, rollback, texts,
};
pub(super) use catalog::{CatalogArgs, catalog};
pub(super) use event_trigger::{EventTriggerArgs, event_trigger};
pub(super) use impact::{ImpactArgs, UpgradesArgs, impact, upgrades};
pub(super) use lineage::{LineageArgs, lineage};
pub(super) use look::{DescribeArgs, GetArgs, HistoryArgs, describe, get, history};
pub(super) use pipeline::{PauseArgs, ResumeArgs, pause, resume};
