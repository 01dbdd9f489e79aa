//! BuildKit's rules: names, texts and addresses.

use std::fmt;

use crate::dockerfile::Span;

/// Something that is not wrong, but may not be what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The rule it breaks.
    pub rule: Rule,
    /// What breaks it.
    pub message: String,
    /// Where.
    pub span: Span,
}

impl Warning {
    pub(crate) fn new(rule: Rule, span: Span, values: &[&str]) -> Self {
        Warning {
            rule,
            message: rule.message(values),
            span,
        }
    }
}

/// `Rule: message (line 3)`.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} (line {})",
            self.rule.name(),
            self.message,
            self.span.start.line
        )
    }
}

macro_rules! rules {
    ($($name:ident $slug:literal $description:literal $message:literal;)*) => {
        /// A rule. [`Rule::InvalidBaseImagePlatform`] can be broken only when the base image is known.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub enum Rule {
            $($name,)*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Rule] = &[$(Rule::$name,)*];

            /// Its name, as `# check=skip=` takes it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Rule::$name => stringify!($name),)*
                }
            }

            /// What it asks for.
            pub fn description(self) -> &'static str {
                match self {
                    $(Rule::$name => $description,)*
                }
            }

            /// Where to read more; empty if there is nothing.
            pub fn url(self) -> &'static str {
                if self == Rule::InvalidBaseImagePlatform {
                    return "";
                }
                match self {
                    $(Rule::$name => concat!("https://docs.docker.com/go/dockerfile/rule/", $slug, "/"),)*
                }
            }

            /// `{0}` and `{1}` stand for the values.
            fn template(self) -> &'static str {
                match self {
                    $(Rule::$name => $message,)*
                }
            }
        }
    };
}

rules! {
    StageNameCasing "stage-name-casing"
        "Stage names should be lowercase"
        "Stage name '{0}' should be lowercase";
    FromAsCasing "from-as-casing"
        "The 'as' keyword should match the case of the 'from' keyword"
        "'{1}' and '{0}' keywords' casing do not match";
    NoEmptyContinuation "no-empty-continuation"
        "Empty continuation lines will become errors in a future release"
        "Empty continuation line";
    ConsistentInstructionCasing "consistent-instruction-casing"
        "All commands within the Dockerfile should use the same casing (either upper or lower)"
        "Command '{0}' should match the case of the command majority ({1})";
    DuplicateStageName "duplicate-stage-name"
        "Stage names should be unique"
        "Duplicate stage name \"{0}\", stage names should be unique";
    ReservedStageName "reserved-stage-name"
        "Reserved words should not be used as stage names"
        "Stage name should not use the same name as reserved stage \"{0}\"";
    JSONArgsRecommended "json-args-recommended"
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals"
        "JSON arguments recommended for {0} to prevent unintended behavior related to OS signals";
    MaintainerDeprecated "maintainer-deprecated"
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author"
        "Maintainer instruction is deprecated in favor of using label";
    UndefinedArgInFrom "undefined-arg-in-from"
        "FROM command must use declared ARGs"
        "FROM argument '{0}' is not declared";
    WorkdirRelativePath "workdir-relative-path"
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes"
        "Relative workdir \"{0}\" can have unexpected results if the base image changes";
    UndefinedVar "undefined-var"
        "Variables should be defined before their use"
        "Usage of undefined variable '${0}'";
    MultipleInstructionsDisallowed "multiple-instructions-disallowed"
        "Multiple instructions of the same type should not be used in the same stage"
        "Multiple {0} instructions should not be used in the same stage because only the last one will be used";
    LegacyKeyValueFormat "legacy-key-value-format"
        "Legacy key/value format with whitespace separator should not be used"
        "\"{0} key=value\" should be used instead of legacy \"{0} key value\" format";
    InvalidBaseImagePlatform ""
        "Base image platform does not match expected target platform"
        "Base image {0} was pulled with platform \"{2}\", expected \"{1}\" for current build";
    RedundantTargetPlatform "redundant-target-platform"
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior"
        "Setting platform to predefined {0} in FROM is redundant as this is the default behavior";
    SecretsUsedInArgOrEnv "secrets-used-in-arg-or-env"
        "Sensitive data should not be used in the ARG or ENV commands"
        "Do not use ARG or ENV instructions for sensitive data ({0} \"{1}\")";
    InvalidDefaultArgInFrom "invalid-default-arg-in-from"
        "Default value for global ARG results in an empty or invalid base image name"
        "Default value for ARG {0} results in empty or invalid base image name";
    FromPlatformFlagConstDisallowed "from-platform-flag-const-disallowed"
        "FROM --platform flag should not use a constant value"
        "FROM --platform flag should not use constant value \"{0}\"";
    CopyIgnoredFile "copy-ignored-file"
        "Attempting to Copy file that is excluded by .dockerignore"
        "Attempting to {0} file \"{1}\" that is excluded by .dockerignore";
    InvalidDefinitionDescription "invalid-definition-description"
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment."
        "Comment for {0} should follow the format: `# {1} <description>`";
    ExposeProtoCasing "expose-proto-casing"
        "Protocol in EXPOSE instruction should be lowercase"
        "Defined protocol '{0}' in EXPOSE instruction should be lowercase";
    ExposeInvalidFormat "expose-invalid-format"
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release"
        "EXPOSE instruction should not define an IP address or host-port mapping, found '{0}'";
}

impl Rule {
    /// Tells only what `experimental=` asks for.
    pub fn is_experimental(self) -> bool {
        self == Rule::InvalidDefinitionDescription
    }

    /// The text of a warning.
    pub(crate) fn message(self, values: &[&str]) -> String {
        let mut out = String::new();
        let mut rest = self.template();
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (index, after) = after.split_once('}').unwrap_or((after, ""));
            let value = index
                .parse::<usize>()
                .ok()
                .and_then(|index| values.get(index));
            out.push_str(value.copied().unwrap_or(""));
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
