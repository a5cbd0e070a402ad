//! `/config` and `/mode`: what holds for subjects, contexts and the whole.

pub(super) mod config;
pub(super) mod mode;
