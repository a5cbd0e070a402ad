//! The functions and operators that SQL may use: DataFusion's, without those that depend on more than
//! their arguments or make much of little, and JSON's and hashes of our own.
//!
//! A pipeline's output must be a function of its input: a record that is read again after a crash, in a
//! canary or by `verify` must give the same. So what asks the clock or chance is refused.

mod hash;
mod json;
mod text;
mod zone;

use datafusion_expr::planner::ExprPlanner;
use datafusion_expr::{ScalarUDF, Volatility};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

/// What depends on the session or Arrow's own matters, and makes sense in neither.
const LEFT_OUT: &[&str] = &[
    "arrow_cast",
    // It panics where its keys are written out and its values are not.
    "map",
    "arrow_metadata",
    "arrow_typeof",
    "union_extract",
    "union_tag",
    "version",
    // They make rows, or lists whose size a value decides.
    "generate_series",
    "range",
    "array_repeat",
    "list_repeat",
    "array_resize",
    "list_resize",
];

/// What is told of functions that are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It gives another answer each time.
    Volatile,
    /// It is left out.
    LeftOut,
}

/// Everything that can be called.
pub(super) struct Functions {
    by_name: HashMap<String, Arc<ScalarUDF>>,
    not_taken: HashMap<String, NotTaken>,
    pub(super) planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Functions {
    /// The function called `name`.
    pub(super) fn get(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.by_name.get(name).cloned()
    }

    /// Why there is no function of this name.
    pub(super) fn not_taken(&self, name: &str) -> Option<NotTaken> {
        self.not_taken.get(name).copied()
    }

    /// Each function's own name, and its others.
    pub(super) fn aliases(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, function) in &self.by_name {
            let others = all.entry(function.name().to_owned()).or_default();
            if name != function.name() {
                others.insert(name.clone());
            }
        }
        all
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.by_name.keys().cloned().collect();
        names.sort();
        names
    }
}

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let mut functions =
        Functions { by_name: HashMap::new(), not_taken: HashMap::new(), planners: planners() };
    let theirs = datafusion_functions::all_default_functions()
        .into_iter()
        .chain(datafusion_functions_nested::all_default_nested_functions());
    for function in theirs.chain(json::all()).chain(hash::all()).chain(zone::all()) {
        let names =
            std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str));
        for name in names {
            let not_taken = if function.signature().volatility != Volatility::Immutable {
                Some(NotTaken::Volatile)
            } else {
                LEFT_OUT.contains(&name).then_some(NotTaken::LeftOut)
            };
            match not_taken {
                Some(why) => {
                    functions.not_taken.insert(name.to_owned(), why);
                }
                None => {
                    functions.by_name.insert(name.to_owned(), function.clone());
                }
            }
        }
    }
    functions
});

/// Everything that can be called.
pub(super) fn functions() -> &'static Functions {
    &FUNCTIONS
}

/// What turns operators and special forms into calls.
fn planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![
        Arc::new(json::JsonOperators),
        Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
        Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
        Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
        Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
        Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
    ]
}
