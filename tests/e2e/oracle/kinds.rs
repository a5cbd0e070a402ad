//! Every type with its values: all edges, then random ones, as SQL.

use rand::Rng;
use rand::rngs::StdRng;

/// By which rule the topic's value follows from the server's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Bool,
    Number,
    Float4,
    Float8,
    /// The output function's text itself.
    Text,
    Money,
    Oid,
    Hstore,
    Bytes,
    Date,
    Timestamp,
    TimestampTz,
    TimeTz,
}

/// A type with values in SQL.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) form: Form,
    pub(super) is_array: bool,
    values: Vec<String>,
}

impl Kind {
    pub(super) fn values(&self) -> &[String] {
        &self.values
    }

    pub(super) fn value(&self, number: usize) -> &str {
        &self.values[number % self.values.len()]
    }
}

/// Random values of each type, beside the edges.
const RANDOM: usize = 25;

fn literal(text: &str, of: &str) -> String {
    format!("'{}'::{of}", text.replace('\'', "''"))
}

/// Texts that are easily mistaken within others.
const HARD: &[&str] = &[
    "",
    " ",
    "a",
    "NULL",
    "null",
    "a,b",
    "\"",
    "\\",
    "\\\\\"",
    "{}",
    "(a)",
    "[b]",
    "a b",
    "é☃𝄞",
    "'quoted'",
    "\t",
    "new\nline",
    "empty",
    ";",
    "\u{1}\u{1f}\u{7f}",
];

fn hard_text(random: &mut StdRng) -> String {
    (0..random.random_range(0..4)).map(|_| HARD[random.random_range(0..HARD.len())]).collect()
}

/// Edges and random texts of a type.
fn of(
    name: &str,
    form: Form,
    edges: &[&str],
    random: &mut StdRng,
    mut make: impl FnMut(&mut StdRng) -> String,
) -> Kind {
    let mut values = vec![format!("NULL::{name}")];
    values.extend(edges.iter().map(|edge| literal(edge, name)));
    values.extend((0..RANDOM).map(|_| literal(&make(random), name)));
    Kind { name: name.to_owned(), form, is_array: false, values }
}

