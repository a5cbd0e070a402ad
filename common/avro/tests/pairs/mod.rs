//! Pairs of schemas, a writer's and a reader's, drawn from a tape of bytes: names that clash,
//! namespaces, aliases, references, recursion, defaults. Mostly one is the other with changes. Some
//! are no schemas; that too must be told alike.

use serde_json::{Map, Value as Json, json};

/// Choices; zeros once it has run out.
pub(crate) struct Tape<'t>(pub(crate) &'t [u8]);

impl Tape<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// Once in so many.
    fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    fn one_of<'c>(&mut self, choices: &[&'c str]) -> &'c str {
        choices[self.below(choices.len())]
    }
}

const PRIMITIVES: [&str; 8] =
    ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
const NAMES: [&str; 6] = ["R", "S", "T", "U", "E", "F"];
const NAMESPACES: [&str; 3] = ["", "a", "b"];
const FIELDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const SYMBOLS: [&str; 5] = ["A", "B", "C", "D", "E"];
const DEPTH_MAX: usize = 4;

/// The reader's schema and the writer's.
pub(crate) fn pair(tape: &mut Tape<'_>) -> (Json, Json) {
    let writer = Draw::default().root(tape);
    let reader =
        if tape.once_in(6) { Draw::default().root(tape) } else { changed(writer.clone(), tape, 0) };
    if tape.once_in(2) { (writer, reader) } else { (reader, writer) }
}

#[derive(Default)]
struct Draw {
    /// Full names that were defined.
    defined: Vec<String>,
}

impl Draw {
    fn root(&mut self, tape: &mut Tape<'_>) -> Json {
        if tape.once_in(4) { self.draw(tape, "", 0) } else { self.record(tape, "", 0) }
    }

    fn draw(&mut self, tape: &mut Tape<'_>, around: &str, depth: usize) -> Json {
        if !self.defined.is_empty() && tape.once_in(14) {
            return self.defined[tape.below(self.defined.len())].clone().into();
        }
        match tape.below(if depth >= DEPTH_MAX { 10 } else { 20 }) {
            place @ 0..8 => primitive(PRIMITIVES[place], tape),
            8 | 18 => self.enumeration(tape, around),
            9 | 19 => self.fixed(tape, around),
            10 | 11 => json!({"type": "array", "items": self.draw(tape, around, depth + 1)}),
            12 => json!({"type": "map", "values": self.draw(tape, around, depth + 1)}),
            13..16 => self.union(tape, around, depth),
            _ => self.record(tape, around, depth),
        }
    }

    fn union(&mut self, tape: &mut Tape<'_>, around: &str, depth: usize) -> Json {
        let mut branches: Vec<Json> = Vec::new();
        for _ in 0..tape.below(5).max(tape.below(4)) {
            let branch = self.draw(tape, around, depth + 1);
            let alike = |other: &Json| label(other) == label(&branch);
            if !branch.is_array() && !branches.iter().any(alike) {
                branches.push(branch);
            }
        }
        branches.into()
    }

    /// A named type's head. A name that was defined is drawn again a few times only, so that some
    /// schemas define it twice.
    fn head(
        &mut self,
        tape: &mut Tape<'_>,
        around: &str,
        kind: &str,
    ) -> (Map<String, Json>, String) {
        let (mut name, mut namespace) = ("R", around);
        for _ in 0..6 {
            name = tape.one_of(&NAMES);
            namespace = if tape.once_in(3) { tape.one_of(&NAMESPACES) } else { around };
            if !self.defined.contains(&full(name, namespace)) {
                break;
            }
        }
        self.defined.push(full(name, namespace));
        let mut head = Map::new();
        head.insert("type".into(), kind.into());
        head.insert("name".into(), name.into());
        if namespace != around {
            head.insert("namespace".into(), namespace.into());
        }
        if tape.once_in(6) {
            head.insert("aliases".into(), json!([tape.one_of(&["R", "S", "a.R", "b.S", "a.E"])]));
        }
        (head, namespace.to_owned())
    }

