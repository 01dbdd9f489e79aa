//! Variables: what ENV and ARG have set so far, and what the build was given.

use std::collections::BTreeMap;

use rctr_registry_client::Platform;

use crate::Result;
use crate::dockerfile::{Arg, ExpandError, Expander, MAX_GROWTH, Word};
use crate::options::BuildOptions;

use super::at;

/// Arguments every build has without declaring them, and that leave no trace.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What the platforms say: `TARGETARCH` and so on.
fn platform_args(target: &Platform) -> BTreeMap<&'static str, String> {
    let mut args = BTreeMap::new();
    let mut name = |names: [&'static str; 4], of: &Platform| {
        args.insert(names[0], of.to_string());
        args.insert(names[1], of.os.clone());
        args.insert(names[2], of.architecture.clone());
        args.insert(names[3], of.variant.clone().unwrap_or_default());
    };
    name(
        ["TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT"],
        target,
    );
    name(
        ["BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT"],
        &Platform::host(),
    );
    args
}

/// Global variables that need no declaration, with their values.
pub(crate) fn predefined(options: &BuildOptions) -> BTreeMap<String, String> {
    let mut args: BTreeMap<String, String> = platform_args(&options.platforms[0])
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    args.insert(
        "TARGETSTAGE".into(),
        options.target.clone().unwrap_or_default(),
    );
    args
}

/// What the build was given, before any stage.
pub(super) struct Given<'a> {
    expander: Expander,
    args: BTreeMap<&'a str, &'a str>,
    platform: BTreeMap<&'static str, String>,
    /// ARGs before the first FROM.
    global: Vec<(String, Option<String>)>,
}

impl<'a> Given<'a> {
    pub(super) fn new(
        options: &'a BuildOptions,
        platform: &Platform,
        escape: char,
        target: &str,
    ) -> Given<'a> {
        let args = options
            .build_args
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut platform = platform_args(platform);
        platform.insert("TARGETSTAGE", target.to_owned());
        Given {
            expander: Expander::new(escape),
            args,
            platform,
            global: Vec::new(),
        }
    }

    /// Nothing but the platform.
    pub(super) fn bare(platform: &Platform) -> Given<'static> {
        Given {
            expander: Expander::new('\\'),
            args: BTreeMap::new(),
            platform: platform_args(platform),
            global: Vec::new(),
        }
    }

    /// An ARG before the first FROM.
    pub(super) fn declare_global(&mut self, arg: &Arg) -> Result<()> {
        let name = self.expand_global(&arg.name)?;
        let value = match (self.given(&name), &arg.default) {
            (Some(value), _) => Some(value),
            (None, Some(default)) => Some(self.expand_global(default)?),
            (None, None) => None,
        };
        self.global.push((name, value));
        Ok(())
    }

    /// Expands a word of a FROM line or of a global ARG.
    pub(super) fn expand_global(&self, word: &Word) -> Result<String> {
        let look_up = |name: &str| {
            let global = self.global.iter().rev().find(|(known, _)| known == name);
            match global {
                Some((_, value)) => value.clone(),
                None => self.platform.get(name).cloned(),
            }
        };
        self.expander
            .expand(&word.text, &look_up)
            .map_err(|e| at(word.span, e.to_string()))
    }

    /// What `--build-arg` or the platform says.
    fn given(&self, name: &str) -> Option<String> {
        match self.args.get(name) {
            Some(value) => Some((*value).to_owned()),
            None => self.platform.get(name).cloned(),
        }
    }

    fn global(&self, name: &str) -> Option<String> {
        let found = self.global.iter().rev().find(|(known, _)| known == name);
        found.and_then(|(_, value)| value.clone())
    }

    /// `NAME=value` of the proxies the build was given, each in capitals and in small letters: programs look for
    /// either.
    pub(super) fn proxies(&self) -> Vec<String> {
        let mut found = Vec::new();
        for pair in PROXIES.chunks_exact(2) {
            if let Some(value) = pair.iter().find_map(|name| self.args.get(name)) {
                found.extend(pair.iter().map(|name| format!("{name}={value}")));
            }
        }
        found
    }
}

/// The variables of a stage.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// What words expand with, and RUN gets: the later of ENV and ARG counts.
    vars: Vec<(String, String)>,
    /// Declared by ARG, with their values at that time: what RUN's history names.
    args: Vec<(String, Option<String>)>,
}

