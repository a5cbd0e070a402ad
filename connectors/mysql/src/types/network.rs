//! Addresses as MariaDB prints them (10.11, `Inet6::to_string` in `plugin/type_inet/sql_type_inet.cc`).

use std::io::Write;

pub(super) fn inet4(bytes: &[u8; 4], out: &mut Vec<u8>) {
    let [a, b, c, d] = bytes;
    // Writing into a vector does not fail.
    let _ = write!(out, "{a}.{b}.{c}.{d}");
}

/// The longest run of zeros is left out, the first of several; addresses that stand for those of four
/// bytes end as these do.
pub(super) fn inet6(bytes: &[u8; 16], out: &mut Vec<u8>) {
    let mut words = [0_u16; 8];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *word = u16::from_be_bytes(*bytes);
    }
    let (gap, length) = longest_zeros(&words);
    let stands_for_4 = gap == 0 && (length == 6 || (length == 5 && words[5] == 0xffff));
    let mut index = 0;
    while index < words.len() {
        if length > 0 && index == gap {
            out.extend_from_slice(if index == 0 { b"::" } else { b":" });
            index += length;
        } else if index == 6 && stands_for_4 {
            let [.., a, b, c, d] = *bytes;
            inet4(&[a, b, c, d], out);
            return;
        } else {
            let _ = write!(out, "{:x}", words[index]);
            index += 1;
            if index < words.len() {
                out.push(b':');
            }
        }
    }
}

/// Where the longest run of zeros begins, and how long it is.
fn longest_zeros(words: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut run) = ((0, 0), (0, 0));
    for (index, word) in words.iter().enumerate() {
        run = match (word, run) {
            (0, (_, 0)) => (index, 1),
            (0, (begin, length)) => (begin, length + 1),
            _ => (0, 0),
        };
        if run.1 > best.1 {
            best = run;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    // What a MariaDB 10.11.19 prints of these.
    #[test]
    fn addresses_print_as_the_server_prints_them() {
        let list = include_str!("../../testdata/inet6.txt");
        for line in list.lines() {
            let (hex, text) = line.split_once('\t').unwrap();
            let bytes = u128::from_str_radix(hex, 16).unwrap().to_be_bytes();
            let mut out = Vec::new();
            inet6(&bytes, &mut out);
            let found = String::from_utf8(out).unwrap();
            assert_eq!(found, text);
            assert_eq!(found.parse::<Ipv6Addr>().unwrap().octets(), bytes);
        }
    }
}