/// The types that others are made of.
#[rustfmt::skip]
fn plain(version: u32, r: &mut StdRng) -> Vec<Kind> {
    use Form::{Bool, Bytes, Date, Float4, Float8, Hstore, Money, Number, Oid, Text, TimeTz, Timestamp, TimestampTz};
    let digits = |r: &mut StdRng, count: usize| -> String {
        (0..count).map(|_| char::from(b'0' + r.random_range(0..10))).collect()
    };
    let thousand = format!("{}.{}", "9".repeat(900), "1".repeat(100));
    let tiny = format!("-0.{}1", "0".repeat(999));
    let all_bytes: String = (0..=255_u8).map(|byte| format!("{byte:02x}")).collect();
    let all_bytes = format!("\\x{all_bytes}");
    let hex = |r: &mut StdRng| -> String {
        (0..r.random_range(0..40)).map(|_| format!("{:02x}", r.random::<u8>())).collect()
    };
    let clock = |r: &mut StdRng| format!("{:02}:{:02}:{:02}.{:06}", r.random_range(0..24),
        r.random_range(0..60), r.random_range(0..60), r.random_range(0..1_000_000));
    let day = |r: &mut StdRng| format!("{:04}-{:02}-{:02}{}", r.random_range(1..4713),
        r.random_range(1..13), r.random_range(1..29), if r.random() { " BC" } else { "" });
    let moment = move |r: &mut StdRng| {
        let day = day(r);
        let (day, era) = day.split_once(' ').unwrap_or((&day, ""));
        format!("{day} {} {era}", clock(r))
    };
    let float = |r: &mut StdRng| {
        let value = f64::from_bits(r.random());
        if value.is_finite() { format!("{value:e}") } else { "0.1".to_owned() }
    };
    let small_float = |r: &mut StdRng| {
        let value = f32::from_bits(r.random());
        if value.is_finite() { format!("{value:e}") } else { "0.1".to_owned() }
    };
    let near = |r: &mut StdRng| match r.random_range(0..4) {
        0 => format!("{}", r.random_range(-1000..1000)),
        1 => format!("{:.2}", r.random_range(-100.0..100.0)),
        _ => format!("{:e}", r.random_range(-1e9..1e9)),
    };
    let pair = move |r: &mut StdRng| format!("({},{})", near(r), near(r));
    let pairs = move |r: &mut StdRng| {
        let count = r.random_range(1..5);
        (0..count).map(|_| pair(r)).collect::<Vec<_>>().join(",")
    };
    let v4 = |r: &mut StdRng| r.random::<[u8; 4]>().map(|b| b.to_string()).join(".");
    let v6 = |r: &mut StdRng| {
        let words: [u16; 8] = std::array::from_fn(|_| if r.random_bool(0.6) { 0 } else { r.random() });
        words.map(|word| format!("{word:x}")).join(":")
    };
    let inet = move |r: &mut StdRng| match r.random_range(0..4) {
        0 => v4(r),
        1 => format!("{}/{}", v4(r), r.random_range(0..=32)),
        2 => v6(r),
        _ => format!("{}/{}", v6(r), r.random_range(0..=128)),
    };
    let word = |r: &mut StdRng| ["a", "cat", "O'Neil", "b\\\\c", "ünï", "x:y", " "][r.random_range(0..7)].replace('\'', "''");
    let lexeme = move |r: &mut StdRng| {
        let places: Vec<String> = (0..r.random_range(0..4)).map(|_| format!("{}{}",
            r.random_range(1..16383), ["", "A", "B", "C", "D"][r.random_range(0..5)])).collect();
        let places = if places.is_empty() { String::new() } else { format!(":{}", places.join(",")) };
        format!("'{}'{places}", word(r))
    };
    fn query(r: &mut StdRng, depth: u32) -> String {
        if depth == 0 || r.random_bool(0.3) {
            let word = ["a", "cat", "'O''Neil'", "'b\\\\c'", "ünï"][r.random_range(0..5)];
            return format!("{word}{}", ["", ":*", ":AB", ":*D", ":C"][r.random_range(0..5)]);
        }
        let operator = ["&", "|", "<->", "<3>", "<0>"][r.random_range(0..5)];
        match r.random_range(0..4) {
            0 => format!("!({})", query(r, depth - 1)),
            _ => format!("({}) {operator} ({})", query(r, depth - 1), query(r, depth - 1)),
        }
    }
    let mut char_edges = vec!["x", "", "\"", "\\", " "];
    let mut interval_edges = vec!["0", "1 year 2 mons 3 days 04:05:06.5", "-1 mon +2 days -00:00:00.000001",
        "178000000 years", "-178000000 years", "2147483647 days", "00:00:00.1", "-25:59:59.5"];
    if version >= 18 {
        char_edges.push("\\377");
        interval_edges.extend(["infinity", "-infinity"]);
    }
    vec![
        of("bool", Bool, &["t", "f"], r, |r| r.random::<bool>().to_string()),
        of("int2", Number, &["-32768", "32767", "0"], r, |r| r.random::<i16>().to_string()),
        of("int4", Number, &["-2147483648", "2147483647", "0"], r, |r| r.random::<i32>().to_string()),
        of("int8", Number, &["-9223372036854775808", "9223372036854775807"], r, |r| r.random::<i64>().to_string()),
        of("oid", Number, &["0", "4294967295"], r, |r| r.random::<u32>().to_string()),
        of("float4", Float4, &["NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38", "33554448"], r, small_float),
        of("float8", Float8, &["NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308", "1e23", "0.1"], r, float),
        of("numeric", Text, &["NaN", "Infinity", "-Infinity", "0", "0.000", "-1e-20", "1e100", &thousand, &tiny, "10000", "9999.9999"], r,
            |r| { let (a, b) = (r.random_range(1..30), r.random_range(0..30)); format!("{}.{}", digits(r, a), digits(r, b)) }),
        of("numeric(12,2)", Text, &["0", "-0.01", "9999999999.99", "-9999999999.99"], r, |r| { let a = r.random_range(1..11); digits(r, a) }),
        of("numeric(1000,100)", Text, &[&thousand, "-1", "0.5"], r, |r| { let a = r.random_range(1..900); format!("-{}.{}", digits(r, a), digits(r, 100)) }),
        of("money", Money, &["0", "-92233720368547758.08", "92233720368547758.07", "-0.01"], r, |r| format!("{}.{:02}", r.random::<i32>(), r.random_range(0..100))),
        of("text", Text, HARD, r, hard_text),
        of("varchar(9)", Text, &["", "ünïcode ☃", "NULL"], r, |r| { let a = r.random_range(0..9); digits(r, a) }),
        of("char(5)", Text, &["", "abc", "a\"b"], r, |r| { let a = r.random_range(0..6); digits(r, a) }),
        of("\"char\"", Text, &char_edges, r, |r| char::from(r.random_range(33..127_u8)).to_string()),
        of("name", Text, &["", "a name", "NULL"], r, |r| { let a = r.random_range(0..60); digits(r, a) }),
        of("citext", Text, HARD, r, hard_text),
        of("bytea", Bytes, &["\\x", &all_bytes, "\\x00"], r, move |r| format!("\\x{}", hex(r))),
        of("uuid", Text, &["00000000-0000-0000-0000-000000000000"], r, |r| format!("{:032x}", r.random::<u128>())),
        of("json", Text, &["null", "{\"a\":  [1, \"x\\ny\"]}", "\"\""], r, |r| format!("[{}]", r.random::<i32>())),
        of("jsonb", Text, &["null", "{\"b\": [1, \"\\\"\"], \"a\": null}", "1e5", "{}"], r, |r| format!("[{}, \"é\"]", r.random::<i32>())),
        of("hstore", Hstore, &["", "a=>1", "\"k, \\\"q\\\"\"=>\"\\\\v\tw\", n=>NULL", "\"\"=>\"\""], r, |r| format!("k=>{}, \"é \"=>\"x\ny\"", r.random::<i32>())),
        of("date", Date, &["infinity", "-infinity", "0001-01-01", "0001-12-31 BC", "4713-01-01 BC", "5874897-12-31", "1970-01-01", "2000-02-29"], r, day),
        of("time", Text, &["00:00:00", "24:00:00", "23:59:59.999999", "23:59:60", "04:05:06.7"], r, clock),
        of("timetz", TimeTz, &["24:00:00-15:59", "00:00:00+15:59:59", "04:05:06+00", "23:59:60-08", "01:02:03.4+05:30"], r, move |r| format!("{}{:+03}", clock(r), r.random_range(-12..13))),
        of("timestamp", Timestamp, &["infinity", "-infinity", "4713-01-01 00:00:00 BC", "294246-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999", "0001-12-31 23:59:59 BC"], r, moment),
        of("timestamptz", TimestampTz, &["infinity", "-infinity", "4713-01-02 00:00:00+00 BC", "294246-12-31 23:59:59.999999+00", "2024-06-30 23:59:60+02"], r, moment),
        of("interval", Text, &interval_edges, r, |r| format!("{} mons {} days {}.{:06} s", r.random_range(-99..99), r.random_range(-999..999), r.random_range(-99999..99999), r.random_range(0..1000000))),
        of("mood", Text, &["sad", "so, so", "NULL", "q\"uote", "back\\slash", ""], r, |_| "happy".to_owned()),
        of("positive", Number, &["1", "2147483647"], r, |r| r.random_range(1..1000).to_string()),
        of("inet", Text, &["0.0.0.0", "::", "::1", "10.0.0.1/8", "::ffff:1.2.3.4", "1.2.3.4/32", "::1.2.3.4/96", "2001:db8::/128"], r, inet),
        of("cidr", Text, &["0.0.0.0/0", "::/0", "10.0.0.0/8", "1.2.3.4/32", "::1/128"], r, move |r| if r.random() { v4(r) } else { v6(r) }),
        of("macaddr", Text, &["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"], r, |r| r.random::<[u8; 6]>().map(|b| format!("{b:02x}")).join(":")),
        of("macaddr8", Text, &["00:00:00:00:00:00:00:00", "08:00:2b:01:02:03"], r, |r| r.random::<[u8; 8]>().map(|b| format!("{b:02x}")).join(":")),
        of("bit(11)", Text, &["00000000000", "11111111111", "10000000001"], r, |r| format!("{:011b}", r.random_range(0..2048))),
        of("varbit", Text, &["", "0", "1", "10101010", "101010101"], r, |r| format!("{:b}", r.random::<u64>())),
        of("point", Text, &["(0,-0)", "(NaN,Infinity)", "(1e300,-1e-300)", "(1e23,0.1)"], r, pair),
        of("line", Text, &["{1,2,3}", "{-1,0,0}", "{0,1e300,-5}"], r, move |r| format!("{{1,{},{}}}", near(r), near(r))),
        of("lseg", Text, &["[(0,0),(0,0)]", "[(1,2),(NaN,-Infinity)]"], r, move |r| format!("[{},{}]", pair(r), pair(r))),
        of("box", Text, &["(0,0),(0,0)", "(1,2),(3,-4)"], r, move |r| format!("{},{}", pair(r), pair(r))),
        of("path", Text, &["((0,0))", "[(1,2),(3,4)]", "((1,2),(3,4),(5,6))"], r, move |r| if r.random() { format!("[{}]", pairs(r)) } else { format!("({})", pairs(r)) }),
        of("polygon", Text, &["((0,0))", "((1,2),(3,4),(-0,6))"], r, move |r| format!("({})", pairs(r))),
        of("circle", Text, &["<(0,0),0>", "<(1,-2),Infinity>"], r, move |r| format!("<{},{}>", pair(r), r.random_range(0..99))),
        of("tsvector", Text, &["", "a", "'O''Neil':1A,2B,3C,4 'b\\\\c' ' '", "x:16383"], r, move |r| { let n = r.random_range(0..5); (0..n).map(|_| lexeme(r)).collect::<Vec<_>>().join(" ") }),
        of("tsquery", Text, &["", "a", "!a", "a & !(b | c)", "a <-> (b <-> c)", "(a <-> b) <-> c", "!!(a & b)", "'O''Neil':*AB"], r, |r| query(r, 5)),
        of("xml", Text, &["", "<a/>", "text", "<?xml version=\"1.0\"?><a b=\"ü\"/>", "<a>&lt;</a>"], r, |r| format!("<n>{}</n>", r.random::<i32>())),
        of("pg_lsn", Text, &["0/0", "FFFFFFFF/FFFFFFFF", "16/B374D848"], r, |r| format!("{:X}/{:X}", r.random::<u32>(), r.random::<u32>())),
        of("xid", Text, &["0", "4294967295"], r, |r| r.random::<u32>().to_string()),
        of("xid8", Text, &["0", "18446744073709551615"], r, |r| r.random::<u64>().to_string()),
        of("cid", Text, &["0", "4294967295"], r, |r| r.random::<u32>().to_string()),
        of("tid", Text, &["(0,0)", "(4294967295,65535)"], r, |r| format!("({},{})", r.random::<u32>(), r.random::<u16>())),
        of("pg_snapshot", Text, &["10:10:", "10:20:10,14,15"], r, |r| { let a = r.random_range(3..i64::MAX / 2); format!("{a}:{}:{a}", a + 5) }),
        of("txid_snapshot", Text, &["10:10:", "10:20:10,14,15"], r, |r| { let a = r.random_range(3..i64::MAX / 2); format!("{a}:{}:{a}", a + 5) }),
        of("int2vector", Text, &["", "1", "1 -2 32767"], r, |r| r.random::<i16>().to_string()),
        of("oidvector", Text, &["", "1", "1 2 4294967295"], r, |r| r.random::<u32>().to_string()),
        of("regclass", Oid, &["pg_class", "0", "4294967295"], r, |_| "pg_type".to_owned()),
        of("regtype", Oid, &["int4", "timestamp with time zone", "-"], r, |_| "text".to_owned()),
        of("regproc", Oid, &["now", "-"], r, |_| "boolin".to_owned()),
        of("regprocedure", Oid, &["sum(int4)", "-"], r, |_| "abs(int4)".to_owned()),
        of("regoper", Oid, &["0"], r, |_| "||/".to_owned()),
        of("regoperator", Oid, &["*(int4,int4)", "0"], r, |_| "+(int4,int4)".to_owned()),
        of("regrole", Oid, &["postgres", "-"], r, |_| "postgres".to_owned()),
        of("regnamespace", Oid, &["pg_catalog", "-"], r, |_| "public".to_owned()),
        of("regconfig", Oid, &["simple"], r, |_| "english".to_owned()),
        of("regdictionary", Oid, &["simple"], r, |_| "simple".to_owned()),
        of("regcollation", Oid, &["\"C\""], r, |_| "\"POSIX\"".to_owned()),
        of("jsonpath", Text, &["$", "strict $.a[*] ? (@.b > 1 && @.c like_regex \"^x\")", "$.\"é\\\"\""], r, |r| format!("$.a[{}]", r.random_range(0..99))),
        of("ltree", Text, &["", "Top", "Top.Science.Astronomy"], r, |r| format!("a.b{}.c", r.random_range(0..99))),
        of("lquery", Text, &["Top.*", "a.!b.*{1,2}"], r, |r| format!("*.b{}", r.random_range(0..99))),
        of("ltxtquery", Text, &["Europe & !Asia", "a | b*@"], r, |r| format!("x & y{}", r.random_range(0..99))),
        of("refcursor", Text, &["", "a cursor"], r, hard_text),
    ]
}

