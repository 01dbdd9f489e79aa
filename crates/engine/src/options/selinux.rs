//! `--security-opt label=…`, and `z` and `Z` of `-v`.

use rctr_runtime::selinux::{is_level, is_word};
use serde::{Deserialize, Serialize};

/// What is asked for instead of the policy's SELinux labels of containers; what is empty is theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelinuxOptions {
    /// No label: processes run as what the policy makes of their programs.
    #[serde(default)]
    pub disable: bool,
    /// User.
    pub user: String,
    /// Role.
    pub role: String,
    /// Type.
    pub r#type: String,
    /// Level.
    pub level: String,
    /// Type of files.
    #[serde(default)]
    pub file_type: String,
}

impl SelinuxOptions {
    /// Takes `type:NAME` and the like; none if it is none that a label can have, whether there are labels here or not.
    pub(super) fn set(&mut self, text: &str) -> Option<()> {
        let (kind, value) = text.split_once(':')?;
        let word = match kind {
            "user" => &mut self.user,
            "role" => &mut self.role,
            "type" => &mut self.r#type,
            "level" => &mut self.level,
            "filetype" => &mut self.file_type,
            _ => return None,
        };
        value.clone_into(word);
        (!value.is_empty() && self.wrong().is_none()).then_some(())
    }

    /// The first word that no label has, be there SELinux or not.
    pub(crate) fn wrong(&self) -> Option<(&'static str, &str)> {
        let words = [
            ("user", &self.user, is_word as fn(&str) -> bool),
            ("role", &self.role, is_word),
            ("type", &self.r#type, is_word),
            ("level", &self.level, is_level),
            ("filetype", &self.file_type, is_word),
        ];
        let mut words = words.into_iter();
        let wrong = words.find(|(_, word, valid)| !word.is_empty() && !valid(word));
        wrong.map(|(name, word, _)| (name, word.as_str()))
    }

    pub(crate) fn is_said(&self) -> bool {
        *self != Self::default()
    }
}

/// Whose SELinux label the files of a mount get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relabel {
    /// Nothing was said: a volume is shared, a bind stays as it is.
    #[default]
    Unsaid,
    /// `z`: one that every container may use.
    Shared,
    /// `Z`: the container's own.
    Private,
    /// They stay as they are.
    Never,
}
