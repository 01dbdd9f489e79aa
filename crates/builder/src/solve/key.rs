//! Names of results in the cache: digests of all a step depends on.

use serde::Serialize;
use serde_json::{Map, Value};

/// Part of every key: a later rctr that does steps differently counts up.
const VERSION: u32 = 1;

/// A key being put together.
#[derive(Debug, Clone)]
pub(super) struct Key(Map<String, Value>);

impl Key {
    pub(super) fn new(kind: &str) -> Key {
        Key(Map::new())
            .field("version", &VERSION)
            .field("kind", kind)
    }

    /// Adds something the step depends on.
    pub(super) fn field<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Key {
        // Strings, numbers and lists of them: nothing that fails to serialise.
        let value = serde_json::to_value(value).unwrap_or_default();
        self.0.insert(name.to_owned(), value);
        self
    }

    /// The key: `sha256:…`.
    pub(super) fn digest(&self) -> String {
        let text = Value::Object(self.0.clone()).to_string();
        rctr_store::sha256(text.as_bytes()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn every_field_counts() {
        let one = Key::new("run").field("args", &["a", "b"]);
        assert_eq!(
            one.digest(),
            Key::new("run").field("args", &["a", "b"]).digest()
        );
        assert_ne!(
            one.digest(),
            Key::new("run").field("args", &["a b"]).digest()
        );
        assert_ne!(one.digest(), one.clone().field("user", "x").digest());
        assert_ne!(
            one.digest(),
            Key::new("copy").field("args", &["a", "b"]).digest()
        );
    }
}
