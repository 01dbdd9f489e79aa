use std::collections::HashSet;
use std::sync::OnceLock;

use oci_spec::image::Digest;

use super::Tx;
use crate::Result;
use crate::store::Store;

/// Keeps blobs and layers from garbage collection while this process works with them.
///
/// Ends when dropped, or when the process dies.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    id: i64,
}

impl Lease {
    /// The name under which addresses are taken ([`Tx::allocate_address`]) that are to be given back with this lease.
    pub fn owner(&self) -> String {
        owner_name(self.id)
    }

    /// Keeps these, too.
    ///
    /// # Errors
    /// [`crate::Error::Database`].
    pub fn extend<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) -> Result<()> {
        self.store.write(|tx| self.extend_in(tx, digests))
    }

    /// The same within a transaction.
    pub(crate) fn extend_in<'a>(
        &self,
        tx: &Tx<'_>,
        digests: impl IntoIterator<Item = &'a Digest>,
    ) -> Result<()> {
        tx.insert_lease_items(self.id, digests)
    }

    /// Keeps an SELinux level from others as long as it lives; see [`Tx::leased_levels`].
    ///
    /// # Errors
    /// [`crate::Error::Database`].
    pub fn take_level(&self, tx: &Tx<'_>, level: &str) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO lease_levels (lease, level) VALUES (?, ?)";
        tx.execute(sql, (self.id, level)).map(drop)
    }
}

fn owner_name(lease: i64) -> String {
    format!("lease-{lease}")
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Err(e) = self.store.write(|tx| tx.delete_lease(self.id)) {
            tracing::warn!(error = %e, "lease left behind until this process ends");
        }
    }
}

impl Store {
    /// Takes a lease on blobs and layers (by chain id), whether they are there already or not.
    ///
    /// # Errors
    /// [`crate::Error::Database`].
    pub fn lease<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) -> Result<Lease> {
        let owner = Owner::current();
        let id = self.write(|tx| {
            tx.execute(
                "INSERT INTO leases (boot, pid, started) VALUES (?, ?, ?)",
                (&owner.boot, owner.pid, owner.started),
            )?;
            let id = tx.conn.last_insert_rowid();
            tx.insert_lease_items(id, digests)?;
            Ok::<_, crate::Error>(id)
        })?;
        Ok(Lease {
            store: self.clone(),
            id,
        })
    }
}

impl Tx<'_> {
    fn insert_lease_items<'a>(
        &self,
        lease: i64,
        digests: impl IntoIterator<Item = &'a Digest>,
    ) -> Result<()> {
        for digest in digests {
            self.execute(
                "INSERT OR IGNORE INTO lease_items (lease, digest) VALUES (?, ?)",
                (lease, digest.as_ref()),
            )?;
        }
        Ok(())
    }

    fn delete_lease(&self, id: i64) -> Result<()> {
        self.execute("DELETE FROM lease_items WHERE lease = ?", [id])?;
        self.execute(
            "DELETE FROM addresses WHERE container = ?",
            [owner_name(id)],
        )?;
        self.execute("DELETE FROM lease_levels WHERE lease = ?", [id])?;
        self.execute("DELETE FROM leases WHERE id = ?", [id])
            .map(drop)
    }

    /// Ends the leases of processes that live no more.
    ///
    /// # Errors
    /// [`crate::Error::Database`].
    pub fn drop_dead_leases(&self) -> Result<()> {
        let dead = self.dead_leases()?;
        dead.into_iter().try_for_each(|id| self.delete_lease(id))
    }

    /// The leases of processes that live no more.
    pub(crate) fn dead_leases(&self) -> Result<Vec<i64>> {
        let leases = self.all("SELECT id, boot, pid, started FROM leases", [], |row| {
            let owner = Owner {
                boot: row.get(1)?,
                pid: row.get(2)?,
                started: row.get(3)?,
            };
            Ok((row.get(0)?, owner))
        })?;
        let dead = leases.into_iter().filter(|(_, owner)| !owner.is_alive());
        Ok(dead.map(|(id, _)| id).collect())
    }

    /// The SELinux levels that leases keep.
    ///
    /// # Errors
    /// [`crate::Error::Database`].
    pub fn leased_levels(&self) -> Result<Vec<String>> {
        self.all("SELECT level FROM lease_levels", [], |row| row.get(0))
    }

    pub(crate) fn leased(&self) -> Result<HashSet<String>> {
        Ok(self
            .all("SELECT digest FROM lease_items", [], |row| row.get(0))?
            .into_iter()
            .collect())
    }
}

/// A process, beyond doubt: pids are used again.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    boot: String,
    pid: u32,
    /// Clock ticks since boot.
    started: i64,
}

impl Owner {
    fn current() -> Self {
        let pid = std::process::id();
        Owner {
            boot: boot_id().to_owned(),
            pid,
            started: start_time(pid).unwrap_or_default(),
        }
    }

    fn is_alive(&self) -> bool {
        self.boot == boot_id() && start_time(self.pid) == Some(self.started)
    }
}

pub(super) fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .unwrap_or_default()
            .trim()
            .to_owned()
    })
}

/// Field 22 of /proc/PID/stat (proc(5)); the name in field 2 may contain anything, so count from its closing bracket.
fn start_time(pid: u32) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    // A zombie holds nothing any more.
    if state == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
