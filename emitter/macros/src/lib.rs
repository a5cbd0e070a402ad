//! The macros of `tidemesh-emitter`.
