//! Where a test has this process end (`tests/e2e/killed.rs`): at the step that `TIDEMESH_ABORT_AT` names,
//! once there is a file where `TIDEMESH_ABORT_ONCE` says.

use std::path::PathBuf;

/// Does as the environment says.
pub fn arm() {
    let (Ok(step), Some(file)) =
        (std::env::var("TIDEMESH_ABORT_AT"), std::env::var_os("TIDEMESH_ABORT_ONCE"))
    else {
        return;
    };
    let file = PathBuf::from(file);
    let reached = move || {
        if file.exists() {
            // Nothing is flushed or let go, as when it is killed.
            std::process::abort();
        }
    };
    fail::cfg_callback(step, reached).expect("a callback can be set at any step");
}
