//! The Parsing Canonical Form and its fingerprints (specification 1.12, "Parsing Canonical Form
//! for Schemas", "Schema Fingerprints").

use crate::schema::{Kind, NodeId, Schema};
use md5::{Digest, Md5};
use sha2::Sha256;
use std::collections::HashSet;
use std::fmt::Write;

/// CRC-64-AVRO of nothing, and the polynomial.
const CRC_EMPTY: u64 = 0xc15d_213a_a4d7_a795;

impl Schema {
    /// The schema reduced to what a reader of data needs, in one spelling.
    #[must_use]
    pub fn canonical_form(&self) -> String {
        let mut out = String::new();
        write_node(self, self.root(), &mut HashSet::new(), &mut out);
        out
    }

    /// CRC-64-AVRO of the canonical form.
    #[must_use]
    pub fn crc64(&self) -> u64 {
        crc64(self.canonical_form().as_bytes())
    }

    /// MD5 of the canonical form.
    #[must_use]
    pub fn md5(&self) -> [u8; 16] {
        Md5::digest(self.canonical_form()).into()
    }

    /// SHA-256 of the canonical form.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.canonical_form()).into()
    }
}

fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(CRC_EMPTY, |crc, byte| {
        let mut low = (crc ^ u64::from(*byte)) & 0xff;
        for _ in 0..8 {
            low = (low >> 1) ^ (CRC_EMPTY & 0_u64.wrapping_sub(low & 1));
        }
        (crc >> 8) ^ low
    })
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    out.push_str(text);
    out.push('"');
}

fn write_node(schema: &Schema, id: NodeId, seen: &mut HashSet<NodeId>, out: &mut String) {
    let node = schema.node(id);
    if let Some(name) = &node.name {
        if !seen.insert(id) {
            return quote(&name.to_string(), out);
        }
        out.push_str("{\"name\":");
        quote(&name.to_string(), out);
        out.push_str(",\"type\":");
        quote(&node.type_name().to_lowercase(), out);
    }
    match &node.kind {
        Kind::Record(fields) => {
            out.push_str(",\"fields\":[");
            for (index, field) in fields.iter().enumerate() {
                out.push_str(if index == 0 { "{\"name\":" } else { ",{\"name\":" });
                quote(&field.name, out);
                out.push_str(",\"type\":");
                write_node(schema, field.node, seen, out);
                out.push('}');
            }
            out.push_str("]}");
        }
        Kind::Enum { symbols, .. } => {
            out.push_str(",\"symbols\":[");
            for (index, symbol) in symbols.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                quote(symbol, out);
            }
            out.push_str("]}");
        }
        Kind::Fixed(size) => {
            write!(out, ",\"size\":{size}}}").expect("writing to a String does not fail");
        }
        Kind::Array(items) => {
            out.push_str("{\"type\":\"array\",\"items\":");
            write_node(schema, *items, seen, out);
            out.push('}');
        }
        Kind::Map(values) => {
            out.push_str("{\"type\":\"map\",\"values\":");
            write_node(schema, *values, seen, out);
            out.push('}');
        }
        Kind::Union(branches) => {
            out.push('[');
            for (index, branch) in branches.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_node(schema, *branch, seen, out);
            }
            out.push(']');
        }
        _ => quote(&node.type_name().to_lowercase(), out),
    }
}
