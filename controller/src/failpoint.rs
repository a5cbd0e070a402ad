//! Steps at which a test ends the process, to see what becomes of what was under way.

/// A step by its name, which `tests/e2e/killed.rs` lists with what leads to it. Without the feature
/// `failpoints` it is nothing.
#[inline]
pub fn failpoint(step: &str) {
    #[cfg(feature = "failpoints")]
    fail::fail_point!(step);
    #[cfg(not(feature = "failpoints"))]
    let _ = step;
}
