use super::*;
use crate::dockerfile::parse;

fn options() -> LintOptions<'static> {
    let predefined = [
        ("TARGETPLATFORM", "linux/amd64"),
        ("BUILDPLATFORM", "linux/amd64"),
        ("TARGETARCH", "amd64"),
    ];
    LintOptions {
        predefined: predefined
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..LintOptions::default()
    }
}

fn lint_with(text: &str, options: &LintOptions<'_>) -> Vec<String> {
    let parsed = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    lint(&parsed, options)
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[track_caller]
fn warns(text: &str, expected: &[&str]) {
    assert_eq!(lint_with(text, &options()), expected, "{text}");
}

#[test]
fn a_clean_file_is_clean() {
    warns(
        "# syntax=docker/dockerfile:1\nARG V=3\nFROM --platform=$BUILDPLATFORM alpine:$V AS build\nARG TARGETARCH\n\
         WORKDIR /src\nCOPY . .\nRUN make ARCH=$TARGETARCH\n\nFROM scratch\nENV A=b\nCOPY --from=build /src/x /\n\
         EXPOSE 80/tcp\nHEALTHCHECK CMD x\nENTRYPOINT [\"/x\"]\nCMD [\"y\"]\n",
        &[],
    );
}

#[test]
fn casing() {
    warns(
        "FROM scratch AS Bad\nFROM scratch as two\n",
        &[
            "StageNameCasing: Stage name 'Bad' should be lowercase (line 1)",
            "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 2)",
        ],
    );
    warns(
        "from scratch AS x\n",
        &["FromAsCasing: 'AS' and 'from' keywords' casing do not match (line 1)"],
    );
    warns(
        "FROM scratch\ncopy a /a\nCopy b /b\nCOPY c /c",
        &[
            "ConsistentInstructionCasing: Command 'copy' should match the case of the command majority (uppercase) (line 2)",
            "ConsistentInstructionCasing: Command 'Copy' should match the case of the command majority (uppercase) (line 3)",
        ],
    );
    warns(
        "from scratch\ncopy a /a\nCOPY b /b",
        &[
            "ConsistentInstructionCasing: Command 'COPY' should match the case of the command majority (lowercase) (line 3)",
        ],
    );
}

#[test]
fn stage_names() {
    warns(
        "FROM scratch AS context\nFROM scratch AS x\nFROM scratch AS x\nFROM x AS scratch\n",
        &[
            "ReservedStageName: Stage name should not use the same name as reserved stage \"context\" (line 1)",
            "DuplicateStageName: Duplicate stage name \"x\", stage names should be unique (line 3)",
            "ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\" (line 4)",
        ],
    );
}

#[test]
fn forms() {
    warns(
        "FROM scratch\nMAINTAINER me\nENV a b\nLABEL c d\nLABEL e=f\nCMD x\nENTRYPOINT y\nRUN a \\\n\n b\n",
        &[
            "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)",
            "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 3)",
            "LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format (line 4)",
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 6)",
            "JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals (line 7)",
            "NoEmptyContinuation: Empty continuation line (line 10)",
        ],
    );
    // Who says which shell is meant to be run means it.
    warns(
        "FROM scratch AS a\nSHELL [\"/bin/x\"]\nCMD y\nFROM a\nCMD z\n",
        &[],
    );
}

#[test]
fn only_the_last_counts() {
    warns(
        "FROM scratch AS a\nCMD [\"1\"]\nCMD [\"2\"]\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\nFROM a\nCMD [\"3\"]\n",
        &[
            "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used (line 2)",
            "MultipleInstructionsDisallowed: Multiple HEALTHCHECK instructions should not be used in the same stage because only the last one will be used (line 4)",
        ],
    );
}

