use super::*;

#[test]
fn from() {
    let file = ok(
        "ARG V=1\nFROM --platform=$BUILDPLATFORM a:${V} AS Base\nFROM base\nFROM scratch as x-1.y_z\n",
    );
    assert_eq!(file.global_args.len(), 1);
    let from = &file.stages[0].from;
    assert_eq!(
        (
            from.image.text.as_str(),
            from.name.as_ref().expect("a name").text.as_str()
        ),
        ("a:${V}", "base")
    );
    assert_eq!(
        from.platform.as_ref().expect("a platform").text,
        "$BUILDPLATFORM"
    );
    assert!(file.stages[1].from.name.is_none());
    assert_eq!(
        file.stages[2].from.name.as_ref().expect("a name").text,
        "x-1.y_z"
    );
    for (text, message) in [
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a # b", "FROM requires either one or three arguments"),
        ("FROM a IS b", "FROM requires either one or three arguments"),
        (
            "FROM a AS b c",
            "FROM requires either one or three arguments",
        ),
        (
            "FROM a AS 1b",
            "invalid name for build stage: \"1b\", name can't start with a number or contain symbols",
        ),
        (
            "FROM a AS B/c",
            "invalid name for build stage: \"B/c\", name can't start with a number or contain symbols",
        ),
        (
            "FROM --platfrom=x a",
            "unknown flag: --platfrom (did you mean platform?)",
        ),
        ("FROM --platform a", "missing a value on flag: --platform"),
    ] {
        assert_eq!(
            errors(text),
            [format!("dockerfile parse error on line 1: {message}")],
            "{text}"
        );
    }
}

#[test]
fn files_without_a_stage() {
    for (text, message) in [
        (
            "",
            "dockerfile parse error on line 1: file with no instructions",
        ),
        (
            "# only a comment\n\n",
            "dockerfile parse error on line 2: file with no instructions",
        ),
        (
            "ARG a",
            "dockerfile parse error on line 1: dockerfile contains no stages to build",
        ),
        (
            "RUN a\nRUN b\nFROM c",
            "dockerfile parse error on line 1: no build stage in current context",
        ),
    ] {
        assert_eq!(errors(text), [message], "{text:?}");
    }
}

#[test]
fn exec_and_shell_forms() {
    let exec =
        |words: &[&str]| Command::Exec(words.iter().map(|word| (*word).to_owned()).collect());
    for (text, expected) in [
        ("CMD [\"a\", \"b c\"]", exec(&["a", "b c"])),
        ("CMD [ ]", exec(&[])),
        ("CMD [\"\\u00e4\\n\"]", exec(&["ä\n"])),
        ("CMD [\"a\", \\\n \"b\"]", exec(&["a", "b"])),
        ("CMD a b", Command::Shell("a b".into())),
        ("CMD ['a']", Command::Shell("['a']".into())),
        ("CMD [\"a\",]", Command::Shell("[\"a\",]".into())),
        ("CMD [\"a\"] b", Command::Shell("[\"a\"] b".into())),
        ("CMD [ -d x ] && y", Command::Shell("[ -d x ] && y".into())),
        ("CMD", Command::Shell(String::new())),
    ] {
        assert_eq!(only(text), InstructionKind::Cmd(expected), "{text}");
    }
    for text in [
        "CMD [\"a\", 1]",
        "RUN [\"a\", [\"b\"]]",
        "ENTRYPOINT [null]",
        "COPY [1]",
        "VOLUME [{}]",
        "SHELL [1]",
    ] {
        let message = "when using JSON array syntax, arrays must be comprised of strings only";
        assert_eq!(
            errors(&format!("FROM a\n{text}")),
            [format!("dockerfile parse error on line 2: {message}")]
        );
    }
}

