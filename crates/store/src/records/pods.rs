use oci_spec::image::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Tx, check_id, from_json, to_json};
use crate::store::Store;
use crate::{Error, Result};

impl Tx<'_> {
    /// Records a pod under a name that no other pod has: a document the store does not look into.
    ///
    /// # Errors
    /// [`Error::NameTaken`], [`Error::InvalidId`], [`Error::Document`], [`Error::Database`].
    pub fn insert_pod(&self, id: &str, name: &str, doc: &impl Serialize) -> Result<()> {
        check_id(id)?;
        let sql = "SELECT id FROM pods WHERE name = ?";
        if let Some(by) = self.first(sql, [name], |row| row.get(0))? {
            return Err(Error::NameTaken {
                name: name.to_owned(),
                by,
            });
        }
        let text = to_json("pod", doc)?;
        self.execute(
            "INSERT INTO pods (id, name, document) VALUES (?, ?, ?)",
            (id, name, text),
        )
        .map(drop)
    }

    /// Replaces the document of a pod; whether there is such a pod.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Database`].
    pub fn replace_pod(&self, id: &str, doc: &impl Serialize) -> Result<bool> {
        let text = to_json("pod", doc)?;
        let sql = "UPDATE pods SET document = ?, version = version + 1 WHERE id = ?";
        let changed = self.execute(sql, (text, id))?;
        Ok(changed > 0)
    }

    /// Keeps a layer, and those below it, for as long as there is the pod.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn keep_layer(&self, pod: &str, layer: &Digest) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO pod_layers (pod, layer) VALUES (?, ?)";
        self.execute(sql, (pod, layer.to_string())).map(drop)
    }

    /// The layers that are kept for pods.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) fn pod_layers(&self) -> Result<Vec<String>> {
        self.all("SELECT layer FROM pod_layers", [], |row| row.get(0))
    }

    /// Forgets a pod; whether there was one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn remove_pod(&self, id: &str) -> Result<bool> {
        self.execute("DELETE FROM pod_layers WHERE pod = ?", [id])?;
        Ok(self.execute("DELETE FROM pods WHERE id = ?", [id])? > 0)
    }

    /// All pods whose id begins so, oldest first; with an empty beginning all there are.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Database`].
    pub fn pods<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>> {
        let texts: Vec<String> = self.all(
            "SELECT document FROM pods WHERE substr(id, 1, length(?1)) = ?1 ORDER BY rowid",
            [prefix],
            |row| row.get(0),
        )?;
        texts.iter().map(|text| from_json("pod", text)).collect()
    }

    /// All pods' ids, oldest first, each with a number that grows with every change of its document.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn pod_versions(&self) -> Result<Vec<(String, i64)>> {
        let sql = "SELECT id, version FROM pods ORDER BY rowid";
        self.all(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
    }
}

impl Store {
    /// [`Tx::pods`] in a transaction of its own.
    ///
    /// # Errors
    /// As there.
    pub fn pods<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>> {
        self.read(|tx| tx.pods(prefix))
    }

    /// [`Tx::pod_versions`] in a transaction of its own.
    ///
    /// # Errors
    /// As there.
    pub fn pod_versions(&self) -> Result<Vec<(String, i64)>> {
        self.read(|tx| tx.pod_versions())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_have_unique_names_and_are_found_by_the_beginning_of_their_id() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let write = |work: &dyn Fn(&Tx<'_>) -> Result<()>| store.write(|tx| work(tx));
        write(&|tx| tx.insert_pod("ab1", "web_0", &"one")).unwrap();
        assert_eq!(store.pod_versions().unwrap(), [("ab1".to_owned(), 1)]);
        write(&|tx| tx.insert_pod("ab2", "web_1", &"two")).unwrap();
        let taken = write(&|tx| tx.insert_pod("ff", "web_0", &"x")).unwrap_err();
        assert!(matches!(taken, Error::NameTaken { by, .. } if by == "ab1"));
        assert_eq!(store.pods::<String>("").unwrap(), ["one", "two"]);
        assert_eq!(store.pods::<String>("ab2").unwrap(), ["two"]);
        assert!(store.pods::<String>("b").unwrap().is_empty());
        store.write(|tx| tx.replace_pod("ab1", &"changed")).unwrap();
        assert_eq!(store.pods::<String>("ab1").unwrap(), ["changed"]);
        let versions = store.pod_versions().unwrap();
        assert_eq!(versions, [("ab1".to_owned(), 2), ("ab2".to_owned(), 1)]);
        assert!(store.write(|tx| tx.remove_pod("ab1")).unwrap());
        assert!(!store.write(|tx| tx.remove_pod("ab1")).unwrap());
        assert!(!store.write(|tx| tx.replace_pod("ab1", &"x")).unwrap());
    }
}
