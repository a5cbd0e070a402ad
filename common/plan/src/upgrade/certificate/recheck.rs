//! The second look at a verdict. It calls nothing that made it.

use super::facts::{Facts, InputFacts, OutputFacts, Raw};
use super::fields::{gets, same_fields, same_key, same_units};
use super::{CERTIFICATE_VERSION, Certificate, Fingerprint, InputFact, OutputFact, Pair};
use crate::upgrade::{Snapshot, Verdict};
use tidemesh_avro::compat::{CompatibilityLevel, check_level};
use tidemesh_avro::schema::Schema;

/// Checks a certificate: that it is about these facts, that what it says of them is so, and that its
/// verdict follows. What only SQL can tell, such as why a new plan cannot be made, is taken as said.
///
/// # Errors
///
/// All that does not hold, in words.
pub fn recheck(certificate: &Certificate, facts: &Facts) -> Result<(), Vec<String>> {
    let mut check = Check { wrong: Vec::new() };
    check.head(certificate, facts);
    check.inputs(certificate, facts);
    check.outputs(certificate, facts);
    check.verdict(certificate, facts);
    if check.wrong.is_empty() { Ok(()) } else { Err(check.wrong) }
}

struct Check {
    wrong: Vec<String>,
}

impl Check {
    fn that(&mut self, holds: bool, wrong: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(wrong());
        }
    }

    fn head(&mut self, certificate: &Certificate, facts: &Facts) {
        self.that(certificate.version == CERTIFICATE_VERSION, || "it is of another form".into());
        self.that(certificate.digest == facts.digest, || "another plan runs".into());
        self.that(certificate.new_digest == facts.new_digest, || "the new plan is another".into());
        self.that(certificate.may_change == facts.may_change, || "the evolution is another".into());
    }

    fn inputs(&mut self, certificate: &Certificate, facts: &Facts) {
        let named = certificate.inputs.iter().filter(|fact| facts.inputs.contains_key(&fact.input));
        let all = named.count() == facts.inputs.len();
        self.that(all && certificate.inputs.len() == facts.inputs.len(), || {
            "the inputs are others".into()
        });
        for fact in &certificate.inputs {
            if let Some(known) = facts.inputs.get(&fact.input) {
                self.input(fact, known);
            }
        }
    }

    fn input(&mut self, fact: &InputFact, known: &InputFacts) {
        let name = &fact.input;
        let next = known.next.as_ref().map(|(topic, raw)| (topic.clone(), pair(raw)));
        let same_next = match (&fact.next, &next) {
            (None, None) => true,
            (Some((one, pair)), Some((other, known))) => {
                one == other && Some(pair) == known.as_ref()
            }
            _ => false,
        };
        self.that(
            fact.topic == known.topic
                && Some(&fact.planned) == pair(&known.planned).as_ref()
                && fact.now == known.now.as_ref().and_then(pair)
                && same_next,
            || format!("{name}: the schemas are others"),
        );
        self.that(
            fact.consumed == known.consumed && fact.new_consumed == known.new_consumed,
            || format!("{name}: other fields are read"),
        );
        self.that(fact.readable == readable(known), || {
            format!("{name}: whether its records can be read is not so")
        });
    }

    fn outputs(&mut self, certificate: &Certificate, facts: &Facts) {
        for fact in &certificate.outputs {
            let topic = &fact.topic;
            let Some(known) = facts.outputs.get(topic) else {
                self.wrong.push(format!("{topic} is no output"));
                continue;
            };
            let history: Option<Vec<Fingerprint>> =
                known.history.iter().map(|text| fingerprint(text)).collect();
            self.that(
                Some(&fact.planned) == pair(&known.planned).as_ref()
                    && known.new.as_ref().is_none_or(|new| *new == fact.new)
                    && Some(&fact.history) == history.as_ref()
                    && fact.level == known.level.name(),
                || format!("{topic}: the schemas or the level are others"),
            );
        }
        let missing = facts.outputs.iter().find(|(topic, known)| {
            let told = certificate.outputs.iter().any(|fact| fact.topic == **topic);
            known.new.as_ref().is_some_and(|new| *new != known.planned) && !told
        });
        if let Some((topic, _)) = missing {
            self.wrong.push(format!("{topic}: its new schema is not told"));
        }
    }

    fn verdict(&mut self, certificate: &Certificate, facts: &Facts) {
        let verdict = certificate.verdict;
        let follows = match verdict {
            Verdict::Unaffected => goes_on(facts) && certificate.new_digest.is_none(),
            Verdict::Stays => goes_on(facts) && !certificate.reasons.is_empty(),
            Verdict::Upgraded => {
                certificate.may_change
                    && moves(facts).next().is_none()
                    && replaces(certificate, facts)
            }
            Verdict::Moved => moves(facts).next().is_some() && moved(certificate, facts),
            Verdict::Held => held(certificate, facts),
        };
        self.that(follows, || format!("that it is {verdict} does not follow"));
    }
}

