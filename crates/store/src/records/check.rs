use std::collections::HashSet;

use oci_spec::image::Digest;

use super::Tx;
use crate::Result;
use crate::gc::Finding;

/// Containers, pods and builds, who may hold addresses; volumes only containers.
const HOLDERS: &str =
    "SELECT id FROM containers UNION SELECT id FROM pods UNION SELECT 'lease-' || id FROM leases";

impl Tx<'_> {
    /// What SQLite says of the database.
    pub(crate) fn integrity(&self) -> Result<Vec<Finding>> {
        let lines: Vec<String> = self.all("PRAGMA quick_check", [], |row| row.get(0))?;
        let bad = lines.into_iter().filter(|line| line != "ok");
        Ok(bad.map(|reason| Finding::Database { reason }).collect())
    }

    /// Addresses and volumes that are held for containers which are not there.
    pub(crate) fn held_for_nobody(&self) -> Result<Vec<Finding>> {
        let sql = format!(
            "SELECT network, container FROM addresses WHERE container NOT IN ({HOLDERS}) ORDER BY network, container"
        );
        let mut found = self.all(&sql, [], |row| {
            Ok(Finding::AddressHeld {
                network: row.get(0)?,
                container: row.get(1)?,
            })
        })?;
        let sql = "SELECT volume, container FROM volume_uses
                   WHERE container NOT IN (SELECT id FROM containers) ORDER BY volume, container";
        found.extend(self.all(sql, [], |row| {
            Ok(Finding::VolumeHeld {
                volume: row.get(0)?,
                container: row.get(1)?,
            })
        })?);
        Ok(found)
    }

    pub(crate) fn release_held_for_nobody(&self) -> Result<()> {
        let sql = format!("DELETE FROM addresses WHERE container NOT IN ({HOLDERS})");
        self.execute(&sql, [])?;
        let sql = "DELETE FROM volume_uses WHERE container NOT IN (SELECT id FROM containers)";
        self.execute(sql, []).map(drop)
    }

    /// The ids of all containers.
    pub(crate) fn container_ids(&self) -> Result<HashSet<String>> {
        self.names("SELECT id FROM containers")
    }

    /// The names of all volumes.
    pub(crate) fn volume_names(&self) -> Result<HashSet<String>> {
        self.names("SELECT name FROM volumes")
    }

    /// The names of all layers' directories.
    pub(crate) fn layer_dirs(&self) -> Result<HashSet<String>> {
        self.names("SELECT replace(chain_id, 'sha256:', '') FROM layers")
    }

    fn names(&self, sql: &str) -> Result<HashSet<String>> {
        Ok(self.all(sql, [], |row| row.get(0))?.into_iter().collect())
    }

    /// The ids of all containers, and the topmost layer each stands on.
    pub(crate) fn container_layers(&self) -> Result<Vec<(String, Option<Digest>)>> {
        let sql = "SELECT id, layer FROM containers ORDER BY rowid";
        let rows: Vec<(String, Option<String>)> =
            self.all(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let parsed = rows.into_iter();
        Ok(parsed
            .map(|(id, layer)| (id, layer.and_then(|layer| layer.parse().ok())))
            .collect())
    }
}
