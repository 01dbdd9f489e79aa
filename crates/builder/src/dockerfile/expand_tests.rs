use super::*;

fn env(name: &str) -> Option<String> {
    let value = match name {
        "x" => "one",
        "empty" => "",
        "two" => "a b",
        "path" => "/usr/lib/x/y.tar.gz",
        "nl" => "a\nb",
        "star" => "a*b*c",
        "1" => "first",
        "é" => "accent",
        _ => return None,
    };
    Some(value.to_owned())
}

fn expand(word: &str) -> String {
    Expander::new('\\')
        .expand(word, &env)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn error(word: &str) -> String {
    Expander::new('\\')
        .expand(word, &env)
        .expect_err(word)
        .kind
        .to_string()
}

#[test]
fn variables_quotes_and_escapes() {
    for (word, expected) in [
        ("", ""),
        ("a", "a"),
        ("$x", "one"),
        ("${x}", "one"),
        ("a$x.b", "aone.b"),
        ("$xy", ""),
        ("${x}y", "oney"),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$1x", "firstx"),
        ("$é", "accent"),
        ("$?x", "x"),
        ("\\$x", "$x"),
        ("\\\\$x", "\\one"),
        ("a\\bc", "abc"),
        ("a\\", "a"),
        ("'$x'", "$x"),
        ("'a\\'", "a\\"),
        ("\"$x\"", "one"),
        ("\"\\$x\"", "$x"),
        ("\"a\\\"b\"", "a\"b"),
        ("\"a\\b\"", "a\\b"),
        ("\"a'b\"", "a'b"),
        ("'a\"b'", "a\"b"),
        ("a'b'\"c\"d", "abcd"),
        ("a  b", "a  b"),
        ("a<<b", "a<<b"),
        ("<", "<"),
    ] {
        assert_eq!(expand(word), expected, "{word}");
    }
}

#[test]
fn another_escape_character() {
    let expander = Expander::new('`');
    for (word, expected) in [
        ("C:\\$x", "C:\\one"),
        ("`$x", "$x"),
        ("\"a`\"b\"", "a\"b"),
        ("a``b", "a`b"),
    ] {
        assert_eq!(expander.expand(word, &env).expect(word), expected, "{word}");
    }
}

#[test]
fn defaults_alternatives_and_demands() {
    for (word, expected) in [
        ("${x:-d}", "one"),
        ("${no:-d}", "d"),
        ("${empty:-d}", "d"),
        ("${empty-d}", ""),
        ("${no-d}", "d"),
        ("${no:-}", ""),
        ("${no:-$x}", "one"),
        ("${no:-${nope:-${x}}}", "one"),
        ("${no:-\"a b\"}", "a b"),
        ("${no:-a\\}b}", "a}b"),
        ("${x:+alt}", "alt"),
        ("${no:+alt}", ""),
        ("${empty:+alt}", ""),
        ("${empty+alt}", "alt"),
        ("${no+alt}", ""),
        ("${x:?m}", "one"),
        ("${empty?m}", ""),
    ] {
        assert_eq!(expand(word), expected, "{word}");
    }
    for (word, expected) in [
        ("${no:?gone}", "no: gone"),
        ("${no?}", "no: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${empty:?$x}", "empty: one"),
    ] {
        assert_eq!(error(word), expected, "{word}");
    }
}

#[test]
fn patterns_at_either_end() {
    for (word, expected) in [
        ("${path#*/}", "usr/lib/x/y.tar.gz"),
        ("${path##*/}", "y.tar.gz"),
        ("${path%.*}", "/usr/lib/x/y.tar"),
        ("${path%%.*}", "/usr/lib/x/y"),
        ("${path%/*}", "/usr/lib/x"),
        ("${path#?}", "usr/lib/x/y.tar.gz"),
        ("${path%nope}", "/usr/lib/x/y.tar.gz"),
        ("${path#}", "/usr/lib/x/y.tar.gz"),
        ("${star#a\\*}", "b*c"),
        ("${star%\\**}", "a*b"),
        ("${star%%\\**}", "a"),
        ("${x#$x}", ""),
        ("${no#x}", ""),
        ("${path#/usr\\/}", "lib/x/y.tar.gz"),
        ("${nl%?b}", "a\nb"),
    ] {
        assert_eq!(expand(word), expected, "{word}");
    }
    assert_eq!(
        error("${x#\\a}"),
        "invalid pattern (\\a) in substitution: invalid escape '\\a'"
    );
    assert_eq!(
        error("${x:#a}"),
        "unsupported modifier (:#) in substitution"
    );
}

#[test]
fn replacements() {
    for (word, expected) in [
        ("${path/\\//-}", "-usr/lib/x/y.tar.gz"),
        ("${path//\\//-}", "-usr-lib-x-y.tar.gz"),
        ("${x/n/N}", "oNe"),
        ("${x/z/N}", "one"),
        ("${x/o*e/}", ""),
        ("${x/?/-}", "-ne"),
        ("${x//?/-}", "---"),
        ("${x/n/}", "oe"),
        ("${x/n/$1}", "ofirste"),
        ("${star//\\*/+}", "a+b+c"),
        ("${no/a/b}", ""),
        ("${x//./-}", "one"),
    ] {
        assert_eq!(expand(word), expected, "{word}");
    }
    assert_eq!(error("${x/a"), "syntax error: missing '/' in ${}");
    assert_eq!(error("${x/a/b"), "syntax error: missing '}'");
}

#[test]
fn what_is_no_substitution() {
    for (word, expected) in [
        ("${", "syntax error: missing '}'"),
        ("${x", "syntax error: missing '}'"),
        ("${x:-a", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${:-a}", "syntax error: bad substitution"),
        ("${{x}}", "syntax error: bad substitution"),
        ("${x!a}", "unsupported modifier (!) in substitution"),
        ("${x:a}", "unsupported modifier (:a) in substitution"),
        (
            "'a",
            "unexpected end of statement while looking for matching single-quote",
        ),
        (
            "\"a",
            "unexpected end of statement while looking for matching double-quote",
        ),
        (
            "\"a\\",
            "unexpected end of statement while looking for matching double-quote",
        ),
    ] {
        assert_eq!(error(word), expected, "{word}");
    }
    let whole = Expander::new('\\')
        .expand("a${", &env)
        .expect_err("open")
        .to_string();
    assert_eq!(
        whole,
        "failed to process \"a${\": syntax error: missing '}'"
    );
    let deep = format!("{}x{}", "${a:-".repeat(5000), "}".repeat(5000));
    assert_eq!(error(&deep), "substitutions are nested too deeply");
}

#[test]
fn nothing_grows_without_bound() {
    let large = "x".repeat(1 << 20);
    let env = |_: &str| Some(large.clone());
    let expander = Expander::new('\\');
    assert_eq!(expander.expand("$a", &env).expect("fits").len(), 1 << 20);
    for word in ["$a$a", "\"$a$a\"", "${a//x/$a}", "${b:+$a$a}"] {
        let error = expander.expand(word, &env).expect_err(word);
        assert_eq!(error.kind, ExpandErrorKind::TooLong, "{word}");
    }
    assert_eq!(expander.expand_for_display("$a$a", &env), "$a$a");
}

#[test]
fn words() {
    for (word, expected) in [
        ("a b", vec!["a", "b"]),
        (" a  b ", vec!["a", "b"]),
        ("$two", vec!["a", "b"]),
        ("x$two.y", vec!["xa", "b.y"]),
        ("\"$two\"", vec!["a b"]),
        ("'a b' c", vec!["a b", "c"]),
        ("a\\ b", vec!["a b"]),
        ("$no", vec![]),
        ("\"\"", vec![]),
        ("a$empty", vec!["a"]),
        ("p${no:-q}", vec!["pq"]),
    ] {
        assert_eq!(
            Expander::new('\\').expand_words(word, &env).expect(word),
            expected,
            "{word}"
        );
    }
}

#[test]
fn heredocs_keep_their_quotes() {
    let expander = Expander::new('`');
    for (content, expected) in [
        ("a \"$x\" '$x'\n", "a \"one\" 'one'\n"),
        ("\\$x `$x\n", "$x `one\n"),
        ("it's $no.\n", "it's .\n"),
        ("${x:-\"q\"} <<EOF\n", "one <<EOF\n"),
    ] {
        assert_eq!(
            expander.expand_heredoc(content, &env).expect(content),
            expected,
            "{content}"
        );
    }
}

#[test]
fn what_is_shown_keeps_all_but_known_variables() {
    let expander = Expander::new('\\');
    for (text, expected) in [
        (
            "RUN echo \"$x\" '$x' $no ${no} ${no:-d} ${x}",
            "RUN echo \"one\" '$x' $no ${no} ${no:-d} one",
        ),
        ("RUN echo 'open $x", "RUN echo 'open $x"),
        (
            "RUN ${no/a/b} ${no//a/b} ${no%%a}",
            "RUN ${no/a/b} ${no//a/b} ${no%%a}",
        ),
    ] {
        assert_eq!(expander.expand_for_display(text, &env), expected, "{text}");
    }
}

#[test]
fn names_of_variables() {
    let names = |word| {
        Expander::new('\\')
            .names(word)
            .expect("a word")
            .into_iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names("$a ${b:-$c} '$d' \"$e\" \\$f $"),
        ["a", "b", "c", "e"]
    );
    let expanded = Expander::new('\\')
        .expand_all("$x$no", &env)
        .expect("a word");
    assert_eq!(expanded.matched.into_iter().collect::<Vec<_>>(), ["x"]);
    assert_eq!(expanded.unmatched.into_iter().collect::<Vec<_>>(), ["no"]);
}
