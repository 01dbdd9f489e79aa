//! `check=skip=A,B;experimental=all;error=true`.

use super::Rule;
use crate::dockerfile::lines::split_directive;
use crate::dockerfile::values::parse_bool;

#[derive(Debug, Default)]
pub(super) struct Config {
    skip: Rules,
    experimental: Rules,
    pub error: bool,
}

#[derive(Debug, Default)]
struct Rules {
    all: bool,
    names: Vec<String>,
}

impl Rules {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "all" => Rules {
                all: true,
                names: Vec::new(),
            },
            names => Rules {
                all: false,
                names: names
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .collect(),
            },
        }
    }

    fn holds(&self, rule: Rule) -> bool {
        self.all || self.names.iter().any(|name| name == rule.name())
    }
}

impl Config {
    /// The value up to its first blank; `Err` with the option that is none.
    pub fn parse(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        let text = text.split(' ').next().unwrap_or("");
        if text.is_empty() {
            return Ok(config);
        }
        for option in text.split(';') {
            let (name, value) = option.split_once('=').ok_or(option)?;
            match name.trim() {
                "skip" => config.skip = Rules::parse(value),
                "experimental" => config.experimental = Rules::parse(value),
                "error" => config.error = parse_bool(value.trim()).ok_or(option)?,
                _ => return Err(name.trim().to_owned()),
            }
        }
        Ok(config)
    }

    /// Whether a rule is in force for an instruction with such comments above it.
    pub fn tells(&self, rule: Rule, comments: &[String]) -> bool {
        let own =
            comments
                .iter()
                .find_map(|comment| match split_directive(&format!("#{comment}")) {
                    Some(("check", value)) => Config::parse(value).ok(),
                    _ => None,
                });
        let mut configs = [Some(self), own.as_ref()].into_iter().flatten();
        if rule.is_experimental() {
            configs.any(|config| config.experimental.holds(rule))
        } else {
            !configs.any(|config| config.skip.holds(rule))
        }
    }
}

/// What is no option in a `check=`, if anything.
pub(in crate::dockerfile) fn check(text: &str) -> Option<String> {
    Config::parse(text).err()
}
