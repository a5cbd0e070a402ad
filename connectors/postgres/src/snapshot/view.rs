//! Which transactions a view of the database has: `pg_current_snapshot()` (documentation 18,
//! chapter 9.27.8). Top-level transactions only, as `pgoutput` tells them.

/// A view, by 64-bit transaction ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// All below have ended.
    xmin: u64,
    /// None from here on had begun to end.
    xmax: u64,
    /// Those between that were in progress.
    in_progress: Vec<u64>,
}

impl View {
    /// Reads `xmin:xmax:xip,xip,…`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let mut number = || parts.next()?.parse().ok();
        let (xmin, xmax) = (number()?, number()?);
        let in_progress = parts
            .next()?
            .split(',')
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().ok())
            .collect::<Option<Vec<u64>>>()?;
        Some(Self { xmin, xmax, in_progress })
    }

    /// Whether a committed transaction of the log is in the view. The log has 32-bit ids: the one
    /// meant is the nearest to the view's end.
    pub(crate) fn sees(&self, transaction: u64) -> bool {
        let full = nearest(transaction, self.xmax);
        full < self.xmin || (full < self.xmax && !self.in_progress.contains(&full))
    }
}

const ROUND: u64 = 1 << 32;

fn nearest(short: u64, to: u64) -> u64 {
    let candidate = (to & !(ROUND - 1)) | (short & (ROUND - 1));
    if candidate > to + ROUND / 2 && candidate >= ROUND {
        candidate - ROUND
    } else if candidate + ROUND / 2 < to {
        candidate + ROUND
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_sees_what_ended_before_it() {
        let view = View::read("10:20:12,15").unwrap();
        assert!(view.sees(9) && view.sees(10) && view.sees(13) && view.sees(19));
        assert!(!view.sees(12) && !view.sees(15) && !view.sees(20) && !view.sees(25));
        assert!(View::read("10:10:").unwrap().sees(9));
    }

    #[test]
    fn short_ids_are_the_nearest_ones() {
        let base = 5 * ROUND;
        let text = format!("{}:{}:{}", base - 3, base + 3, base - 2);
        let view = View::read(&text).unwrap();
        assert!(view.sees(ROUND - 4), "before the round");
        assert!(!view.sees(ROUND - 2), "in progress, before the round");
        assert!(view.sees(2), "behind the round");
        assert!(!view.sees(3), "not begun");
    }

    #[test]
    fn what_is_no_snapshot_is_refused() {
        assert_eq!(View::read(""), None);
        assert_eq!(View::read("1:2"), None);
        assert_eq!(View::read("1:2:x"), None);
    }
}
