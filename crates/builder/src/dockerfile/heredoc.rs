//! Marks of heredocs on a line: `<<EOF`, `<<-EOF`, `3<<"EOF"`.

use super::shell::{Options, run};

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// Without quotes.
    pub name: String,
    /// Nothing of it was quoted.
    pub expand: bool,
    pub strip_tabs: bool,
}

/// The marks on a line, in order. A line whose quotes or substitutions do not match has none. The escape character
/// is always a backslash here, as the shell that reads the line has it.
pub(super) fn marks(line: &str) -> Vec<Mark> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let options = Options {
        raw_quotes: true,
        raw_escapes: true,
        keep_unset: true,
        ..Options::default()
    };
    let words = run(line, &|_| None, options)
        .map(|expanded| expanded.words)
        .unwrap_or_default();
    words.iter().filter_map(|word| mark(word)).collect()
}

/// The word as a mark, if it is one.
pub(super) fn mark(word: &str) -> Option<Mark> {
    let rest = word
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .strip_prefix("<<")?;
    let (rest, strip_tabs) = match rest.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name = only_word(rest, false)?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    // A word with fewer quotes once they are removed had some that meant something.
    let expand = quotes(&name) == quotes(&only_word(rest, true)?);
    Some(Mark {
        name,
        expand,
        strip_tabs,
    })
}

fn only_word(text: &str, raw_quotes: bool) -> Option<String> {
    let options = Options {
        raw_quotes,
        keep_unset: true,
        ..Options::default()
    };
    let mut words = run(text, &|_| None, options).ok()?.words;
    if words.len() > 1 { None } else { words.pop() }
}

/// `content` without the tabs that begin its lines.
pub(super) fn without_tabs(content: &str) -> String {
    content
        .split_inclusive('\n')
        .map(|line| line.trim_start_matches('\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<(String, bool, bool)> {
        marks(line)
            .into_iter()
            .map(|mark| (mark.name, mark.expand, mark.strip_tabs))
            .collect()
    }

    #[test]
    fn marks_of_every_kind() {
        let eof = |expand, strip| vec![("EOF".to_owned(), expand, strip)];
        assert_eq!(found("RUN <<EOF"), eof(true, false));
        assert_eq!(found("RUN << EOF"), eof(true, false));
        assert_eq!(found("RUN <<-EOF"), eof(true, true));
        assert_eq!(found("RUN <<'EOF'"), eof(false, false));
        assert_eq!(found("RUN <<-\"EOF\""), eof(false, true));
        assert_eq!(found("RUN <<E'O'F"), eof(false, false));
        assert_eq!(found("RUN 3<<EOF"), eof(true, false));
        assert_eq!(found("RUN cat <<EOF > x"), eof(true, false));
        assert_eq!(
            found("RUN cat <<EOF>x"),
            vec![("EOF>x".to_owned(), true, false)]
        );
        assert_eq!(found("RUN cat <<$X"), vec![("$X".to_owned(), true, false)]);
        for (line, name, expand) in [
            ("RUN <<'one two'", "one two", false),
            ("RUN <<it\\'s", "it's", true),
            ("RUN <<'it'\\'s", "it's", false),
            ("RUN <<$X", "$X", true),
            ("RUN <<  E  > out", "E", true),
            ("COPY <<a.txt /x", "a.txt", true),
        ] {
            assert_eq!(found(line), [(name.to_owned(), expand, false)], "{line}");
        }
        let names: Vec<_> = found("COPY <<a <<b /x/")
            .into_iter()
            .map(|(name, ..)| name)
            .collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn what_only_looks_like_a_mark() {
        for line in [
            "RUN cat <<< EOF",
            "RUN cat <<<EOF",
            "RUN echo \"<<EOF\"",
            "RUN echo '<<EOF'",
            "RUN echo \\<<EOF",
            "RUN a<<EOF",
            "RUN echo $((1<<2))",
            "RUN echo 'open <<EOF",
            "RUN <<",
            "RUN <<\"\"",
            "RUN echo ${x <<EOF",
        ] {
            assert_eq!(found(line), [], "{line}");
        }
    }

    #[test]
    fn tabs_are_stripped_from_each_line() {
        assert_eq!(without_tabs("\t\ta\n\t b\t\nc\n\t\n"), "a\n b\t\nc\n\n");
    }
}
