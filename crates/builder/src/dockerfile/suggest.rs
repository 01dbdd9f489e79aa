//! What was probably meant by a word nobody knows.

/// The option nearest to `word`: at most two letters apart; none if `word` is one of them. In the case of `word`
/// unless `case_sensitive`.
pub(super) fn nearest<'o>(
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
        if distance < best.map_or(3, |(least, _)| least) {
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

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // A word that long is no misspelling; it would only cost time.
    if a.len().abs_diff(b.len()) > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (to, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let replaced = corner + usize::from(from != *to);
            corner = *cell;
            left = replaced.min(corner + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
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