/// Arrays of one dimension.
fn array(of: &Kind, random: &mut StdRng) -> Kind {
    let name = format!("{}[]", of.name);
    let mut values = vec!["NULL".to_owned(), literal("{}", &name), format!("ARRAY[NULL]::{name}")];
    for _ in 0..RANDOM {
        let elements: Vec<&str> =
            (0..random.random_range(1..5)).map(|_| of.value(random.random_range(0..99))).collect();
        values.push(format!("ARRAY[{}]::{name}", elements.join(", ")));
    }
    Kind { name, form: of.form, is_array: true, values }
}

/// Arrays that are declared with several dimensions, whatever their values have.
fn matrix(of: &Kind, random: &mut StdRng) -> Kind {
    let (one, name) = (format!("{}[]", of.name), format!("{}[][]", of.name));
    // The delimiter of boxes is another one.
    let delimiter = if of.name == "box" { ';' } else { ',' };
    let bounds = format!("[-1:0]={{NULL{delimiter}NULL}}");
    let mut values = vec!["NULL".to_owned(), literal("{}", &name), literal(&bounds, &name)];
    let mut value = || of.value(random.random_range(0..99)).to_owned();
    for index in 0..RANDOM {
        values.push(match index % 3 {
            0 => format!("ARRAY[{}]::{name}", value()),
            1 => format!(
                "ARRAY[ARRAY[{}, {}]::{one}, ARRAY[{}, NULL]::{one}]",
                value(),
                value(),
                value()
            ),
            _ => format!(
                "ARRAY[ARRAY[ARRAY[{}, {}]::{one}], ARRAY[ARRAY[{}, {}]::{one}]]",
                value(),
                value(),
                value(),
                value()
            ),
        });
    }
    Kind { name, form: Form::Text, is_array: false, values }
}

