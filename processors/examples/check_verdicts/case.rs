//! A random case: a topic, pipelines over it, and a change.

use super::random::Random;
use serde_json::{Value as Json, json};
use std::fmt;
use tidemesh_avro::compat::CompatibilityLevel;
use tidemesh_avro::schema::Schema;
use tidemesh_avro::table::{envelope_record, source_record};
use tidemesh_model::SourceBlock;
use tidemesh_plan::mesh::{Topic, Topics};
use tidemesh_plan::upgrade::impact::Change;

/// The topic that changes.
pub(crate) const TOPIC: &str = "shop.t";
/// One beside it.
pub(crate) const OTHER: &str = "shop.u";

/// Types of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Int,
    Long,
    Double,
    Boolean,
    /// Of two digits behind the point, and so many in all.
    Decimal(u32),
    Date,
    Time,
    LocalTime,
    Record,
}

const TYPES: &[Type] = &[
    Type::Text,
    Type::Text,
    Type::Int,
    Type::Int,
    Type::Long,
    Type::Double,
    Type::Boolean,
    Type::Decimal(10),
    Type::Date,
    Type::Time,
    Type::Record,
];

/// A column as it was and as it is, by name and type.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) old: Option<(String, Type)>,
    pub(crate) new: Option<(String, Type)>,
}

pub(crate) struct Case {
    pub(crate) seed: u64,
    /// Whether the topic is a connector's, with keys and envelopes.
    pub(crate) table: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) changes: Vec<Change>,
    pub(crate) documents: String,
    pub(crate) topics: Topics,
    pub(crate) level: CompatibilityLevel,
    /// A column that the outputs had before they were as they are, and readers from then.
    pub(crate) former: Option<(String, Type)>,
}

impl Type {
    pub(crate) fn avro(self) -> Json {
        match self {
            Self::Text => json!("string"),
            Self::Int => json!("int"),
            Self::Long => json!("long"),
            Self::Double => json!("double"),
            Self::Boolean => json!("boolean"),
            Self::Decimal(precision) => {
                json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": 2})
            }
            Self::Date => json!({"type": "int", "logicalType": "date"}),
            Self::Time => json!({"type": "long", "logicalType": "timestamp-micros"}),
            Self::LocalTime => json!({"type": "long", "logicalType": "local-timestamp-micros"}),
            Self::Record => json!({"type": "record", "name": "inner", "fields": [
                {"name": "a", "type": ["null", "string"], "default": null},
                {"name": "b", "type": ["null", "int"], "default": null}]}),
        }
    }

    /// What `SELECT` has of a column.
    fn selected(self, name: &str, random: &mut Random) -> String {
        let forms: &[&str] = match self {
            Self::Text => &["@", "@", "upper(@) AS @_u", "length(@) AS @_l", "@ || '!' AS @_x"],
            Self::Int | Self::Long => &[
                "@",
                "@",
                "@ * 2 AS @_t",
                "@::text AS @_s",
                "CASE WHEN @ > 3 THEN 'much' ELSE 'little' END AS @_c",
            ],
            Self::Double => &["@", "@ + 1 AS @_p"],
            Self::Boolean => &["@", "NOT @ AS @_n"],
            Self::Decimal(_) => &["@", "@ * 2 AS @_t", "@::text AS @_s"],
            Self::Date | Self::Time | Self::LocalTime => &["@", "@::text AS @_s"],
            Self::Record => &["@", "(@).a AS @_a", "(@).b AS @_b"],
        };
        random.pick(forms).replace('@', name)
    }

    fn filter(self, name: &str) -> Option<String> {
        Some(match self {
            Self::Text => format!("{name} <> 'red'"),
            Self::Int | Self::Long => format!("{name} > 2"),
            Self::Boolean => name.to_owned(),
            Self::Record => format!("({name}).b > 2"),
            _ => return None,
        })
    }

    pub(crate) fn value(self, random: &mut Random) -> Json {
        if random.chance(8) {
            return Json::Null;
        }
        let number = i64::try_from(random.below(10)).unwrap();
        match self {
            Self::Text => json!(random.pick(&["red", "green", "blue", "x", ""])),
            Self::Int => json!(number),
            Self::Long => json!(number * 1_000_003),
            Self::Double => json!(number as f64 + 0.5),
            Self::Boolean => json!(number > 4),
            Self::Decimal(_) => json!(number * 1234 - 5000),
            Self::Date => json!(number * 100 + 18_000),
            Self::Time | Self::LocalTime => json!(number * 86_399_999_999 + 1_600_000_000_000_000),
            Self::Record => json!({"a": Self::Text.value(random), "b": Self::Int.value(random)}),
        }
    }

