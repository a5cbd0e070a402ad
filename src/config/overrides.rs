//! Overrides from the environment: `TIDEMESH__A__B=value` sets `a.b`; a number names an entry of a
//! list, as in `TIDEMESH__SOURCE__0__POSTGRES__PASSWORD`.

use tidemesh_model::{Error, ErrorKind, Result};
use toml::{Table, Value};

const PREFIX: &str = "TIDEMESH__";

/// Puts every override into `root`.
///
/// # Errors
///
/// `Config` for a path that leads through something that is no table or list.
pub(super) fn apply(
    root: &mut Table,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<()> {
    for (name, value) in environment {
        let Some(path) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let parts: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        if !set(root, &parts, parse(&value)) {
            return Err(Error::new(ErrorKind::Config, "use an override of the environment")
                .because("its path does not lead to a key")
                .with("variable", name));
        }
    }
    Ok(())
}

/// A number or boolean that TOML writes just so, or a list; anything else is text.
fn parse(text: &str) -> Value {
    let document = format!("v = {text}");
    match document.parse::<Table>().ok().and_then(|mut table| table.remove("v")) {
        Some(value @ Value::Array(_)) => value,
        Some(value @ (Value::Integer(_) | Value::Boolean(_))) if value.to_string() == text => value,
        _ => Value::String(text.to_owned()),
    }
}

fn set(table: &mut Table, path: &[String], value: Value) -> bool {
    let [first, rest @ ..] = path else {
        return false;
    };
    if rest.is_empty() {
        // A text that looks like a number stays a text where the file has a text.
        let value = match (table.get(first), value) {
            (Some(Value::String(_)), value) if !value.is_str() => Value::String(value.to_string()),
            (_, value) => value,
        };
        table.insert(first.clone(), value);
        return !first.is_empty();
    }
    let next = table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new()));
    set_within(next, rest, value)
}

fn set_within(within: &mut Value, path: &[String], value: Value) -> bool {
    match within {
        Value::Table(table) => set(table, path, value),
        Value::Array(list) => match path {
            [index, rest @ ..] if !rest.is_empty() => index
                .parse::<usize>()
                .ok()
                .and_then(|index| list.get_mut(index))
                .is_some_and(|entry| set_within(entry, rest, value)),
            _ => false,
        },
        _ => false,
    }
}
