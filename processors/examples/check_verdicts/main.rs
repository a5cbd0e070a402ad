//! Verdicts on random changes against brute force: `check_verdicts N SEED`. Each case is a table or an
//! application's events, one or two pipelines that read it, and a change. What the verdicts say is
//! compared with what chains make of records that were really written by the old and the new schema.
//! `scripts/check-verdicts` runs it. The last line is `verdicts: N cases, W wrong`; exit code 1 if any is.
#![allow(clippy::print_stdout, reason = "it prints")]
#![allow(
    clippy::unwrap_used,
    reason = "what does not hold here is a mistake of the program itself"
)]

mod case;
mod feed;
mod judged;
mod look;
mod random;
mod run;
#[path = "../../tests/support/mod.rs"]
mod support;
mod ways;

use case::Case;
use random::Random;
use std::collections::BTreeMap;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(count)), Some(Ok(seed))) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: check_verdicts N SEED");
        return ExitCode::from(2);
    };
    let (mut wrong, mut verdicts) = (0_u64, BTreeMap::<&str, u64>::new());
    for number in 0..count {
        let of_case = seed.wrapping_add(number);
        let mut random = Random::new(of_case);
        let mut case = Case::random(&mut random);
        while !judged::valid(&case) {
            case = Case::random(&mut random);
        }
        let found = judged::check(&case);
        found.verdicts.iter().for_each(|verdict| *verdicts.entry(verdict.name()).or_default() += 1);
        if !found.wrong.is_empty() {
            wrong += 1;
            println!("seed {of_case}: check_verdicts 1 {of_case}\n{case}");
            found.wrong.iter().for_each(|why| println!("  wrong: {why}"));
        }
    }
    let told: Vec<String> =
        verdicts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    println!("seed {seed}: {}", told.join(", "));
    println!("verdicts: {count} cases, {wrong} wrong");
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