impl Scope {
    /// What a stage on this image begins with.
    pub(super) fn of_env(env: &[String]) -> Scope {
        let mut scope = Scope::default();
        for entry in env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            scope.set(name, value.to_owned());
        }
        scope
    }

    pub(super) fn set(&mut self, name: &str, value: String) {
        match self.vars.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.vars.push((name.to_owned(), value)),
        }
    }

    /// `ARG`; gives what its history says.
    pub(super) fn declare(&mut self, given: &Given<'_>, arg: &Arg) -> Result<String> {
        let name = self.expand(given, &arg.name)?;
        let value = match (given.args.get(name.as_str()), &arg.default) {
            (Some(value), _) => Some((*value).to_owned()),
            (None, Some(default)) => Some(self.expand(given, default)?),
            (None, None) => given
                .global(&name)
                .or_else(|| given.platform.get(name.as_str()).cloned()),
        };
        match self.args.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value.clone(),
            None => self.args.push((name.clone(), value.clone())),
        }
        Ok(match value {
            Some(value) => {
                self.set(&name, value.clone());
                format!("{name}={value}")
            }
            None => name,
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        let found = self.vars.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    }

    pub(super) fn expand(&self, given: &Given<'_>, word: &Word) -> Result<String> {
        self.expand_text(given, &word.text)
            .map_err(|e| at(word.span, e.to_string()))
    }

    pub(super) fn expand_text(&self, given: &Given<'_>, text: &str) -> Result<String, ExpandError> {
        given.expander.expand(text, &|name| self.get(name))
    }

    pub(super) fn expand_words(&self, given: &Given<'_>, word: &Word) -> Result<Vec<String>> {
        given
            .expander
            .expand_words(&word.text, &|name| self.get(name))
            .map_err(|e| at(word.span, e.to_string()))
    }

    pub(super) fn expand_heredoc(
        &self,
        given: &Given<'_>,
        heredoc: &crate::dockerfile::Heredoc,
    ) -> Result<String> {
        if !heredoc.expand {
            return Ok(heredoc.content.clone());
        }
        given
            .expander
            .expand_heredoc(&heredoc.content, &|name| self.get(name))
            .map_err(|e| at(heredoc.span, e.to_string()))
    }

    /// The environment of a command, `NAME=value`.
    pub(super) fn env(&self) -> Vec<String> {
        let pair = |(name, value): &(String, String)| format!("{name}={value}");
        self.vars.iter().map(pair).collect()
    }

    /// Declared arguments with their values now, as RUN's history names them.
    pub(super) fn args_in_force(&self) -> Vec<String> {
        let named = |(name, value): &(String, Option<String>)| {
            let now = self.get(name).or_else(|| value.clone());
            format!("{name}={}", now.unwrap_or_default())
        };
        self.args.iter().map(named).collect()
    }

    /// A line with the values of its variables, for people: quotes stay, and so do variables that are not set.
    pub(super) fn shown(&self, line: &str) -> String {
        let (mut shown, mut rest) = (String::new(), line);
        while let Some(at) = rest.find('$') {
            let (before, variable) = rest.split_at(at);
            shown += before;
            let after = &variable[1..];
            let (name, length) = match after.strip_prefix('{').and_then(|a| a.split_once('}')) {
                Some((name, _)) => (name, name.len() + 3),
                None => {
                    let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                    let name = &after[..end.unwrap_or(after.len())];
                    (name, name.len() + 1)
                }
            };
            let escaped = before.ends_with('\\');
            let fits = shown.len() < MAX_GROWTH;
            let value = self.get(name).filter(|_| fits && !escaped);
            shown += value.as_deref().unwrap_or(&variable[..length]);
            rest = &variable[length..];
        }
        shown + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people() {
        let scope = Scope::of_env(&["A=1".to_owned(), "LONG_NAME=x".to_owned()]);
        for (line, shown) in [
            ("RUN echo $A${A}b ${LONG_NAME}", "RUN echo 11b x"),
            (
                "RUN echo $NONE ${NONE} ${A:-y} \\$A",
                "RUN echo $NONE ${NONE} ${A:-y} \\$A",
            ),
            ("RUN awk '{print $2}' $ ${ $", "RUN awk '{print $2}' $ ${ $"),
        ] {
            assert_eq!(scope.shown(line), shown);
        }
    }
}