/// Ranges with each kind of bound, or multiranges of them.
fn range(name: &str, bounds: &Kind, random: &mut StdRng) -> [Kind; 2] {
    let several = name.replace("range", "multirange");
    let mut ranges = vec!["NULL".to_owned(), literal("empty", name), literal("(,)", name)];
    let mut multi = vec!["NULL".to_owned(), literal("{}", &several)];
    // There is none behind these, so that they cannot be the last of a range of whole numbers.
    let last = ["2147483647", "9223372036854775807", "5874897-12-31"];
    let is_last = |value: &&String| last.iter().any(|last| value.contains(last));
    let bounds: Vec<&String> = bounds.values.iter().filter(|value| !is_last(value)).collect();
    for index in 0..RANDOM {
        let (a, b) = (
            bounds[random.random_range(0..bounds.len())],
            bounds[random.random_range(0..bounds.len())],
        );
        let kind = ["[]", "[)", "(]", "()"][index % 4];
        // A null is no bound; with the other one on both sides LEAST and GREATEST would drop it.
        ranges.push(format!(
            "CASE WHEN {a} IS NULL OR {b} IS NULL THEN {name}({a}, {b}, '{kind}')
             ELSE {name}(LEAST({a}, {b}), GREATEST({a}, {b}), '{kind}') END"
        ));
        multi.push(format!(
            "{several}({}, {})",
            ranges[ranges.len() - 1],
            ranges[ranges.len() - 2]
        ));
    }
    let kind = |name: &str, values| Kind {
        name: name.to_owned(),
        form: Form::Text,
        is_array: false,
        values,
    };
    [kind(name, ranges), kind(&several, multi)]
}