fn fingerprint(text: &str) -> Option<Fingerprint> {
    Schema::parse(text).ok().map(|schema| Fingerprint::of(&schema))
}

fn pair(raw: &Raw) -> Option<Pair> {
    raw.parsed().map(|(key, value)| Pair::of(key.as_ref(), &value))
}

/// Whether the running plan gets what it reads from what there is now.
fn readable(known: &InputFacts) -> bool {
    let now = known.now.as_ref();
    now.is_some_and(|now| {
        *now == known.planned || gets(&known.planned, &known.consumed, now, false)
    })
}

/// The inputs that go over to a table's next topic.
fn moves(facts: &Facts) -> impl Iterator<Item = (&String, &InputFacts, &(String, Raw))> {
    let next = |(name, known)| {
        let known: &InputFacts = known;
        known.next.as_ref().filter(|_| readable(known)).map(|next| (name, known, next))
    };
    facts.inputs.iter().filter_map(next)
}

fn goes_on(facts: &Facts) -> bool {
    facts.inputs.values().all(readable) && moves(facts).next().is_none()
}

/// Whether a new plan reads what stands in the topics, and its outputs can take its records.
fn replaces(certificate: &Certificate, facts: &Facts) -> bool {
    let reads = |known: &InputFacts| match (&known.new_consumed, &known.now) {
        (Some(_), _) if known.next.is_some() && readable(known) => true,
        (Some(consumed), Some(now)) => {
            *now == known.planned || gets(now, consumed, &known.planned, true)
        }
        // An input that the new plan does not have.
        (None, _) => true,
        (Some(_), None) => false,
    };
    certificate.new_digest.as_ref().is_some_and(|new| *new != certificate.digest)
        && facts.inputs.values().all(reads)
        && certificate.outputs.iter().all(|fact| takes(fact, facts))
}

fn takes(fact: &OutputFact, facts: &Facts) -> bool {
    facts.outputs.get(&fact.topic).is_some_and(|known| compatible(fact, known))
}

/// Whether an output's subjects take the new schemas.
fn compatible(fact: &OutputFact, known: &OutputFacts) -> bool {
    let history: Option<Vec<Schema>> =
        known.history.iter().map(|text| Schema::parse(text).ok()).collect();
    let (Some(history), Some((_, new))) = (history, fact.new.parsed()) else { return false };
    let versions: Vec<(u32, &Schema)> = (1..).zip(&history).collect();
    let level = fact.level.parse().unwrap_or(CompatibilityLevel::FullTransitive);
    let same = |planned: (Option<Schema>, Schema)| {
        level.directions().is_empty() || same_units(&planned.1, &new)
    };
    known.planned.key == fact.new.key
        && check_level(level, &new, &versions).compatible()
        && known.planned.parsed().is_some_and(same)
}

fn moved(certificate: &Certificate, facts: &Facts) -> bool {
    let snapshot = |name: &String| {
        let fact = certificate.inputs.iter().find(|fact| fact.input == *name);
        fact.and_then(|fact| fact.snapshot)
    };
    let told = |(name, known, next): (&String, &InputFacts, &(String, Raw))| match snapshot(name) {
        Some(Snapshot::Needed) => true,
        Some(Snapshot::Known) => same_rows(known, &next.1) && has_same_key(known, &next.1),
        None => false,
    };
    // A plan that does other work is nobody's but one's that may change.
    let same_work = certificate.outputs.is_empty()
        && moves(facts).all(|(_, known, next)| same_rows(known, &next.1));
    moves(facts).all(told) && (certificate.may_change || same_work) && replaces(certificate, facts)
}

/// Whether the running plan's fields are the same in the next topic, whatever its key is.
fn same_rows(known: &InputFacts, next: &Raw) -> bool {
    let keyless = |raw: &Raw| Raw { key: None, value: raw.value.clone() };
    same_fields(&keyless(&known.planned), &known.consumed, &keyless(next), false)
}

fn has_same_key(known: &InputFacts, next: &Raw) -> bool {
    let both = known.planned.parsed().zip(next.parsed());
    both.is_some_and(|(one, other)| same_key(one.0.as_ref(), other.0.as_ref()))
}

/// Whether something really stands in the way, and is told.
fn held(certificate: &Certificate, facts: &Facts) -> bool {
    let stuck =
        facts.inputs.values().any(|known| !readable(known)) || moves(facts).next().is_some();
    let refused = certificate.outputs.iter().any(|fact| !takes(fact, facts));
    // A reason that is about an output is shown by its schemas.
    let shown = certificate.reasons.iter().all(|reason| match reason.rule {
        crate::upgrade::Rule::OutputKey | crate::upgrade::Rule::OutputSubject => refused,
        crate::upgrade::Rule::Pinned | crate::upgrade::Rule::Manual => !facts.may_change,
        _ => true,
    });
    stuck && shown && !certificate.reasons.is_empty() && certificate.new_digest.is_none()
}