    fn enumeration(&mut self, tape: &mut Tape<'_>, around: &str) -> Json {
        let (mut head, _) = self.head(tape, around, "enum");
        let count = if tape.once_in(20) { 0 } else { 1 + tape.below(SYMBOLS.len()) };
        head.insert("symbols".into(), json!(SYMBOLS[..count]));
        if count > 0 && tape.once_in(4) {
            head.insert("default".into(), SYMBOLS[tape.below(count)].into());
        }
        head.into()
    }

    fn fixed(&mut self, tape: &mut Tape<'_>, around: &str) -> Json {
        let (mut head, _) = self.head(tape, around, "fixed");
        head.insert("size".into(), tape.below(4).into());
        head.into()
    }

    fn record(&mut self, tape: &mut Tape<'_>, around: &str, depth: usize) -> Json {
        let (mut head, namespace) = self.head(tape, around, "record");
        let mut fields: Vec<Json> = Vec::new();
        for name in &FIELDS[..tape.below(5)] {
            let data_type = self.draw(tape, &namespace, depth + 1);
            fields.push(field(name, data_type, tape));
        }
        head.insert("fields".into(), fields.into());
        head.into()
    }
}

fn full(name: &str, namespace: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn primitive(name: &str, tape: &mut Tape<'_>) -> Json {
    match (name, tape.below(12)) {
        ("long", 11) => json!({"type": "long", "logicalType": "timestamp-micros"}),
        ("bytes", 11) => {
            json!({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2})
        }
        (_, 10) => json!({"type": name}),
        _ => name.into(),
    }
}

/// What a union may have once.
fn label(json: &Json) -> String {
    match json {
        Json::String(name) => name.clone(),
        Json::Object(object) => match (object["type"].as_str(), object.get("name")) {
            (Some("record" | "enum" | "fixed"), Some(name)) => format!("named {name}"),
            (Some(kind), _) => kind.to_owned(),
            (None, _) => label(&object["type"]),
        },
        _ => String::new(),
    }
}

fn field(name: &str, data_type: Json, tape: &mut Tape<'_>) -> Json {
    let mut field = json!({"name": name, "type": data_type});
    if tape.once_in(3)
        && let Some(default) = default(&field["type"])
    {
        field["default"] = default;
    }
    if tape.once_in(10) {
        field["aliases"] = json!([tape.one_of(&["a", "b", "c2", "d2", "x", "y"])]);
    }
    field
}

/// A default that fits, for types that tell without others.
fn default(data_type: &Json) -> Option<Json> {
    Some(match data_type {
        Json::Array(branches) => default(branches.first()?)?,
        Json::Object(object) => match object["type"].as_str()? {
            "array" => json!([]),
            "map" => json!({}),
            "fixed" => "x".repeat(usize::try_from(object["size"].as_u64()?).ok()?).into(),
            "enum" => object["symbols"].as_array()?.first()?.clone(),
            "record" => return None,
            _ => default(&object["type"])?,
        },
        Json::String(name) => match name.as_str() {
            "null" => Json::Null,
            "boolean" => true.into(),
            "int" | "long" => 7.into(),
            "float" | "double" => json!(0.5),
            "bytes" | "string" => "x".into(),
            _ => return None,
        },
        _ => return None,
    })
}

/// The schema with some changes, which people make and some that they should not.
fn changed(json: Json, tape: &mut Tape<'_>, depth: usize) -> Json {
    if tape.once_in(12) && !json.is_array() {
        return json!(["null", changed(json, tape, depth)]);
    }
    match json {
        Json::String(name) => primitive_changed(name, tape),
        Json::Array(branches) => union_changed(branches, tape, depth),
        Json::Object(object) => object_changed(object, tape, depth),
        other => other,
    }
}

fn primitive_changed(name: String, tape: &mut Tape<'_>) -> Json {
    let known = PRIMITIVES.iter().any(|primitive| *primitive == name);
    match (known, tape.below(10)) {
        (true, 8) => match name.as_str() {
            "int" => tape.one_of(&["long", "float", "double"]).into(),
            "long" => tape.one_of(&["int", "double"]).into(),
            "string" => "bytes".into(),
            "bytes" => "string".into(),
            _ => name.into(),
        },
        (true, 9) => tape.one_of(&PRIMITIVES).into(),
        _ => name.into(),
    }
}

fn union_changed(branches: Vec<Json>, tape: &mut Tape<'_>, depth: usize) -> Json {
    let mut changed_branches: Vec<Json> =
        branches.into_iter().map(|branch| changed(branch, tape, depth + 1)).collect();
    changed_branches.retain(|branch| !branch.is_array());
    let count = changed_branches.len();
    match tape.below(10) {
        7 if count > 0 => {
            changed_branches.remove(tape.below(count));
        }
        8 => {
            let more: Json = tape.one_of(&PRIMITIVES).into();
            if !changed_branches.iter().any(|branch| label(branch) == label(&more)) {
                changed_branches.push(more);
            }
        }
        9 if count > 0 => return changed_branches.swap_remove(tape.below(count)),
        6 if count > 0 => changed_branches.rotate_left(1),
        _ => {}
    }
    changed_branches.into()
}

fn object_changed(mut object: Map<String, Json>, tape: &mut Tape<'_>, depth: usize) -> Json {
    match object["type"].as_str().map(str::to_owned).as_deref() {
        Some("array") => object["items"] = changed(object["items"].take(), tape, depth + 1),
        Some("map") => object["values"] = changed(object["values"].take(), tape, depth + 1),
        Some("enum") => enum_changed(&mut object, tape),
        Some("fixed") => {
            if tape.once_in(8) {
                object["size"] = tape.below(4).into();
            }
            renamed(&mut object, tape);
        }
        Some("record") => {
            renamed(&mut object, tape);
            fields_changed(&mut object, tape, depth);
        }
        _ => {}
    }
    object.into()
}

/// A named type's name changes seldom; its alias is kept half of the times.
fn renamed(object: &mut Map<String, Json>, tape: &mut Tape<'_>) {
    if !tape.once_in(10) {
        return;
    }
    let old = object["name"].clone();
    object["name"] = tape.one_of(&["R2", "S2", "E2", "R"]).into();
    if tape.once_in(2) {
        object.insert("aliases".into(), json!([old]));
    }
}

fn enum_changed(object: &mut Map<String, Json>, tape: &mut Tape<'_>) {
    renamed(object, tape);
    let Some(symbols) = object["symbols"].as_array_mut() else { return };
    match tape.below(6) {
        3 if !symbols.is_empty() => {
            let gone = symbols.remove(tape.below(symbols.len()));
            if object.get("default") == Some(&gone) {
                object.remove("default");
            }
        }
        4 => symbols.push("Z".into()),
        5 => symbols.reverse(),
        _ => {}
    }
    if tape.once_in(5) {
        let default = object["symbols"].get(0).cloned();
        object.extend(default.map(|default| ("default".to_owned(), default)));
    }
}

fn fields_changed(object: &mut Map<String, Json>, tape: &mut Tape<'_>, depth: usize) {
    let Some(fields) = object["fields"].as_array().cloned() else { return };
    let mut all: Vec<Json> = Vec::new();
    for mut field in fields {
        match tape.below(14) {
            10 => continue,
            11 => field["name"] = format!("{}2", field["name"].as_str().unwrap_or_default()).into(),
            12 => {
                let old = field["name"].take();
                field["name"] = format!("{}2", old.as_str().unwrap_or_default()).into();
                field["aliases"] = json!([old]);
            }
            13 => {
                if let Some(object) = field.as_object_mut() {
                    object.remove("default");
                }
            }
            _ => {}
        }
        field["type"] = changed(field["type"].take(), tape, depth + 1);
        let fits = default(&field["type"]);
        if let Some(object) = field.as_object_mut()
            && object.contains_key("default")
        {
            // The type may be another now.
            object.remove("default");
            object.extend(fits.map(|default| ("default".to_owned(), default)));
        }
        all.push(field);
    }
    if tape.once_in(5) {
        let data_type = primitive(tape.one_of(&PRIMITIVES), tape);
        all.push(field("g", data_type, tape));
    }
    if tape.once_in(8) {
        all.reverse();
    }
    object.insert("fields".into(), all.into());
}