#[test]
fn copy_and_add() {
    let InstructionKind::Copy(copy) = only(
        "COPY --from=b --chown=1:2 --chmod=u+x --link --parents=true --exclude=*.md --exclude=\"a b\" x y /z/",
    ) else {
        panic!()
    };
    assert_eq!(copy.from.expect("from").text, "b");
    assert_eq!(copy.chown.expect("chown").text, "1:2");
    assert_eq!(copy.chmod.expect("chmod").text, "u+x");
    assert!(copy.link && copy.parents);
    assert_eq!(texts(&copy.exclude), ["*.md", "a b"]);
    assert_eq!(copy.sources.len(), 2);
    let InstructionKind::Add(add) =
        only("ADD --checksum=sha256:x --keep-git-dir=false --unpack --link=FALSE https://x/y z")
    else {
        panic!()
    };
    assert_eq!(add.checksum.expect("checksum").text, "sha256:x");
    assert_eq!(
        (add.keep_git_dir, add.unpack, add.link),
        (Some(false), Some(true), false)
    );
    let InstructionKind::Copy(json) = only("COPY [\"a b\", \"c\", \"/d e/\"]") else {
        panic!()
    };
    assert_eq!(
        (json.sources.len(), json.destination.text.as_str()),
        (2, "/d e/")
    );
    for (text, message) in [
        (
            "COPY",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        (
            "ADD a",
            "ADD requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        (
            "COPY [\"a\"]",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        (
            "COPY --link=maybe a b",
            "expecting boolean value for flag --link, not: maybe",
        ),
        ("COPY --link= a b", "missing a value on flag: --link"),
        (
            "COPY --from=a --from=b a b",
            "duplicate flag specified: --from",
        ),
        ("ADD --from=a a b", "unknown flag: --from"),
        ("COPY --checksum=a a b", "unknown flag: --checksum"),
        (
            "COPY --chwon=a a b",
            "unknown flag: --chwon (did you mean chown?)",
        ),
        (
            "COPY --from=$X a b",
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
        ),
    ] {
        assert_eq!(
            errors(&format!("FROM a\n{text}")),
            [format!("dockerfile parse error on line 2: {message}")],
            "{text}"
        );
    }
}

#[test]
fn flags_end_where_the_words_begin() {
    let InstructionKind::Run(run) = only(
        "RUN --mount=type=cache,target=/a  --mount='type=tmpfs,target=/b c' --network=host --security=insecure -- --x",
    ) else {
        panic!()
    };
    assert_eq!(
        texts(&run.mounts),
        ["type=cache,target=/a", "type=tmpfs,target=/b c"]
    );
    assert_eq!(run.command, Command::Shell("--x".into()));
    assert_eq!(run.network.expect("network").text, "host");
    for (text, message) in [
        (
            "RUN --mount=type=bind,from=$X,target=/a b",
            "'from' doesn't support variable expansion, define alias stage instead",
        ),
        ("RUN --network=wifi a", "invalid network mode \"wifi\""),
        ("RUN --security=none a", "security \"none\" is not valid"),
        ("RUN --help", "unknown flag: --help"),
        ("CMD --help", "unknown flag: --help"),
        ("USER --x y", "unknown flag: --x"),
    ] {
        assert_eq!(
            errors(&format!("FROM a\n{text}")),
            [format!("dockerfile parse error on line 2: {message}")],
            "{text}"
        );
    }
}

#[test]
fn env_label_and_arg() {
    let pairs = |text: &str| match only(text) {
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => pairs
            .into_iter()
            .map(|pair| (pair.name.text, pair.value.text))
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let own = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        pairs("ENV a=b c=\"d e\" f='g h' i=j\\ k l="),
        own(&[
            ("a", "b"),
            ("c", "\"d e\""),
            ("f", "'g h'"),
            ("i", "j\\ k"),
            ("l", "")
        ])
    );
    assert_eq!(pairs("ENV a  b c = d"), own(&[("a", "b c = d")]));
    assert_eq!(
        pairs("LABEL \"a b\"=c d=e=f"),
        own(&[("\"a b\"", "c"), ("d", "e=f")])
    );
    assert_eq!(pairs("ENV a=b \\\n  c=d"), own(&[("a", "b"), ("c", "d")]));
    let InstructionKind::Arg(args) = only("ARG a b=c d=\"e f\"") else {
        panic!()
    };
    let args: Vec<_> = args
        .iter()
        .map(|arg| {
            (
                arg.name.text.as_str(),
                arg.default.as_ref().map(|word| word.text.as_str()),
            )
        })
        .collect();
    assert_eq!(
        args,
        [("a", None), ("b", Some("c")), ("d", Some("\"e f\""))]
    );
    for (text, message) in [
        ("ENV", "ENV requires at least one argument"),
        ("ENV a", "ENV must have two arguments"),
        (
            "ENV a=b c",
            "Syntax error - can't find = in \"c\". Must be of the form: name=value",
        ),
        ("ENV =a", "ENV names can not be blank"),
        ("LABEL", "LABEL requires at least one argument"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =a", "ARG names can not be blank"),
    ] {
        assert_eq!(
            errors(&format!("FROM a\n{text}")),
            [format!("dockerfile parse error on line 2: {message}")],
            "{text}"
        );
    }
}

#[test]
fn the_other_instructions() {
    let word = |text: &str| match only(text) {
        InstructionKind::Workdir(word)
        | InstructionKind::User(word)
        | InstructionKind::StopSignal(word)
        | InstructionKind::Maintainer(word)
        | InstructionKind::Onbuild(word) => word.text,
        other => panic!("{other:?}"),
    };
    assert_eq!(word("WORKDIR /a b"), "/a b");
    assert_eq!(word("USER 1:2"), "1:2");
    assert_eq!(word("STOPSIGNAL SIGTERM"), "SIGTERM");
    assert_eq!(word("MAINTAINER A <b@c>"), "A <b@c>");
    assert_eq!(word("ONBUILD  copy . /x"), "copy . /x");
    assert_eq!(word("ONBUILD RUN <<E\nx\nE"), "RUN <<E\nx\nE");
    let words = |text: &str| match only(text) {
        InstructionKind::Volume(words) | InstructionKind::Expose(words) => {
            words.into_iter().map(|word| word.text).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(words("VOLUME /a  /b"), ["/a", "/b"]);
    assert_eq!(words("VOLUME [\"/a b\", \" /c \"]"), ["/a b", "/c"]);
    assert_eq!(words("EXPOSE 80 $X/udp"), ["80", "$X/udp"]);
    assert_eq!(
        only("SHELL [\"/bin/bash\", \"-c\"]"),
        InstructionKind::Shell(vec!["/bin/bash".into(), "-c".into()])
    );
    for (text, message) in [
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("USER", "USER requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        (
            "VOLUME [\" \"]",
            "VOLUME specified can not be an empty string",
        ),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("SHELL", "SHELL requires at least one argument"),
        ("SHELL []", "SHELL requires at least one argument"),
        (
            "SHELL sh -c",
            "SHELL requires the arguments to be in JSON form",
        ),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        (
            "ONBUILD ONBUILD RUN a",
            "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        ),
        ("ONBUILD from a", "FROM isn't allowed as an ONBUILD trigger"),
        (
            "ONBUILD MAINTAINER a",
            "MAINTAINER isn't allowed as an ONBUILD trigger",
        ),
        (
            "ONBUILD RNU a",
            "unknown instruction: RNU (did you mean RUN?)",
        ),
        (
            "ONBUILD COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("frmo a", "unknown instruction: frmo (did you mean from?)"),
        ("whatever", "unknown instruction: whatever"),
    ] {
        assert_eq!(
            errors(&format!("FROM a\n{text}")),
            [format!("dockerfile parse error on line 2: {message}")],
            "{text}"
        );
    }
}

#[test]
fn healthchecks() {
    assert_eq!(
        only("HEALTHCHECK none"),
        InstructionKind::Healthcheck(Healthcheck::None)
    );
    let InstructionKind::Healthcheck(Healthcheck::Command {
        command,
        interval,
        retries,
        timeout,
        ..
    }) = only(
        "HEALTHCHECK --interval=5m --timeout=0 --retries=3 \\\n  CMD curl -f http://localhost/ || exit 1",
    )
    else {
        panic!()
    };
    assert_eq!(
        command,
        Command::Shell("curl -f http://localhost/ || exit 1".into())
    );
    assert_eq!(interval.expect("interval").text, "5m");
    assert_eq!(timeout.expect("timeout").text, "0");
    assert_eq!(retries.expect("retries").text, "3");
    for (text, message) in [
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        (
            "HEALTHCHECK CMD []",
            "Missing command after HEALTHCHECK CMD",
        ),
        (
            "HEALTHCHECK curl",
            "Unknown type \"CURL\" in HEALTHCHECK (try CMD)",
        ),
        (
            "HEALTHCHECK --interval=5 CMD x",
            "time: invalid duration \"5\"",
        ),
        (
            "HEALTHCHECK --timeout=1us CMD x",
            "Interval \"timeout\" cannot be less than 1ms",
        ),
        (
            "HEALTHCHECK --retries=x CMD x",
            "--retries must be a number, not \"x\"",
        ),
        (
            "HEALTHCHECK --retries=-1 CMD x",
            "--retries cannot be negative (-1)",
        ),
        (
            "HEALTHCHECK --intervall=1s CMD x",
            "unknown flag: --intervall (did you mean interval?)",
        ),
    ] {
        assert_eq!(
            errors(&format!("FROM a\n{text}")),
            [format!("dockerfile parse error on line 2: {message}")],
            "{text}"
        );
    }
}

#[test]
fn triggers_of_images() {
    assert!(matches!(
        parse_trigger("COPY . /x").expect("a trigger").kind,
        InstructionKind::Copy(_)
    ));
    assert!(matches!(
        parse_trigger("RUN <<E\nx\nE").expect("a trigger").kind,
        InstructionKind::Run(_)
    ));
    for text in [
        "",
        "FROM a",
        "ONBUILD RUN x",
        "MAINTAINER x",
        "RUN a\nRUN b",
        "NOPE",
    ] {
        parse_trigger(text).expect_err(text);
    }
}