#[test]
fn variables_of_from() {
    warns(
        "ARG VERSION=1\nFROM alpine:$VERSON AS a\nFROM alpine:${VERSION} AS b\nARG NO\nFROM x$NO\nFROM y$NOWHERE",
        &[
            "InvalidDefaultArgInFrom: Default value for ARG alpine:$VERSON results in empty or invalid base image name (line 2)",
            "UndefinedArgInFrom: FROM argument 'VERSON' is not declared (did you mean VERSION?) (line 2)",
            "UndefinedArgInFrom: FROM argument 'NO' is not declared (line 5)",
            "UndefinedArgInFrom: FROM argument 'NOWHERE' is not declared (line 6)",
        ],
    );
    warns(
        "ARG A\nFROM a:$A",
        &[
            "InvalidDefaultArgInFrom: Default value for ARG a:$A results in empty or invalid base image name (line 2)",
        ],
    );
    let given = LintOptions {
        build_args: [("A".to_owned(), "1".to_owned())].into(),
        ..options()
    };
    assert_eq!(lint_with("ARG A\nFROM a:$A", &given).len(), 1);
    warns(
        "ARG A=localhost:5000/x/y_z@sha256:0123456789abcdef0123456789abcdef\nFROM $A",
        &[],
    );
    warns(
        "FROM Upper",
        &[
            "InvalidDefaultArgInFrom: Default value for ARG Upper results in empty or invalid base image name (line 1)",
        ],
    );
}

#[test]
fn platforms() {
    warns(
        "FROM --platform=$TARGETPLATFORM a\nFROM --platform=linux/arm64 a\nFROM --platform=linux/arm64 a AS for-arm64\nFROM --platform=$BUILDPLATFORM a",
        &[
            "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior (line 1)",
            "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/arm64\" (line 2)",
        ],
    );
}

#[test]
fn undefined_variables() {
    let told = |name: &str, line| {
        format!("UndefinedVar: Usage of undefined variable '${name}' (line {line})")
    };
    let text = "FROM scratch\nARG KNOWN\nENV A=b\nCOPY $nope /$A/$KNOWN\nENV C=$PAHT\nRUN echo $shell\n\
                WORKDIR /$W\nRUN --mount=type=cache,target=/$M x\nCOPY <<E /x\n$H\nE\nCOPY <<\"E\" /x\n$Q\nE\nLABEL l=$L\n";
    let mut expected = vec![
        told("nope", 4),
        "UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) (line 5)".into(),
    ];
    expected.extend([told("W", 7), told("M", 8), told("H", 9), told("L", 15)]);
    assert_eq!(lint_with(text, &options()), expected);
    // An image may define it; a stage hands on what it has.
    warns(
        "FROM alpine\nCOPY $nope /\nFROM scratch AS a\nENV X=1\nARG Y\nFROM a\nCOPY $X $Y /\n",
        &[],
    );
    let python = |name: &str| {
        (name == "python").then(|| vec![("PYTHON_VERSION".to_owned(), "3".to_owned())])
    };
    let known = LintOptions {
        base_env: Some(&python),
        ..options()
    };
    let text = "FROM python\nENV A=$PYTHON_VERSION B=$PYTHON_VERSON\nFROM other\nENV C=$D";
    assert_eq!(
        lint_with(text, &known),
        [
            "UndefinedVar: Usage of undefined variable '$PYTHON_VERSON' (did you mean $PYTHON_VERSION?) (line 2)"
        ]
    );
}

#[test]
fn secrets() {
    let told = |kind: &str, name: &str| {
        format!(
            "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data ({kind} \"{name}\") (line 2)"
        )
    };
    for name in [
        "AWS_SECRET_ACCESS_KEY",
        "token",
        "GITHUB_TOKEN",
        "db_password",
        "AUTH",
        "apikey",
    ] {
        assert_eq!(
            lint_with(&format!("FROM scratch\nARG {name}"), &options()),
            [told("ARG", name)]
        );
        assert_eq!(
            lint_with(&format!("FROM scratch\nENV {name}=x"), &options()),
            [told("ENV", name)]
        );
    }
    for name in [
        "PUBLIC_KEY",
        "TOKEN_FILE",
        "KEY_VERSION",
        "MONKEY",
        "AUTHOR",
        "SECRETS",
    ] {
        assert_eq!(
            lint_with(&format!("FROM scratch\nARG {name}"), &options()),
            Vec::<String>::new()
        );
    }
}

#[test]
fn working_directories() {
    let told = "WorkdirRelativePath: Relative workdir \"a\" can have unexpected results if the base image changes (line 2)";
    warns("FROM scratch\nWORKDIR a\nWORKDIR b", &[told]);
    warns(
        "FROM scratch AS x\nENV D=/d\nWORKDIR $D\nWORKDIR b\nFROM x\nWORKDIR c",
        &[],
    );
}

