//! What may be a name, and which name somebody may have meant.

use super::limits::NAME_CHARS_MAX;

/// The most characters of a text that a message repeats.
const SHOWN_CHARS_MAX: usize = 64;
/// The most names that a message lists.
const LISTED_MAX: usize = 24;

/// What [`name`] takes.
pub(super) const NAME: &str = "1 to 64 of a-z A-Z 0-9 _ -";
/// What [`is_topic_name`](tidemesh_model::is_topic_name) takes.
pub(super) const TOPIC: &str = "1 to 249 of a-z A-Z 0-9 . _ -, and not . or ..";

/// Whether a text can be the name of a document, an input, a processor or a sink.
pub(super) fn name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(fits)
}

/// A text as a message repeats it: in backquotes, and cut if it is long.
pub(crate) fn shown(text: &str) -> String {
    let mut begin: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if begin.len() < text.len() {
        begin.push('…');
    }
    format!("`{}`", begin.escape_debug())
}

/// What to say where a name is none of those that there are.
pub(crate) fn instead_of<'n>(name: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    if let Some(nearest) = nearest(name, known.clone()) {
        return format!("did you mean {}?", shown(nearest));
    }
    let listed: Vec<_> = known.clone().take(LISTED_MAX).map(shown).collect();
    let more = if known.count() > LISTED_MAX { ", …" } else { "" };
    match listed.as_slice() {
        [] => "there is none".to_owned(),
        [only] => format!("there is only {only}"),
        _ => format!("there are {}{more}", listed.join(", ")),
    }
}

/// The name that a few slips of the pen turn into the one that was written.
pub(crate) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if name.chars().count() > SHOWN_CHARS_MAX {
        return None;
    }
    let far = |known: &str| distance(&name.to_lowercase(), &known.to_lowercase());
    let length = name.chars().count();
    let near = known
        .filter(|known| known.len() <= 4 * SHOWN_CHARS_MAX)
        // A name that is so much longer or shorter is no slip; there may be thousands of topics.
        .filter(|known| known.chars().count().abs_diff(length) <= slips_max(known))
        .map(|known| (far(known), known))
        .filter(|(far, known)| *far <= slips_max(known))
        .min_by_key(|(far, _)| *far);
    near.map(|(_, known)| known)
}

fn slips_max(known: &str) -> usize {
    match known.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        6..=8 => 2,
        _ => 3,
    }
}

/// How many characters are added, left out, changed or exchanged with the next one (optimal string
/// alignment).
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<_> = one.chars().collect();
    let other: Vec<_> = other.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let changed = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            let exchanged =
                i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
            if exchanged {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let known = ["processors", "sinks", "inputs", "on_error"];
        for (written, meant) in [
            ("procesors", "processors"),
            ("sink", "sinks"),
            ("Inputs", "inputs"),
            ("onerror", "on_error"),
        ] {
            let help = instead_of(written, known.into_iter());
            assert_eq!(help, format!("did you mean `{meant}`?"));
        }
        let help = instead_of("outputs_and_more", known.into_iter());
        assert_eq!(help, "there are `processors`, `sinks`, `inputs`, `on_error`");
    }

    #[test]
    fn the_distance_counts_what_is_added_left_out_and_changed() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("same", "same"), 0);
        assert_eq!(distance("kafak", "kafka"), 1);
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(shown(&"x".repeat(65)), format!("`{}…`", "x".repeat(64)));
    }
}