/// Every type.
pub(super) fn kinds(version: u32, random: &mut StdRng) -> Vec<Kind> {
    let mut kinds = plain(version, random);
    let mut more = Vec::new();
    for kind in &kinds {
        more.push(array(kind, random));
        // The text of money is the locale's.
        if kind.form != Form::Money && kind.form != Form::Oid {
            more.push(matrix(kind, random));
        }
    }
    let words = |name: &str, is_array, values: &[&str]| Kind {
        name: name.to_owned(),
        form: Form::Text,
        is_array,
        values: values.iter().map(|value| format!("{value}::{name}")).collect(),
    };
    more.push(words("words", true, &["'{}'", "'{a,NULL,\"b c\"}'", "NULL"]));
    more.push(words("words[]", false, &["'{}'", "ARRAY['{a,\"b c\"}'::words, NULL]", "NULL"]));
    let ranges = [
        ("int4range", "int4"),
        ("int8range", "int8"),
        ("numrange", "numeric"),
        ("daterange", "date"),
        ("tsrange", "timestamp"),
        ("tstzrange", "timestamptz"),
        ("floatrange", "float8"),
        ("textrange", "text"),
        ("inetrange", "inet"),
        ("timerange", "time"),
        ("timetzrange", "timetz"),
        ("intervalrange", "interval"),
        ("byterange", "bytea"),
        ("moodrange", "mood"),
        ("boolrange", "bool"),
        ("uuidrange", "uuid"),
    ];
    for (name, bounds) in ranges {
        let bounds = kinds.iter().find(|kind| kind.name == bounds).unwrap();
        let [one, several] = range(name, bounds, random);
        more.push(matrix(&one, random));
        more.push(array(&one, random));
        more.extend([one, several]);
    }
    kinds.extend(more);
    kinds
}
