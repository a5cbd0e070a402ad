//! Prints random pairs of schemas with the checker's verdicts, a JSON object a line:
//! `compat_pairs N SEED`. `scripts/avro-diff` has Avro Java judge the same.
#![allow(clippy::print_stdout, reason = "it prints")]

#[path = "../tests/pairs/mod.rs"]
mod pairs;

use pairs::{Tape, pair};
use serde_json::{Value as Json, json};
use std::io::Write;
use std::process::ExitCode;
use tidemesh_avro::compat::incompatibilities;
use tidemesh_avro::schema::Schema;
use tidemesh_avro::witness::witness;

/// How many choices a pair is drawn from.
const TAPE_BYTES: usize = 600;

fn main() -> std::io::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(count)), Some(Ok(seed))) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: compat_pairs N SEED");
        return Ok(ExitCode::from(2));
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut random, mut valid) = (SplitMix(seed), 0);
    while valid < count {
        let tape: Vec<u8> = std::iter::repeat_with(|| random.next().to_le_bytes())
            .flatten()
            .take(TAPE_BYTES)
            .collect();
        let (reader, writer) = pair(&mut Tape(&tape));
        let judged = judged(&reader.to_string(), &writer.to_string());
        valid += u64::from(judged["found"].is_array());
        writeln!(out, "{judged}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn judged(reader: &str, writer: &str) -> Json {
    let mut line = json!({"reader": reader, "writer": writer});
    let parsed = (Schema::parse(reader), Schema::parse(writer));
    for (side, parsed) in [("reader_error", &parsed.0), ("writer_error", &parsed.1)] {
        if let Err(error) = parsed {
            line[side] = error.to_string().into();
        }
    }
    let (Ok(reader), Ok(writer)) = parsed else {
        return line;
    };
    line["found"] = incompatibilities(&reader, &writer)
        .iter()
        .map(|found| json!({"kind": found.kind.name(), "location": found.path, "message": found.message}))
        .collect();
    match witness(&reader, &writer) {
        Ok(witness) => {
            let hex = witness.bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            line["witness"] = json!({"hex": hex, "json": witness.json, "refusal": witness.refusal});
        }
        Err(why) => line["no_witness"] = why.to_string().into(),
    }
    line
}

/// Sebastiano Vigna's `splitmix64`.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
