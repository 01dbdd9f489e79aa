//! Stands in for `crate::ignore` until it is there.

/// Patterns of `.dockerignore`.
#[derive(Debug, Clone, Default)]
pub struct Ignore(Vec<String>);

impl Ignore {
    /// Reads patterns.
    pub fn parse(text: &str) -> Ignore {
        Ignore(text.lines().map(str::to_owned).collect())
    }
    /// Whether the path is hidden.
    pub fn is_ignored(&self, path: &str, _is_dir: bool) -> bool {
        self.0.iter().any(|p| path == p || path.starts_with(&format!("{p}/")))
    }
    /// Whether nothing in the directory can be seen.
    pub fn can_skip_dir(&self, _path: &str) -> bool {
        true
    }
}
