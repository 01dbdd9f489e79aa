use super::*;

#[test]
fn heredocs_of_run() {
    let run = |text: &str| match only(text) {
        InstructionKind::Run(run) => run,
        other => panic!("{other:?}"),
    };
    let one = run("RUN <<EOF\napt-get update\n# kept\n\n  $X \\\nEOF\n");
    assert_eq!(one.command, Command::Shell("<<EOF".into()));
    assert_eq!(
        one.heredocs[0].content,
        "apt-get update\n# kept\n\n  $X \\\n"
    );
    assert_eq!(
        (
            one.heredocs[0].span.start.line,
            one.heredocs[0].span.end.line
        ),
        (3, 7)
    );
    let cat = run("RUN cat <<'A' > x && cat <<-B \\\n  >> x\none\nA\n\t\ttwo\n\tB\n");
    assert_eq!(
        cat.command,
        Command::Shell("cat <<'A' > x && cat <<-B   >> x".into())
    );
    let [a, b] = cat.heredocs.as_slice() else {
        panic!()
    };
    assert_eq!(
        (a.content.as_str(), a.expand, a.strip_tabs),
        ("one\n", false, false)
    );
    assert_eq!(
        (b.content.as_str(), b.expand, b.strip_tabs),
        ("two\n", true, true)
    );
    assert!(run("RUN cat <<< EOF").heredocs.is_empty());
    assert!(run("RUN [\"<<EOF\"]").heredocs.is_empty());
    let crlf = run("RUN <<EOF\r\na\r\nEOF\r\n");
    assert_eq!(crlf.heredocs[0].content, "a\r\n");
    let body = body("RUN <<EOF\nFROM no\nEOF\nUSER x");
    assert_eq!(body.len(), 2);
    assert_eq!(
        (
            body[0].span.start.line,
            body[0].span.end.line,
            body[0].source.as_str()
        ),
        (2, 4, "RUN <<EOF")
    );
}

#[test]
fn heredocs_that_do_not_end() {
    assert_eq!(
        parse("FROM a\nRUN cat <<EOF\nx\n EOF\n")
            .expect_err("no end")
            .to_string(),
        "dockerfile parse error on line 2: unterminated heredoc\n2 | RUN cat <<EOF\n  |         ^^^^^"
    );
}

#[test]
fn heredocs_of_copy() {
    let copy = |text: &str| match only(text) {
        InstructionKind::Copy(copy) | InstructionKind::Add(copy) => copy,
        other => panic!("{other:?}"),
    };
    let two = copy("COPY --chmod=755 <<a.txt path <<-\"b\" /dir/\nA $X\na.txt\n\tB\n\tb\n");
    let [Source::Heredoc(a), Source::Path(path), Source::Heredoc(b)] = two.sources.as_slice()
    else {
        panic!()
    };
    assert_eq!(
        (a.name.as_str(), a.content.as_str(), a.expand),
        ("a.txt", "A $X\n", true)
    );
    assert_eq!(
        (b.name.as_str(), b.content.as_str(), b.expand),
        ("b", "B\n", false)
    );
    assert_eq!(
        (path.text.as_str(), two.destination.text.as_str()),
        ("path", "/dir/")
    );
    assert_eq!(copy("ADD <<E /x\nE").sources.len(), 1);
    assert_eq!(
        errors("FROM a\nCOPY x <<E\ny\nE\nRUN z"),
        ["dockerfile parse error on line 2: COPY cannot accept a heredoc as a destination"]
    );
}
