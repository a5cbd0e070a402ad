//! Publishes an application's events to Tidemesh: schema first, each accepted event once.

// What the macros write names this crate, within it too.
extern crate self as tidemesh_emitter;

mod event;

pub use event::Event;