    /// What a value of this type is as another, in whichever way the database does it.
    pub(crate) fn cast(self, value: &Json, to: Self) -> Json {
        if value.is_null() {
            return Json::Null;
        }
        let number =
            value.as_i64().unwrap_or_else(|| i64::try_from(value.to_string().len()).unwrap_or(0));
        // Where the number is another thing it is another number.
        match to {
            Self::Text => json!(value.to_string().trim_matches('"')),
            Self::Int if self == Self::Date => json!(20_200_000 + number % 1_000),
            Self::Int => json!(number % 30_000),
            Self::Date => json!(19_000 + number % 1_000),
            Self::Long if self == Self::Int => json!(number),
            Self::Long => json!(number / 1_000 - 7),
            Self::Time => json!(1_700_000_000_000_000 + number),
            Self::LocalTime => json!(number + 3_600_000_000),
            Self::Decimal(_) => json!(number),
            Self::Double => json!(value.as_f64().unwrap_or(number as f64)),
            Self::Boolean => json!(number > 3),
            Self::Record => json!({"a": null, "b": number % 10}),
        }
    }
}

impl Case {
    pub(crate) fn random(random: &mut Random) -> Self {
        let table = random.chance(75);
        let columns: Vec<Column> = (0..3 + random.below(4))
            .map(|number| {
                let of = Some((format!("c{number}"), *random.pick(TYPES)));
                Column { old: of.clone(), new: of }
            })
            .collect();
        let topics = topics(table, &columns);
        let levels = [
            CompatibilityLevel::FullTransitive,
            CompatibilityLevel::FullTransitive,
            CompatibilityLevel::Backward,
            CompatibilityLevel::Forward,
            CompatibilityLevel::None,
        ];
        let mut case = Self {
            seed: random.next(),
            table,
            documents: documents(table, &columns, random),
            level: *random.pick(&levels),
            former: former(&columns, random),
            columns,
            changes: Vec::new(),
            topics,
        };
        for _ in 0..1 + random.below(2) {
            case.change(random);
        }
        case
    }

    fn change(&mut self, random: &mut Random) {
        let place = random.below(self.columns.len());
        let column = self.columns[place].new.clone();
        match (random.below(if self.table { 10 } else { 9 }), column) {
            (0..=1, Some((name, _))) => {
                self.columns[place].new = None;
                self.changes.push(Change::DropColumn { column: name });
            }
            (2..=3, Some((name, of))) => {
                let to = format!("{name}r");
                self.columns[place].new = Some((to.clone(), of));
                self.changes.push(Change::Rename { column: name, to });
            }
            (4..=6, Some((name, of))) => {
                let to = retyped(of, random);
                if to == of {
                    return;
                }
                self.columns[place].new = Some((name.clone(), to));
                self.changes.push(Change::Type { column: name, data_type: to.avro().to_string() });
            }
            (9, Some((name, of))) if of != Type::Record && random.chance(50) => {
                self.changes.push(Change::Key { columns: vec!["id".into(), name] });
            }
            _ => self.add(random),
        }
    }

    fn add(&mut self, random: &mut Random) {
        let of = *random.pick(&[Type::Text, Type::Int, Type::Boolean, Type::Record]);
        let name = format!("n{}", self.columns.len());
        let default = match of {
            Type::Text if random.chance(50) => json!("blue"),
            Type::Int if random.chance(50) => json!(5),
            _ => Json::Null,
        };
        let given = Some(default).filter(|default| !default.is_null());
        let data_type = of.avro().to_string();
        self.changes.push(Change::Add { column: name.clone(), data_type, default: given });
        self.columns.push(Column { old: None, new: Some((name, of)) });
    }

    /// Whether the key is another.
    pub(crate) fn rekeyed(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Key { .. }))
    }
}

/// A column of the name that a new one will have.
fn former(columns: &[Column], random: &mut Random) -> Option<(String, Type)> {
    let of = *random.pick(&[Type::Text, Type::Int, Type::Date, Type::Record]);
    random.chance(30).then(|| (format!("n{}", columns.len()), of))
}

/// Another type: often one that is wider.
fn retyped(of: Type, random: &mut Random) -> Type {
    match of {
        Type::Int if random.chance(60) => Type::Long,
        Type::Decimal(_) if random.chance(60) => Type::Decimal(16),
        Type::Time if random.chance(40) => Type::LocalTime,
        Type::Long if random.chance(30) => Type::Int,
        _ => *random.pick(TYPES),
    }
}

fn topics(table: bool, columns: &[Column]) -> Topics {
    let fields = columns.iter().filter_map(|column| column.old.as_ref()).map(
        |(name, of)| json!({"name": name, "type": ["null", own(of.avro(), name)], "default": null}),
    );
    let topic = if table {
        keyed("shop.t", fields.collect())
    } else {
        let fields: Vec<Json> =
            [json!({"name": "id", "type": "long"})].into_iter().chain(fields).collect();
        let record =
            json!({"type": "record", "name": "Event", "namespace": "app", "fields": fields});
        Topic { key: None, value: Schema::parse(&record.to_string()).unwrap(), source: None }
    };
    let other =
        keyed("shop.u", vec![json!({"name": "t", "type": ["null", "string"], "default": null})]);
    Topics::from([(TOPIC.to_owned(), topic), (OTHER.to_owned(), other)])
}

