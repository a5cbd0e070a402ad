//! What identifies a row of a query's output: the inputs' keys, carried through.

use crate::Problem;
use crate::query::{Branch, Input, Origin, Output, Query};
use crate::relation::Form;
use datafusion_common::arrow::datatypes::DataType;
use std::collections::BTreeSet;

/// The columns that identify a row of the output, by their places, in the key's order; none for events.
/// `declared` is the order in which a sink wants them.
///
/// # Errors
///
/// A key column that the output does not have, parts of a UNION ALL whose rows can have one key, or a
/// declared key of other columns.
pub fn key_columns(
    query: &Query,
    inputs: &[Input],
    declared: Option<&[String]>,
) -> Result<Vec<usize>, Problem> {
    let is_event = |branch: &Branch| inputs[branch.input].relation.form == Form::Event;
    if query.branches.iter().all(is_event) {
        return match declared {
            None => Ok(Vec::new()),
            Some(_) => Err(Problem::new("key", "its input are events, which have no key")
                .help("leave `key` out: events keep the key of their records")),
        };
    }
    if let Some(branch) = query.branches.iter().find(|branch| is_event(branch)) {
        let name = &inputs[branch.input].name;
        let message =
            format!("`{name}` are events without a key, and other parts of UNION ALL have one");
        return Err(Problem::new("", message).help("give them sinks of their own"));
    }
    let mut columns = discriminator(query, inputs)?;
    columns.extend(carried(query, inputs)?);
    match declared {
        None => Ok(columns),
        Some(declared) => ordered(query, &columns, declared),
    }
}

/// The columns that hold the inputs' keys, in the order of the first branch's input's key.
fn carried(query: &Query, inputs: &[Input]) -> Result<Vec<usize>, Problem> {
    let mut of_all: Option<Vec<BTreeSet<usize>>> = None;
    for branch in &query.branches {
        let of_branch = key_outputs(branch, &inputs[branch.input])?;
        of_all = Some(match of_all {
            None => of_branch,
            Some(known) if known.len() == of_branch.len() => {
                let both = known.iter().zip(&of_branch);
                both.map(|(one, other)| one.intersection(other).copied().collect()).collect()
            }
            Some(_) => return Err(different_keys(query, inputs)),
        });
    }
    let places = of_all.unwrap_or_default();
    let first = |places: &BTreeSet<usize>| places.first().copied();
    places
        .iter()
        .map(first)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| different_keys(query, inputs))
}

/// For each key column of a branch's input the output columns that hold it.
fn key_outputs(branch: &Branch, input: &Input) -> Result<Vec<BTreeSet<usize>>, Problem> {
    let holds = |output: &Output, key: usize| match output {
        Output::Slot { slot, path } => path.is_empty() && holds_key(branch, *slot, key),
        Output::Constant(_) => false,
    };
    let outputs = |key: &usize| {
        let places = branch.outputs.iter().enumerate().filter(|(_, output)| holds(output, *key));
        let places: BTreeSet<usize> = places.map(|(place, _)| place).collect();
        if places.is_empty() { Err(dropped(input, *key)) } else { Ok(places) }
    };
    input.relation.key_columns.iter().map(outputs).collect()
}

/// Whether a slot holds a key column, as it is or in a form that no two keys share.
fn holds_key(branch: &Branch, slot: usize, key: usize) -> bool {
    let is_key = |slot: usize| branch.slots[slot].origin == Origin::Input { column: key };
    match branch.key_cast(slot) {
        None => is_key(slot),
        Some((from, to)) => is_key(from) && injective(&branch.slots[from].sql.data_type, &to),
    }
}

/// Whether a cast gives different values for different ones.
fn injective(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Int32, DataType::Int64)
        | (
            DataType::Int32 | DataType::Int64 | DataType::Boolean | DataType::Date32,
            DataType::Utf8,
        ) => true,
        (from, to) => from == to,
    }
}

fn dropped(input: &Input, key: usize) -> Problem {
    let relation = &input.relation;
    let name = &relation.columns[key].name;
    let message = format!(
        "`{name}`, which is in the key of `{}`, is not among the columns as it is: without it an \
         update or delete of a row could not be told from another row's",
        input.name
    );
    Problem::new("", message).help(format!("select {name}; it may have another name"))
}

fn different_keys(query: &Query, inputs: &[Input]) -> Problem {
    let names: Vec<&str> =
        query.branches.iter().map(|branch| inputs[branch.input].name.as_str()).collect();
    let message =
        format!("the keys of {} do not stand in the same columns of UNION ALL", names.join(", "));
    Problem::new("", message).help("select the keys' columns in one order, first the key")
}

/// The columns that tell the parts of a UNION ALL apart; none where there is one part.
fn discriminator(query: &Query, inputs: &[Input]) -> Result<Vec<usize>, Problem> {
    if query.branches.len() < 2 {
        return Ok(Vec::new());
    }
    let constants: Vec<usize> = (0..query.columns.len())
        .filter(|place| {
            let is_constant = |branch: &Branch| match &branch.outputs[*place] {
                Output::Constant(value) => !value.is_null(),
                Output::Slot { .. } => false,
            };
            query.branches.iter().all(is_constant)
        })
        .collect();
    let one = constants.iter().find(|place| tells_apart(query, &[**place]));
    if let Some(place) = one {
        return Ok(vec![*place]);
    }
    if tells_apart(query, &constants) {
        return Ok(constants);
    }
    let names: Vec<&str> =
        query.branches.iter().map(|branch| inputs[branch.input].name.as_str()).collect();
    let message =
        format!("rows of {} can have one key, and would overwrite each other", names.join(" and "));
    Err(Problem::new("", message)
        .help("select a constant that differs in each part, as 'orders' AS origin: it becomes part of the key"))
}

/// Whether these constants differ from branch to branch.
fn tells_apart(query: &Query, places: &[usize]) -> bool {
    let of = |branch: &Branch| -> Vec<String> {
        places.iter().map(|place| format!("{:?}", branch.outputs[*place])).collect()
    };
    let all: BTreeSet<Vec<String>> = query.branches.iter().map(of).collect();
    all.len() == query.branches.len()
}

/// The key's columns in the order that a sink declares.
fn ordered(query: &Query, key: &[usize], declared: &[String]) -> Result<Vec<usize>, Problem> {
    let place = |name: &String| query.columns.iter().position(|column| column.name == *name);
    let mut ordered = Vec::with_capacity(declared.len());
    for name in declared {
        match place(name) {
            Some(place) => ordered.push(place),
            None => {
                let names: Vec<&str> =
                    query.columns.iter().map(|column| column.name.as_str()).collect();
                return Err(Problem::new("key", format!("there is no column `{name}`"))
                    .help(format!("there are: {}", names.join(", "))));
            }
        }
    }
    let (declared_set, key_set) =
        (BTreeSet::from_iter(ordered.iter()), BTreeSet::from_iter(key.iter()));
    if declared_set == key_set && ordered.len() == key.len() {
        return Ok(ordered);
    }
    let names: Vec<&str> = key.iter().map(|place| query.columns[*place].name.as_str()).collect();
    Err(Problem::new("key", "these columns do not identify a row: the inputs' keys do")
        .help(format!("declare {}, in any order, or leave `key` out", names.join(", "))))
}