#[test]
fn ports() {
    warns(
        "FROM scratch\nEXPOSE 80/TCP 81/udp\nEXPOSE 127.0.0.1:80:80 5000-5005:5000-5005",
        &[
            "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)",
            "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80' (line 3)",
            "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '5000-5005:5000-5005' (line 3)",
        ],
    );
}

#[test]
fn ignored_files() {
    let text = "FROM scratch AS a\nCOPY Dockerfile ./src/x.o /\nADD x.o https://a/b.o /\nCOPY --from=a x.o /\nCOPY . /\nCOPY keep /";
    let of = |patterns: &str| {
        let ignore = Ignore::parse(patterns).expect("patterns");
        lint_with(
            text,
            &LintOptions {
                ignore: Some(&ignore),
                ..options()
            },
        )
    };
    assert_eq!(
        of("Dockerfile\n**/*.o"),
        [
            "CopyIgnoredFile: Attempting to Copy file \"Dockerfile\" that is excluded by .dockerignore (line 2)",
            "CopyIgnoredFile: Attempting to Copy file \"src/x.o\" that is excluded by .dockerignore (line 2)",
            "CopyIgnoredFile: Attempting to Add file \"x.o\" that is excluded by .dockerignore (line 3)",
        ]
    );
    assert_eq!(of("*\n!keep"), Vec::<String>::new());
    assert!(of("*").iter().any(|told| told.contains("\".\"")));
}

#[test]
fn descriptions_are_an_experiment() {
    let text =
        "# no description\nARG A\n# B it is\nARG B C\n# x\n\nFROM scratch AS y\n# z\nARG D E\n";
    warns(text, &[]);
    warns(
        &format!("# check=experimental=all\n{text}"),
        &[
            "InvalidDefinitionDescription: Comment for ARG should follow the format: `# A <description>` (line 3)",
            "InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>` (line 10)",
        ],
    );
}

#[test]
fn checks_can_be_skipped() {
    let text = "FROM scratch AS A\nCMD x\nMAINTAINER y\n";
    assert_eq!(lint_with(text, &options()).len(), 3);
    assert_eq!(
        lint_with(&format!("# check=skip=all\n{text}"), &options()).len(),
        0
    );
    assert_eq!(
        lint_with(
            &format!("# check=skip=StageNameCasing,JSONArgsRecommended\n{text}"),
            &options()
        )
        .len(),
        1
    );
    assert_eq!(
        lint_with(
            "FROM scratch\n# check=skip=JSONArgsRecommended\nCMD x\n",
            &options()
        )
        .len(),
        0
    );
    assert_eq!(
        lint_with(
            "FROM scratch\n# check=skip=JSONArgsRecommended\nRUN y\nCMD x\n",
            &options()
        )
        .len(),
        1
    );
    let given = LintOptions {
        check: Some("skip=all".to_owned()),
        ..options()
    };
    assert_eq!(lint_with(text, &given).len(), 0);
}

#[test]
fn checks_can_be_errors() {
    let failure = |text: &str| lint(&parse(text).expect("a file"), &options()).failure();
    assert_eq!(
        failure("# check=error=true\nFROM scratch AS A\nCMD x\n").as_deref(),
        Some("lint violation found for rules: JSONArgsRecommended, StageNameCasing")
    );
    assert_eq!(failure("# check=error=true\nFROM scratch\n"), None);
    assert_eq!(
        failure("# check=skip=all;error=true\nFROM scratch AS A\n"),
        None
    );
    assert_eq!(failure("FROM scratch AS A\n"), None);
}

#[test]
fn stages_that_are_not_built_are_judged_by_their_lines_only() {
    let text = "FROM scratch AS A\nCMD x\nFROM scratch\nCMD y\n";
    let second = LintOptions {
        stages: Some([1].into()),
        ..options()
    };
    assert_eq!(
        lint_with(text, &second),
        [
            "StageNameCasing: Stage name 'A' should be lowercase (line 1)",
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 4)",
        ]
    );
}

#[test]
fn every_rule_says_what_it_asks_for() {
    for rule in Rule::ALL {
        assert!(!rule.description().is_empty());
        let url = rule.url();
        assert!(
            url.starts_with("https://") || *rule == Rule::InvalidBaseImagePlatform,
            "{rule}: {url}"
        );
    }
    let platform = Rule::InvalidBaseImagePlatform.message(&["a", "linux/amd64", "linux/arm64"]);
    assert_eq!(
        platform,
        "Base image a was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for current build"
    );
}
