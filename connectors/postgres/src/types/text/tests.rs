//! Texts as the server writes them; `tests/e2e/oracle.rs` asks the server itself.

use super::*;
use proptest::prelude::*;

fn print(printer: &Printer, bytes: &[u8]) -> String {
    let mut out = Vec::new();
    printer.print(bytes, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn quoted(text: &str, rule: &Quoted) -> String {
    let mut out = b"before ".to_vec();
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    quote_from(&mut out, start, rule);
    assert!(out.starts_with(b"before "));
    String::from_utf8(out.split_off(start)).unwrap()
}

#[test]
fn a_part_is_quoted_where_it_could_be_mistaken() {
    assert_eq!(quoted("a", &QUOTED_IN_ARRAY), "a");
    assert_eq!(quoted("", &QUOTED_IN_ARRAY), "\"\"");
    assert_eq!(quoted("NuLL", &QUOTED_IN_ARRAY), "\"NuLL\"");
    assert_eq!(quoted("null", &QUOTED_IN_COMPOSITE), "null");
    assert_eq!(quoted("a\"b\\", &QUOTED_IN_ARRAY), r#""a\"b\\""#);
    assert_eq!(quoted("a\"b\\", &QUOTED_IN_RANGE), r#""a""b\\""#);
    assert_eq!(quoted("{é}", &QUOTED_IN_ARRAY), "\"{é}\"");
    assert_eq!(quoted("{é}", &QUOTED_IN_COMPOSITE), "{é}");
    assert_eq!(quoted("[", &QUOTED_IN_RANGE), "\"[\"");
}

/// `array_send` of lengths, lower bounds and 32-bit numbers.
fn array(bounds: &[(i32, i32)], elements: std::ops::Range<i32>) -> Vec<u8> {
    let mut words = vec![i32::try_from(bounds.len()).unwrap(), 0, 23];
    bounds.iter().for_each(|(length, lower)| words.extend([*length, *lower]));
    elements.for_each(|element| words.extend([4, element]));
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn dimensions_are_nested_braces() {
    let printer = Printer::Array(Box::new(Printer::Int4), ',');
    assert_eq!(print(&printer, &array(&[], 0..0)), "{}");
    assert_eq!(print(&printer, &array(&[(3, 1)], 0..3)), "{0,1,2}");
    assert_eq!(print(&printer, &array(&[(2, 1), (2, 1)], 0..4)), "{{0,1},{2,3}}");
    let cube = array(&[(2, 1), (1, 1), (2, 1)], 0..4);
    assert_eq!(print(&printer, &cube), "{{{0,1}},{{2,3}}}");
    assert_eq!(print(&printer, &array(&[(2, -1), (1, 5)], 0..2)), "[-1:0][5:5]={{0},{1}}");
}

#[test]
fn addresses_leave_out_what_the_server_leaves_out() {
    let version_6 = |words: [u16; 8]| {
        let mut bytes = vec![3, 128, 0, 16];
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
        print(&Printer::Address, &bytes)
    };
    assert_eq!(version_6([0; 8]), "::");
    assert_eq!(version_6([0, 0, 0, 0, 0, 0, 0, 1]), "::1");
    assert_eq!(version_6([0x2001, 0xdb8, 0, 0, 1, 0, 0, 0]), "2001:db8:0:0:1::");
    assert_eq!(version_6([0, 0, 0, 0, 0, 0xffff, 0x102, 0x304]), "::ffff:1.2.3.4");
    assert_eq!(version_6([0, 0, 0, 0, 0, 0, 0x102, 0x304]), "::1.2.3.4");
    assert_eq!(version_6([1, 0, 2, 3, 4, 5, 6, 7]), "1:0:2:3:4:5:6:7");
    assert_eq!(print(&Printer::Address, &[2, 32, 0, 4, 10, 0, 0, 1]), "10.0.0.1");
    assert_eq!(print(&Printer::Address, &[2, 32, 1, 4, 10, 0, 0, 1]), "10.0.0.1/32");
    assert_eq!(print(&Printer::Address, &[2, 8, 0, 4, 10, 0, 0, 1]), "10.0.0.1/8");
}

#[test]
fn a_query_has_brackets_where_it_needs_them() {
    // ( 'a' | 'b':*A ) & !'c', the right operand first.
    let word = |text: &str, weights: u8, prefix: u8| {
        [&[1, weights, prefix], text.as_bytes(), &[0]].concat()
    };
    let bytes = [
        6_u32.to_be_bytes().to_vec(),
        vec![2, 2],
        vec![2, 1],
        word("c", 0, 0),
        vec![2, 3],
        word("b", 8, 1),
        word("a'\\", 0, 0),
    ]
    .concat();
    assert_eq!(print(&Printer::SearchQuery, &bytes), r"( 'a''\\' | 'b':*A ) & !'c'");
}

#[test]
fn a_query_of_any_depth_is_written() {
    let depth = 100_000_usize;
    let mut bytes = u32::try_from(depth).unwrap().to_be_bytes().to_vec();
    bytes.extend((0..depth).flat_map(|_| [2, 1]));
    bytes.extend_from_slice(&[1, 0, 0, b'x', 0]);
    assert_eq!(print(&Printer::SearchQuery, &bytes).len(), depth + 3);
}

proptest! {
    #[test]
    fn quoting_keeps_what_it_quotes(text in "[a-z\"\\\\{},() ]{0,12}") {
        let quoted = quoted(&text, &QUOTED_IN_COMPOSITE);
        if let Some(inner) = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            prop_assert_eq!(inner.replace("\"\"", "\"").replace("\\\\", "\\"), text);
        } else {
            prop_assert_eq!(quoted, text);
        }
    }
}
