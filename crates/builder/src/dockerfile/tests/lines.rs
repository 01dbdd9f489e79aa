use super::*;

#[test]
fn a_file_as_a_beginner_writes_it() {
    let file = ok(
        "FROM python:3.10-slim as Build \t\r\nWORKDIR /app\r\nCOPY requirements.txt app.py ./\r\n\
                   RUN pip install \\\r\n    -r requirements.txt\r\n\r\n# run it\r\nCMD [\"python\", \"app.py\"]\r\n",
    );
    let [stage] = file.stages.as_slice() else {
        panic!()
    };
    assert_eq!(stage.from.image.text, "python:3.10-slim");
    assert_eq!(
        stage.from.name.as_ref().map(|name| name.text.as_str()),
        Some("build")
    );
    assert_eq!(stage.from.source, "FROM python:3.10-slim as Build");
    let [workdir, copy, run, cmd] = stage.instructions.as_slice() else {
        panic!()
    };
    assert!(matches!(&workdir.kind, InstructionKind::Workdir(word) if word.text == "/app"));
    let InstructionKind::Copy(copy) = &copy.kind else {
        panic!()
    };
    assert_eq!(copy.destination.text, "./");
    assert_eq!(copy.sources.len(), 2);
    let InstructionKind::Run(run_line) = &run.kind else {
        panic!()
    };
    assert_eq!(
        run_line.command,
        Command::Shell("pip install     -r requirements.txt".into())
    );
    assert_eq!(run.source, "RUN pip install -r requirements.txt");
    assert_eq!((run.span.start.line, run.span.end.line), (4, 5));
    assert_eq!(
        cmd.kind,
        InstructionKind::Cmd(Command::Exec(vec!["python".into(), "app.py".into()]))
    );
    assert_eq!(cmd.comments, ["run it"]);
}

#[test]
fn errors_say_where_and_what_was_meant() {
    assert_eq!(
        parse("FROM a\nCPOY x y\nCOPY --form=b x y\n")
            .expect_err("")
            .to_string(),
        "dockerfile parse error on line 2: unknown instruction: CPOY (did you mean COPY?)\n\
         2 | CPOY x y\n  | ^^^^\n\n\
         dockerfile parse error on line 3: unknown flag: --form (did you mean from?)\n\
         3 | COPY --form=b x y\n  |      ^^^^^^"
    );
}

#[test]
fn directives() {
    let file = ok(
        "#!/usr/bin/env build\n# Syntax = docker/dockerfile:1 \n#escape=`\n# check=skip=all\nFROM a\nRUN a `\n b \\\n",
    );
    assert_eq!(
        file.directives
            .syntax
            .as_ref()
            .map(|word| word.text.as_str()),
        Some("docker/dockerfile:1")
    );
    let span = file
        .directives
        .syntax
        .as_ref()
        .map(|word| (word.span.start.line, word.span.start.column));
    assert_eq!(span, Some((2, 12)));
    assert_eq!(file.directives.escape, '`');
    assert_eq!(
        file.directives.check.map(|word| word.text),
        Some("skip=all".to_owned())
    );
    let InstructionKind::Run(run) = &file.stages[0].instructions[0].kind else {
        panic!()
    };
    assert_eq!(run.command, Command::Shell("a  b \\".into()));
}

#[test]
fn directives_end_at_the_first_other_line() {
    for head in ["# a comment\n", "\n", "# unknown=x\n", "#\n", "ARG a\n"] {
        let file = ok(&format!("{head}# escape=`\nFROM a"));
        assert_eq!(file.directives.escape, '\\', "{head:?}");
    }
}

#[test]
fn directives_that_are_wrong() {
    assert_eq!(
        errors("# escape=x\nFROM a"),
        ["dockerfile parse error on line 1: invalid escape token 'x' does not match ` or \\"]
    );
    assert_eq!(
        errors("# escape=`\n# escape=`\nFROM a"),
        ["dockerfile parse error on line 2: only one escape parser directive can be used"]
    );
    assert_eq!(
        errors("# check=skpi=all\nFROM a"),
        ["dockerfile parse error on line 1: invalid check option \"skpi\""]
    );
}

#[test]
fn continuation_lines() {
    for (text, expected) in [
        ("RUN a \\\n  b", "a   b"),
        ("RUN a\\\nb", "ab"),
        ("RUN a \\  \t\n b", "a  b"),
        ("RUN a \\\n# no\n  # no either\n b", "a  b"),
        ("RUN a \\\n\n \t\n b", "a  b"),
        ("RUN a \\\r\n b\r\n", "a  b"),
        ("RUN \\\n a", "a"),
        ("\\\nRUN a", "a"),
        ("RUN a \\", "a"),
        ("RUN a \\\\", "a \\\\"),
        ("RUN a # no comment \\\n b", "a # no comment  b"),
        ("R\\\nUN a", "a"),
        ("  RUN a", "a"),
        ("RUN\ta", "a"),
    ] {
        let InstructionKind::Run(run) = only(text) else {
            panic!("{text}")
        };
        assert_eq!(run.command, Command::Shell(expected.into()), "{text:?}");
    }
}

#[test]
fn empty_continuation_lines_are_told_of() {
    let parsed = parse("FROM a\nRUN x \\\n\n y\nRUN z \\\n# c\n y").expect("a file");
    let told: Vec<_> = parsed.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["NoEmptyContinuation: Empty continuation line (line 4)"]
    );
}

#[test]
fn places_are_those_of_the_file() {
    let body = body("COPY ä \\\n   b \\\n   c/\n\n  run x");
    let InstructionKind::Copy(copy) = &body[0].kind else {
        panic!()
    };
    let at = |word: &Word| {
        (
            word.span.start.line,
            word.span.start.column,
            word.span.end.line,
            word.span.end.column,
        )
    };
    let Source::Path(second) = &copy.sources[1] else {
        panic!()
    };
    assert_eq!(at(second), (3, 4, 3, 5));
    assert_eq!(at(&copy.destination), (4, 4, 4, 6));
    assert_eq!(body[0].source, "COPY ä b c/");
    assert_eq!((body[1].span.start.line, body[1].span.start.column), (6, 3));
    assert_eq!(body[1].source, "run x");
}

#[test]
fn sources_keep_words_apart_or_together_as_they_were() {
    for (text, expected) in [
        ("RUN a \\\n      b", "RUN a b"),
        ("RUN a\\\n      b", "RUN a b"),
        ("RUN a\\\nb", "RUN ab"),
        ("RUN a \\\n\\\n b", "RUN a b"),
        ("RUN  two  blanks", "RUN  two  blanks"),
    ] {
        assert_eq!(body(text)[0].source, expected, "{text:?}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_file() {
    assert_eq!(ok("\u{feff}FROM a").stages.len(), 1);
    assert_eq!(ok("\u{feff}# escape=`\nFROM a").directives.escape, '`');
}

#[test]
fn comments_right_above_are_kept() {
    let file = ok("# far\n\n# one\n#two \nARG a\n# x\n#\n# y\nFROM a\nRUN b");
    assert_eq!(file.global_args[0].comments, ["one", "two"]);
    assert_eq!(file.stages[0].from.comments, ["y"]);
    assert!(file.stages[0].instructions[0].comments.is_empty());
}
