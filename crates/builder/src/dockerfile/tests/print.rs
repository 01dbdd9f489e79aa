use std::sync::LazyLock;

use proptest::prelude::*;
use regex::Regex;

use super::*;

/// The tree without what printing does not keep: places and sources.
fn essence(file: &Dockerfile) -> String {
    static PLACE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"span: Span \{ start: Position \{ line: \d+, column: \d+ \}, end: Position \{ line: \d+, column: \d+ \} \}|source: "(?:[^"\\]|\\.)*""#)
            .expect("a regular expression")
    });
    PLACE.replace_all(&format!("{file:?}"), "_").into_owned()
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let Ok(parsed) = parse(text) else {
        return Ok(());
    };
    let printed = print(&parsed.file);
    let again = match parse(&printed) {
        Ok(again) => again.file,
        Err(errors) => {
            return Err(TestCaseError::fail(format!(
                "{text}\n--- printed\n{printed}\n--- {errors}"
            )));
        }
    };
    prop_assert_eq!(
        essence(&parsed.file),
        essence(&again),
        "{}\n--- printed\n{}",
        text,
        printed
    );
    prop_assert_eq!(&print(&again), &printed, "{}", text);
    Ok(())
}

#[test]
fn what_is_printed_can_be_read() {
    for text in [
        "FROM a",
        "# syntax=x\n# escape=`\n# check=skip=all\nFROM --platform=$P a:b AS c\nRUN a `\n b\n",
        "# about\nARG a=1 b\n\nFROM a\n# what\n# it is\nCMD [ \"a\" ,\"b\\\"\" ]",
        "FROM a\nENV a b  c\nENV a=b c=\"d e\" f='g'\nLABEL x \"y z\nENV q r\nENV a =b",
        "FROM a\nRUN <<EOF cat <<-'X' > y\na\nEOF\n\tb\n\tX\nCOPY <<-\"E\" b <<F /d/\n\tx $y\nE\nz\nF\n",
        "FROM a\nCOPY [\"a b\", \"<<c\", \"/d\"]\nCOPY a<<b /d\nCOPY << E /x\nq\nE\nVOLUME [\"a b\", \"c\"]\nVOLUME a b",
        "FROM a\nRUN --mount=type=bind,target=\"/a b\" --network=none -- --flag\nRUN\nCMD\nENTRYPOINT []",
        "FROM a\nHEALTHCHECK --interval=5s --retries=3 CMD [\"x\"]\nHEALTHCHECK NONE\nONBUILD RUN <<E\nx\nE\nUSER u",
        "FROM a\nADD --link=false --keep-git-dir=true --unpack=false --checksum=x --exclude=a --exclude=\"b c\" d e",
        "FROM a\nCOPY --from=b --chown=1:2 --chmod=u+x --parents --link c d\nEXPOSE 80 90/udp\nSTOPSIGNAL SIGTERM",
        "FROM a\nRUN x\\ \\",
        "FROM a\nCOPY <<a\\'b <<'c\"d' <<\"e\\\"'f\" <<g\\\\h <<$X /d/\n1\na'b\n2\nc\"d\n3\ne\"'f\n4\ng\\h\n5\n$X",
        "FROM a\nARG -- --x=1\nWORKDIR -- --x\nSHELL [\"/bin/sh\"]\nMAINTAINER m <a@b>",
        "FROM a\nRUN \\\n# c\n\n  b \\\n c",
    ] {
        parse(text).unwrap_or_else(|errors| panic!("{text}: {errors}"));
        check(text).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn one_instruction_a_line() {
    let text = "# escape=`\nfrom  --platform=linux/arm64   a as B\nrun --mount=type=tmpfs,target=/x  echo `\n  hi\ncopy a b c/\n";
    let printed = print(&parse(text).expect("a file").file);
    assert_eq!(
        printed,
        "# escape=`\n\nFROM --platform=linux/arm64 a AS b\n\
         RUN --mount=type=tmpfs,target=/x echo   hi\nCOPY a b c/\n"
    );
}

/// Pieces of which most instructions are made, and what breaks them.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z/.]{1,6}",
        2 => "[ -~]{0,8}",
        1 => "\\PC{0,4}",
        2 => prop::sample::select(vec![
            "=", "\"", "'", "\\", "`", "$x", "${x:-y}", "<<EOF", "<<-'A'", "--a", "--", "[", "]", "a=b", "a=\"b c\"", "\\ ",
            "\t", "\\\n", "\\\n\n", "`\n", "#", "[\"a\", \"b\"]", "[]", "\u{a0}", "é", "80/tcp", "http://x/y",
        ]).prop_map(str::to_owned),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let keyword = prop::sample::select(vec![
        "RUN",
        "run",
        "COPY",
        "ADD",
        "ENV",
        "LABEL",
        "ARG",
        "CMD",
        "ENTRYPOINT",
        "VOLUME",
        "EXPOSE",
        "USER",
        "WORKDIR",
        "SHELL",
        "STOPSIGNAL",
        "ONBUILD",
        "ONBUILD RUN",
        "ONBUILD COPY",
        "HEALTHCHECK CMD",
        "HEALTHCHECK",
        "MAINTAINER",
        "FROM",
        "# a",
        "#",
        "",
    ]);
    let flag = prop::sample::select(vec![
        "",
        "",
        "",
        "--from=x",
        "--chown=\"a b\"",
        "--chmod='x\"y'",
        "--link",
        "--link=false",
        "--exclude=a\\ b",
        "--mount=type=cache,target=/x",
        "--network=none",
        "--platform=$x",
        "--interval=1s",
        "--retries=2",
        "--unpack",
    ]);
    (keyword, flag, prop::collection::vec(word(), 0..5))
        .prop_map(|(keyword, flag, words)| format!("{keyword} {flag} {}", words.join(" ")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parse_print_parse_is_stable(
        head in prop::sample::select(vec!["", "# escape=`\n", "# syntax=a\n", "ARG a\n", "# c\n"]),
        lines in prop::collection::vec(line(), 1..4),
        tail in prop::sample::select(vec!["", "\n", "\nx\nEOF\n", "\nx\nEOF\n\tA\nEOF\n", " \\", " `"]),
    ) {
        check(&format!("{head}FROM a\n{}{tail}", lines.join("\n")))?;
        for line in &lines {
            check(&format!("{head}FROM a\n{line}{tail}"))?;
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "(FROM|RUN|COPY|ENV|#|[ -~]|\\\\\n|\n|<<|\\PC){0,60}") {
        check(&text)?;
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.to_string().is_empty());
        }
        let _ = RunMount::parse(&text);
        let _ = exposed_ports(&text);
        let _ = parse_duration(&text);
        let _ = Expander::new('\\').expand_all(&text, &|name| Some(name.repeat(2)));
        let _ = crate::ignore::Ignore::parse(&text).map(|ignore| ignore.is_ignored("a/b", false));
    }
}
