//! What was probably meant by a word nobody knows.

/// The option nearest to `word`: at most two letters apart and not all of it; none if `word` is one of them. In the case of `word`
/// unless `case_sensitive`.
pub(crate) fn nearest<'o>(
    word: &str,
    options: impl IntoIterator<Item = &'o str>,
    case_sensitive: bool,
) -> Option<String> {
    let fold = |text: &str| {
        if case_sensitive {
            text.to_owned()
        } else {
            text.to_lowercase()
        }
    };
    let folded = fold(word);
    let mut best: Option<(usize, &str)> = None;
    for option in options {
        let option_folded = fold(option);
        if option_folded == folded {
            return None;
        }
        let distance = distance(&folded, &option_folded);
        // Nothing of a word that short is left otherwise.
        let most = folded.chars().count().min(3);
        if distance < best.map_or(most, |(least, _)| least) {
            best = Some((distance, option));
        }
    }
    let (_, option) = best?;
    Some(match () {
        () if case_sensitive => option.to_owned(),
        () if word == word.to_lowercase() => option.to_lowercase(),
        () if word == word.to_uppercase() => option.to_uppercase(),
        () => option.to_lowercase(),
    })
}

/// Letters to insert, drop, replace or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    // A word that long is no misspelling; it would only cost time.
    if a.len().abs_diff(b.len()) > 64 {
        return usize::MAX;
    }
    let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let replaced = cell(&above, j) + usize::from(from != to);
            let mut least = replaced.min(cell(&above, j + 1) + 1).min(cell(&row, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(to) && b.get(j - 1) == Some(from) {
                least = least.min(cell(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    cell(&above, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("kitten", "sitting", 3),
            ("frm", "from", 1),
            ("", "ab", 2),
            ("rnu", "run", 1),
            ("ab", "ba", 1),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_in_the_case_of_the_word() {
        let options = ["FROM", "RUN", "COPY"];
        assert_eq!(nearest("FRM", options, false).as_deref(), Some("FROM"));
        assert_eq!(nearest("rnu", options, false).as_deref(), Some("run"));
        assert_eq!(nearest("Cpoy", options, false).as_deref(), Some("copy"));
        assert_eq!(nearest("foobar", options, false), None);
        assert_eq!(nearest("RUN", options, false), None);
        assert_eq!(nearest("form", ["from"], true).as_deref(), Some("from"));
        assert_eq!(nearest("FORM", ["from"], true), None);
    }
}
