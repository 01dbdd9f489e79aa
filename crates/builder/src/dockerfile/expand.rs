//! Variables, quotes and escapes of words, as a shell has them.

use std::collections::BTreeSet;

use super::pattern::PatternError;
use super::shell::{Options, run};

/// Looks a variable up; `None` says that it is not set.
pub type Env<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// A word that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {word:?}: {kind}")]
pub struct ExpandError {
    /// The word.
    pub word: String,
    /// Why.
    pub kind: ExpandErrorKind,
}

/// Why a word cannot be expanded; the texts are BuildKit's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ExpandErrorKind {
    #[error("unexpected end of statement while looking for matching {0}-quote")]
    OpenQuote(&'static str),
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// `${name:?message}` of a variable that is unset or empty.
    #[error("{name}: {message}")]
    Demanded { name: String, message: String },
    #[error("invalid pattern ({pattern}) in substitution: {error}")]
    Pattern {
        pattern: String,
        error: PatternError,
    },
    #[error("substitutions are nested too deeply")]
    TooDeep,
    #[error("its variables make it longer by more than 1 MiB")]
    TooLong,
}

/// A word expanded, and which variables it named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// As one text.
    pub text: String,
    /// Split at blanks outside quotes; empty words are dropped.
    pub words: Vec<String>,
    /// Variables that are set.
    pub matched: BTreeSet<String>,
    /// Variables that are not.
    pub unmatched: BTreeSet<String>,
}

/// Expands the words of a file.
#[derive(Debug, Clone, Copy)]
pub struct Expander {
    escape: char,
}

impl Expander {
    /// `escape` is the file's escape character, [`super::Directives::escape`].
    pub fn new(escape: char) -> Self {
        Expander { escape }
    }

    /// Variables replaced, quotes and escapes removed; blanks stay. What every instruction but EXPOSE does with each of
    /// its words: a source of COPY or a VOLUME that holds a blank is one path.
    pub fn expand(&self, word: &str, env: &Env<'_>) -> Result<String, ExpandError> {
        self.expand_all(word, env).map(|expanded| expanded.text)
    }

    /// As [`Self::expand`], and then split at blanks that were not quoted: what EXPOSE does with each of its words.
    /// Words that became empty are dropped.
    pub fn expand_words(&self, word: &str, env: &Env<'_>) -> Result<Vec<String>, ExpandError> {
        self.expand_all(word, env).map(|expanded| expanded.words)
    }

    /// As [`Self::expand`] and [`Self::expand_words`], with the variables named.
    pub fn expand_all(&self, word: &str, env: &Env<'_>) -> Result<Expanded, ExpandError> {
        run(
            word,
            env,
            Options {
                escape: self.escape,
                ..Options::default()
            },
        )
    }

    /// The content of a COPY or ADD heredoc: variables are replaced, quotes stay, a backslash makes the next
    /// character an ordinary one (whatever the file's escape character is).
    pub fn expand_heredoc(&self, content: &str, env: &Env<'_>) -> Result<String, ExpandError> {
        self.expand_heredoc_all(content, env)
            .map(|expanded| expanded.text)
    }

    /// As [`Self::expand_heredoc`], with the variables named.
    pub fn expand_heredoc_all(
        &self,
        content: &str,
        env: &Env<'_>,
    ) -> Result<Expanded, ExpandError> {
        run(
            content,
            env,
            Options {
                quotes: false,
                ..Options::default()
            },
        )
    }

    /// What progress shows of an instruction: the variables that are set replaced, everything else as written.
    /// A text that does not follow the rules comes back unchanged.
    pub fn expand_for_display(&self, text: &str, env: &Env<'_>) -> String {
        let options = Options {
            escape: self.escape,
            raw_quotes: true,
            keep_unset: true,
            ..Options::default()
        };
        run(text, env, options).map_or_else(|_| text.to_owned(), |expanded| expanded.text)
    }

    /// The variables a word names when nothing is set.
    pub fn names(&self, word: &str) -> Result<BTreeSet<String>, ExpandError> {
        self.expand_all(word, &|_| None)
            .map(|expanded| expanded.unmatched)
    }
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
