//! Which topics words are about.

use super::{TopicReport, Writer};

/// The most topics that are told at once.
pub const CATALOG_FOUND_MAX: usize = 1_000;

/// The topics in which all of these words are found, whatever their case, those first that have them in
/// their names; without words, all.
pub(crate) fn found(reports: Vec<TopicReport>, words: &str) -> Vec<TopicReport> {
    let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
    let ranked = reports.into_iter().filter_map(|report| Some((rank(&report, &words)?, report)));
    let mut ranked: Vec<(usize, TopicReport)> = ranked.collect();
    // The order of names stays within a rank.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, report)| report).collect()
}

/// The sum of how far each word is from the topic's name; none if one is not found.
fn rank(report: &TopicReport, words: &[String]) -> Option<usize> {
    let texts = texts(report);
    let place = |word: &String| {
        let mut levels = texts.iter();
        levels.position(|texts| texts.iter().any(|text| text.contains(word)))
    };
    words.iter().map(place).sum()
}

/// What can be found, in lower case: names, tags and owner, names of fields with their tags,
/// descriptions.
fn texts(report: &TopicReport) -> [Vec<String>; 4] {
    let mut names = vec![report.topic.clone()];
    names.extend(report.published_as.clone());
    match &report.written_by {
        Writer::Table { source, table } => names.push(format!("{source} {table}")),
        Writer::Pipeline { pipeline, output, .. } => names.push(format!("{pipeline} {output}")),
        Writer::Others => {}
    }
    let of_topic = report.tags.iter().chain(&report.owner).cloned().collect();
    let fields = report.fields.iter();
    let of_fields = fields.clone().flat_map(|field| field.tags.iter().chain([&field.path]));
    let described = fields.filter_map(|field| field.description.as_ref());
    let described = described.chain(&report.description).cloned().collect();
    let texts = [names, of_topic, of_fields.cloned().collect(), described];
    texts.map(|texts| texts.iter().map(|text: &String| text.to_lowercase()).collect())
}

#[cfg(test)]
mod tests {
    use super::super::FieldReport;
    use super::*;

    fn report(topic: &str, field: &str, description: &str, tag: &str) -> TopicReport {
        let (source, table) = ("shop".to_owned(), "public.t".to_owned());
        TopicReport {
            topic: topic.to_owned(),
            published_as: None,
            owner: Some("Sales".into()),
            description: None,
            tags: Vec::new(),
            written_by: Writer::Table { source, table },
            read_by: Vec::new(),
            key: Vec::new(),
            fields: vec![FieldReport {
                column: None,
                path: field.to_owned(),
                data_type: "string".into(),
                nullable: true,
                description: Some(description.to_owned()),
                tags: vec![tag.to_owned()],
                masked: false,
            }],
            key_schema: None,
            value_schema: None,
            rate_per_s: None,
            newest_at_ms: None,
            freshness_ms: None,
            schemas_unknown: None,
        }
    }

    #[test]
    fn words_are_found_in_names_fields_tags_and_descriptions() {
        let all = vec![
            report("a.customers", "email", "Where to WRITE to", "pii"),
            report("b.mails", "body", "an email's text", "free"),
            report("c.email", "id", "", "none"),
        ];
        let topics = |words: &str| {
            let found = found(all.clone(), words);
            found.into_iter().map(|report| report.topic).collect::<Vec<_>>()
        };
        assert_eq!(topics("EMAIL"), ["c.email", "a.customers", "b.mails"]);
        assert_eq!(topics("email pii"), ["a.customers"]);
        assert_eq!(topics("write"), ["a.customers"]);
        assert_eq!(topics("sales public.t"), ["a.customers", "b.mails", "c.email"]);
        assert_eq!(topics("").len(), 3);
        assert!(topics("nothing").is_empty());
    }
}
