//! "Did you mean": the known name nearest to one that is not known.

/// The number of single-character insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // The first row and column count what it takes to make a word of nothing; the rest is filled below.
    let mut rows: Vec<Vec<usize>> = (0..=a.len()).map(|i| (i..=i + b.len()).collect()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// The known name nearest to `name`, if it is near enough to be a slip of the fingers; the first of equals.
pub(crate) fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let allowed = (name.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        // A name of a very different length is no slip, and not worth the table.
        .filter(|candidate| candidate.chars().count().abs_diff(name.chars().count()) <= allowed)
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|&(distance, _)| distance <= allowed)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let known = ["orders", "order-items", "payments"];
        assert_eq!(closest("odrers", known), Some("orders"));
        assert_eq!(closest("Orders", known), Some("orders"));
        assert_eq!(closest("payment", known), Some("payments"));
        assert_eq!(closest("shipments-eu", known), None);
        assert_eq!(closest("x", known), None);
    }
}
