//! The tidemesh daemon.
