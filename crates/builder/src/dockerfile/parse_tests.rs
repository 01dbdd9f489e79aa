use super::*;

fn ok(text: &str) -> Dockerfile {
    parse(text).unwrap_or_else(|errors| panic!("{errors}")).file
}

/// The instructions after `FROM a`.
fn body(text: &str) -> Vec<Instruction> {
    let mut file = ok(&format!("FROM a\n{text}"));
    file.stages.remove(0).instructions
}

fn only(text: &str) -> InstructionKind {
    let mut body = body(text);
    assert_eq!(body.len(), 1, "{body:?}");
    body.remove(0).kind
}

fn errors(text: &str) -> Vec<String> {
    parse(text)
        .expect_err(text)
        .errors()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

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
