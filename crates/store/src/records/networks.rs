use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Tx, check_id, from_json, to_json};
use crate::store::Store;
use crate::{Error, Result};

impl Tx<'_> {
    /// Records a network under a name that no other has: a document the store does not look into.
    ///
    /// # Errors
    /// [`Error::NameTaken`], [`Error::InvalidId`], [`Error::Document`], [`Error::Database`].
    pub fn insert_network(&self, id: &str, name: &str, doc: &impl Serialize) -> Result<()> {
        check_id(id)?;
        let sql = "SELECT id FROM user_networks WHERE name = ?";
        if let Some(by) = self.first(sql, [name], |row| row.get(0))? {
            return Err(Error::NameTaken {
                name: name.to_owned(),
                by,
            });
        }
        let text = to_json("network", doc)?;
        self.execute(
            "INSERT INTO user_networks (id, name, document) VALUES (?, ?, ?)",
            (id, name, text),
        )
        .map(drop)
    }

    /// Replaces the document of a network; whether there is such a network.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Database`].
    pub fn replace_network(&self, id: &str, doc: &impl Serialize) -> Result<bool> {
        let text = to_json("network", doc)?;
        let sql = "UPDATE user_networks SET document = ? WHERE id = ?";
        Ok(self.execute(sql, (text, id))? > 0)
    }

    /// Forgets a network and the addresses given on it; whether there was one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn remove_network(&self, id: &str) -> Result<bool> {
        self.execute("DELETE FROM addresses WHERE network = ?", [id])?;
        self.execute("DELETE FROM address_cursors WHERE network = ?", [id])?;
        Ok(self.execute("DELETE FROM user_networks WHERE id = ?", [id])? > 0)
    }

    /// All networks, by name.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Database`].
    pub fn networks<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let sql = "SELECT document FROM user_networks ORDER BY name";
        let texts: Vec<String> = self.all(sql, [], |row| row.get(0))?;
        texts
            .iter()
            .map(|text| from_json("network", text))
            .collect()
    }

    /// The networks that somebody may mean: the one with this id or this name, else all whose id begins so.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Database`].
    pub fn find_networks<T: DeserializeOwned>(&self, reference: &str) -> Result<Vec<T>> {
        let exact: Option<String> = self.first(
            "SELECT document FROM user_networks WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1",
            [reference],
            |row| row.get(0),
        )?;
        let texts: Vec<String> = match exact {
            Some(text) => vec![text],
            None if reference.is_empty() => Vec::new(),
            None => self.all(
                "SELECT document FROM user_networks WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id",
                [reference],
                |row| row.get(0),
            )?,
        };
        texts
            .iter()
            .map(|text| from_json("network", text))
            .collect()
    }

    /// Releases the addresses a container has on one network.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn release_network_addresses(&self, network: &str, container: &str) -> Result<()> {
        self.execute(
            "DELETE FROM addresses WHERE network = ? AND container = ?",
            (network, container),
        )
        .map(drop)
    }
}

impl Store {
    /// [`Tx::networks`] in a transaction of its own.
    ///
    /// # Errors
    /// As there.
    pub fn networks<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        self.read(|tx| tx.networks())
    }

    /// [`Tx::find_networks`] in a transaction of its own.
    ///
    /// # Errors
    /// As there.
    pub fn find_networks<T: DeserializeOwned>(&self, reference: &str) -> Result<Vec<T>> {
        self.read(|tx| tx.find_networks(reference))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_unique_names_and_are_found_by_id_name_and_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let write = |work: &dyn Fn(&Tx<'_>) -> Result<()>| store.write(|tx| work(tx));
        write(&|tx| tx.insert_network("aa1", "front", &"doc1")).unwrap();
        write(&|tx| tx.insert_network("aa2", "back", &"doc2")).unwrap();
        let taken = write(&|tx| tx.insert_network("ab", "front", &"doc"));
        assert!(matches!(taken, Err(Error::NameTaken { by, .. }) if by == "aa1"));
        let find = |text: &str| store.find_networks::<String>(text).unwrap();
        assert_eq!(find("front"), ["doc1"]);
        assert_eq!(find("aa2"), ["doc2"]);
        assert_eq!(find("aa"), ["doc1", "doc2"]);
        assert!(find("").is_empty() && find("x").is_empty());
        assert_eq!(store.networks::<String>().unwrap(), ["doc2", "doc1"]);
        write(&|tx| tx.replace_network("aa1", &"new").map(drop)).unwrap();
        assert_eq!(find("front"), ["new"]);
        assert!(store.write(|tx| tx.remove_network("aa1")).unwrap());
        assert!(find("front").is_empty());
    }
}
