use super::*;
use proptest::prelude::*;
use serde::Serializer;
use serde_json::json;

struct Bytes<'b>(&'b [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[derive(Serialize)]
enum Color {
    Red,
    #[serde(rename = "GREEN")]
    Green,
}

const COLOR: &str = r#"{"type":"enum","name":"Color","symbols":["BLUE","GREEN","Red"]}"#;
const FIXED: &str = r#"{"type":"fixed","name":"F","size":3}"#;

fn logical(base: &str, logical: &str) -> String {
    format!(r#"{{"type":"{base}","logicalType":"{logical}"}}"#)
}

#[test]
fn the_specifications_examples_hold() {
    assert_eq!(encode("\"long\"", &-64).unwrap(), [0x7f]);
    assert_eq!(encode("\"string\"", "foo").unwrap(), [6, b'f', b'o', b'o']);
    assert_eq!(encode(r#"{"type":"array","items":"long"}"#, &[3, 27]).unwrap(), [4, 6, 0x36, 0]);
    assert_eq!(encode(r#"["null","string"]"#, &Some("a")).unwrap(), [2, 2, b'a']);
    assert_eq!(encode(r#"["null","string"]"#, &None::<&str>).unwrap(), [0]);
}

#[test]
fn integers_go_where_they_are_in_range() {
    for value in [i64::MIN, -1, 0, 1, i64::MAX] {
        assert_eq!(written("\"long\"", &value), Datum::Long(value));
    }
    assert_eq!(written("\"int\"", &1_u64), Datum::Int(1));
    assert_eq!(written("\"int\"", &u16::MAX), Datum::Int(65_535));
    assert_eq!(written("\"long\"", &u32::MAX), Datum::Long(4_294_967_295));
    assert_eq!(written("\"long\"", &-5_i8), Datum::Long(-5));
    assert_eq!(written("\"long\"", &i128::from(i64::MIN)), Datum::Long(i64::MIN));
    for text in [
        refused("\"long\"", &u64::MAX),
        refused("\"long\"", &u128::MAX),
        refused("\"long\"", &i128::MIN),
        refused("\"int\"", &i64::MAX),
        refused("\"int\"", &u32::MAX),
    ] {
        assert!(text.contains("out of the type's range"), "{text}");
        assert!(!text.contains("2147"), "{text}");
    }
}

#[test]
fn floats_take_what_they_hold_exactly() {
    assert_eq!(written("\"double\"", &1.5_f32), Datum::Double(1.5));
    assert_eq!(written("\"double\"", &5_i64), Datum::Double(5.0));
    assert_eq!(written("\"float\"", &16_777_216), Datum::Float(16_777_216.0));
    assert_eq!(written("\"float\"", &1.1_f64), Datum::Float(1.1));
    assert_eq!(written("\"float\"", &f64::INFINITY), Datum::Float(f32::INFINITY));
    assert!(matches!(written("\"float\"", &f64::NAN), Datum::Float(value) if value.is_nan()));
    refused("\"float\"", &16_777_217);
    refused("\"float\"", &1e300_f64);
    refused("\"float\"", &std::f64::consts::PI);
    refused("\"double\"", &i64::MAX);
    let text = refused("\"long\"", &1.0_f64);
    assert!(text.contains("found=f64") && text.contains("expected=long"), "{text}");
}

#[test]
fn text_is_string_or_symbol() {
    assert_eq!(written("\"string\"", &'ß'), string("ß"));
    assert_eq!(written(COLOR, "GREEN"), Datum::Enum("GREEN".into()));
    assert_eq!(written(COLOR, &Color::Red), Datum::Enum("Red".into()));
    assert_eq!(written(COLOR, &Color::Green), Datum::Enum("GREEN".into()));
    assert_eq!(written("\"string\"", &Color::Green), string("GREEN"));
    let text = refused(COLOR, "secret");
    assert!(text.contains("no symbol") && !text.contains("secret"), "{text}");
    assert!(refused(r#"{"type":"enum","name":"E","symbols":["A"]}"#, &Color::Red).contains("Red"));
    refused("\"bytes\"", "text");
}

#[test]
fn bytes_come_whole_or_one_by_one() {
    let three = Datum::Bytes(vec![1, 2, 255]);
    assert_eq!(written("\"bytes\"", &Bytes(&[1, 2, 255])), three);
    assert_eq!(written("\"bytes\"", &vec![1_u8, 2, 255]), three);
    assert_eq!(written("\"bytes\"", &[1_u8, 2, 255]), three);
    assert_eq!(written("\"bytes\"", &json!([1, 2, 255])), three);
    assert_eq!(written("\"bytes\"", &Vec::<u8>::new()), Datum::Bytes(vec![]));
    assert_eq!(written("\"bytes\"", &vec![7_u8; 300]), Datum::Bytes(vec![7; 300]));
    assert_eq!(written(FIXED, &[1_u8, 2, 3]), Datum::Fixed(vec![1, 2, 3]));
    assert_eq!(written(FIXED, &Bytes(&[1, 2, 3])), Datum::Fixed(vec![1, 2, 3]));
    assert!(refused(FIXED, &Bytes(&[1])).contains("found=1 bytes"));
    assert!(refused(FIXED, &[1_u8, 2]).contains("found=2 bytes"));
    assert!(refused("\"bytes\"", &[1, 256]).contains("path=[1]"));
    assert!(refused("\"bytes\"", &["a"]).contains("path=[0]"));
}

#[test]
fn null_is_whatever_says_nothing() {
    #[derive(Serialize)]
    struct Nothing;
    assert_eq!(written("\"null\"", &()), Datum::Null);
    assert_eq!(written("\"null\"", &None::<i32>), Datum::Null);
    assert_eq!(written("\"null\"", &Nothing), Datum::Null);
    assert_eq!(written("\"null\"", &json!(null)), Datum::Null);
    assert!(refused("\"int\"", &None::<i32>).contains("found=none"));
    assert_eq!(written("\"boolean\"", &true), Datum::Boolean(true));
    refused("\"boolean\"", &1);
    refused("\"null\"", &Color::Red);
}

/// Counts its elements wrong, or not at all.
struct Miscounted(Option<usize>, Vec<i32>);

impl Serialize for Miscounted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut sequence = serializer.serialize_seq(self.0)?;
        self.1.iter().try_for_each(|element| sequence.serialize_element(element))?;
        sequence.end()
    }
}

#[test]
fn a_sequence_has_as_many_elements_as_came() {
    for count in [0_i32, 1, 5, 200] {
        let elements: Vec<i32> = (0..count).map(|element| element % 100).collect();
        let datum = Datum::Array(elements.iter().copied().map(Datum::Int).collect());
        let bytes = elements.iter().map(|element| u8::try_from(*element).unwrap()).collect();
        for said in [None, Some(0), Some(5), Some(100_000)] {
            let value = Miscounted(said, elements.clone());
            assert_eq!(written(r#"{"type":"array","items":"int"}"#, &value), datum);
            assert_eq!(written("\"bytes\"", &value), Datum::Bytes(Vec::clone(&bytes)));
        }
    }
}

#[test]
fn dates_and_times_are_read_from_text() {
    assert_eq!(written(&logical("int", "date"), "1970-01-11"), Datum::Int(10));
    assert_eq!(written(&logical("int", "date"), &10), Datum::Int(10));
    assert_eq!(written(&logical("int", "time-millis"), "00:00:01.5"), Datum::Int(1500));
    assert_eq!(written(&logical("long", "time-micros"), "00:00:01.5"), Datum::Long(1_500_000));
    for (name, value) in [("millis", 1500), ("micros", 1_500_000), ("nanos", 1_500_000_000)] {
        let schema = logical("long", &format!("timestamp-{name}"));
        assert_eq!(written(&schema, "1970-01-01T01:00:01.5+01:00"), Datum::Long(value));
        assert_eq!(written(&schema, &value), Datum::Long(value));
        let schema = logical("long", &format!("local-timestamp-{name}"));
        assert_eq!(written(&schema, "1970-01-01T00:00:01.5"), Datum::Long(value));
    }
    let text = refused(&logical("long", "timestamp-millis"), "1970-01-01T00:00:00.0001Z");
    assert!(text.contains("digits") && text.contains("timestamp-millis (long)"), "{text}");
    assert!(!text.contains("0001Z"), "{text}");
    refused("\"long\"", "1970-01-01T00:00:00Z");
}

#[test]
fn chronos_own_types_are_read() {
    let moment = chrono::DateTime::from_timestamp_micros(1_709_209_800_250_001).unwrap();
    let micros = logical("long", "timestamp-micros");
    assert_eq!(written(&micros, &moment), Datum::Long(1_709_209_800_250_001));
    let local = logical("long", "local-timestamp-micros");
    assert_eq!(written(&local, &moment.naive_utc()), Datum::Long(1_709_209_800_250_001));
    assert_eq!(written(&logical("int", "date"), &moment.date_naive()), Datum::Int(19_782));
    let time = logical("long", "time-micros");
    assert_eq!(written(&time, &moment.time()), Datum::Long(45_000_250_001));
}

#[test]
fn decimals_are_read_from_text() {
    let bytes = r#"{"type":"bytes","logicalType":"decimal","precision":6,"scale":2}"#;
    let fixed =
        r#"{"type":"fixed","name":"D","size":3,"logicalType":"decimal","precision":6,"scale":2}"#;
    assert_eq!(written(bytes, "-1.00"), Datum::Bytes(vec![0x9c]));
    assert_eq!(written(fixed, "-1"), Datum::Fixed(vec![0xff, 0xff, 0x9c]));
    assert_eq!(written(bytes, &Bytes(&[0x9c])), Datum::Bytes(vec![0x9c]));
    assert!(refused(bytes, "1.001").contains("scale"));
    assert!(refused(bytes, "10000").contains("precision"));
    assert!(refused(bytes, &5).contains("give a decimal as text"));
    refused(bytes, &5.0);
}

#[test]
fn uuids_are_checked() {
    let string_form = logical("string", "uuid");
    let fixed = r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#;
    let text = "00010203-0405-0607-0809-0a0b0c0d0e0F";
    assert_eq!(written(&string_form, text), string(text));
    let bytes = Datum::Fixed((0..16).collect());
    assert_eq!(written(fixed, text), bytes);
    assert_eq!(written(fixed, &text.replace('-', "")), bytes);
    for wrong in ["", "00010203-0405-0607-0809-0a0b0c0d0e0", "0001020304050607-0809-0a0b0c0d0e0f--"]
    {
        refused(&string_form, wrong);
        refused(fixed, wrong);
    }
    refused(fixed, &"é".repeat(16));
}

/// Displayed, of any length.
struct Long(usize);

impl Serialize for Long {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&"ab".repeat(self.0))
    }
}

#[test]
fn what_is_displayed_is_text_of_any_length() {
    for count in [0, 32, 33, 1000] {
        assert_eq!(written("\"string\"", &Long(count)), string(&"ab".repeat(count)));
    }
}

#[test]
fn what_a_type_says_of_its_values_is_not_repeated() {
    struct Own;
    impl Serialize for Own {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("secret is not allowed"))
        }
    }
    let text = refused("\"long\"", &Own);
    assert!(text.contains("refused the value") && !text.contains("secret"), "{text}");
}

#[test]
fn numbers_of_arbitrary_precision_are_numbers() {
    #[derive(Serialize)]
    #[serde(rename = "$serde_json::private::Number")]
    struct Number {
        #[serde(rename = "$serde_json::private::Number")]
        text: &'static str,
    }
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":6,"scale":2}"#;
    assert_eq!(written("\"long\"", &Number { text: "-5" }), Datum::Long(-5));
    assert_eq!(written("\"double\"", &Number { text: "1.5e3" }), Datum::Double(1500.0));
    assert_eq!(written(decimal, &Number { text: "-1.00" }), Datum::Bytes(vec![0x9c]));
    let union = format!(r#"["null","string",{decimal}]"#);
    assert_eq!(written(&union, &Number { text: "-1" }), Datum::Bytes(vec![0x9c]));
    assert_eq!(written(r#"["string","long"]"#, &Number { text: "7" }), Datum::Long(7));
    assert_eq!(written(r#"["null","double"]"#, &Number { text: "7" }), Datum::Double(7.0));
    refused("\"string\"", &Number { text: "7" });
    refused("\"long\"", &Number { text: "x" });
    refused("\"long\"", &Number { text: "1.5" });
}

proptest! {
    #[test]
    fn a_floats_decimal_digits_are_kept(bits: u32) {
        let float = f32::from_bits(bits);
        prop_assume!(!float.is_nan());
        let digits: f64 = float.to_string().parse().unwrap();
        prop_assert_eq!(written("\"float\"", &digits), Datum::Float(float));
        prop_assert_eq!(written("\"float\"", &f64::from(float)), Datum::Float(float));
    }

    #[test]
    fn a_double_is_written_as_a_float_only_with_all_its_digits(value: f64) {
        let float: f32 = value.to_string().parse().unwrap();
        let kept = f64::from(float) == value || float.to_string().parse() == Ok(value);
        prop_assert_eq!(encode("\"float\"", &value).is_ok(), kept);
    }
}
