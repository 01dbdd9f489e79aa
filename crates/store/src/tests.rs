//! What the tests of all modules share.

use tempfile::TempDir;

use crate::Store;

/// A new, empty store.
pub(crate) fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("root")).unwrap();
    (dir, store)
}