/// A record of a column's own.
fn own(mut of: Json, column: &str) -> Json {
    if of["type"] == "record" {
        of["name"] = json!(format!("inner_{column}"));
    }
    of
}

fn keyed(namespace: &str, columns: Vec<Json>) -> Topic {
    let fields: Vec<Json> =
        [json!({"name": "id", "type": "long"})].into_iter().chain(columns).collect();
    let row = json!({"type": "record", "name": "Value", "fields": fields});
    let block = SourceBlock {
        connector: "postgresql",
        name: "shop".into(),
        database: "shop".into(),
        fields: &[],
    };
    let value = envelope_record(namespace, row, source_record(&block));
    let key = json!({"type": "record", "name": "Key", "namespace": namespace, "fields": [
        {"name": "id", "type": "long"}]});
    Topic {
        key: Some(Schema::parse(&key.to_string()).unwrap()),
        value: Schema::parse(&value.to_string()).unwrap(),
        source: Some("shop".into()),
    }
}

fn documents(table: bool, columns: &[Column], random: &mut Random) -> String {
    let known: Vec<(String, Type)> =
        columns.iter().filter_map(|column| column.old.clone()).collect();
    let mut texts = vec![pipeline("p0", TOPIC, &first(table, &known, random), random)];
    if random.chance(50) {
        let sql = second(&texts[0], &known, random);
        texts.push(pipeline("p1", "mesh.p0", &sql, random));
    }
    texts.concat()
}

/// The SQL of the pipeline that reads the topic.
fn first(table: bool, known: &[(String, Type)], random: &mut Random) -> String {
    let text = known.iter().find(|(_, of)| *of == Type::Text);
    if let Some((name, _)) = text.filter(|_| table && random.chance(12)) {
        return format!(
            "SELECT 't' AS o, id, {name} AS v FROM r UNION ALL SELECT 'u', id, t FROM u"
        );
    }
    let columns = if random.chance(45) {
        "*".to_owned()
    } else {
        let mut items = vec!["id".to_owned()];
        for (name, of) in known.iter().filter(|_| random.chance(50)).collect::<Vec<_>>() {
            items.push(of.selected(name, random));
        }
        items.join(", ")
    };
    let filters = known.iter().filter_map(|(name, of)| of.filter(name));
    let filters: Vec<String> = filters.collect();
    match filters.is_empty() || random.chance(60) {
        true => format!("SELECT {columns} FROM r"),
        false => format!("SELECT {columns} FROM r WHERE {}", random.pick(&filters)),
    }
}

/// The SQL of the pipeline behind it: a star, or columns that the first one may have.
fn second(before: &str, known: &[(String, Type)], random: &mut Random) -> String {
    let through =
        |name: &str| before.contains("SELECT *") || before.contains(&format!(", {name},"));
    let mut all = known.iter().filter(|(name, _)| through(name));
    match all.next().filter(|_| !before.contains("UNION") && random.chance(60)) {
        Some((name, of)) => format!("SELECT id, {} FROM r", of.selected(name, random)),
        None => "SELECT * FROM r".to_owned(),
    }
}

fn pipeline(name: &str, topic: &str, sql: &str, random: &mut Random) -> String {
    let more = random.pick(&[
        "",
        "",
        "",
        "  evolution: pinned\n",
        "  evolution: manual\n",
        "  new_fields: ignore\n",
    ]);
    let envelope = random.pick(&["debezium", "debezium", "flat"]);
    let other = if sql.contains("FROM u") { format!(", u: {OTHER}") } else { String::new() };
    let chain = if random.chance(30) && !sql.contains("UNION") {
        format!("[{{name: first, sql: {}}}, {{name: made, sql: SELECT * FROM first}}]", json!(sql))
    } else {
        format!("[{{name: made, sql: {}}}]", json!(sql))
    };
    format!(
        "---\napiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: {name}}}\nspec:\n  inputs: {{r: \
         {topic}{other}}}\n  processors: {chain}\n  sinks: [{{name: out, from: made, kafka: {{topic: \
         mesh.{name}, envelope: {envelope}}}}}]\n{more}"
    )
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.table { "a table" } else { "events" };
        writeln!(f, "  {kind}, outputs' level {}", self.level)?;
        for column in self.columns.iter().filter_map(|column| column.old.as_ref()) {
            writeln!(f, "  column {} {:?}", column.0, column.1)?;
        }
        if let Some((name, of)) = &self.former {
            writeln!(f, "  outputs had {name} {of:?}")?;
        }
        self.changes.iter().try_for_each(|change| writeln!(f, "  {change:?}"))?;
        let lines = self.documents.lines();
        let mut told = lines.filter(|line| !line.starts_with("apiVersion") && *line != "---");
        told.try_for_each(|line| writeln!(f, "  {line}"))
    }
}
