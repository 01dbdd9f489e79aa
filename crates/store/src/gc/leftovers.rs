//! What processes that were killed have left half-made or half-removed: what no record leads to.

use std::collections::HashSet;
use std::path::Path;

use super::Trash;
use crate::records::Tx;
use crate::store::Store;
use crate::{Result, fs};

impl Store {
    /// Removes what processes that were killed have left half-made or half-removed, and gives back what they held. Where
    /// there is nothing of the kind that costs a look into four directories. What somebody is at work on stays: it is
    /// locked, or its maker is in the midst of a transaction, which is waited for.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Mounted`], [`crate::Error::Database`].
    pub fn sweep_leftovers(&self) -> Result<()> {
        let mut any = false;
        self.read(|tx| {
            self.each_leftover(tx, |_| {
                any = true;
                Ok(())
            })?;
            any |= !tx.dead_leases()?.is_empty();
            Ok(())
        })?;
        if !any {
            return Ok(());
        }
        let trash = Trash::new(self)?;
        self.write(|tx| {
            tx.drop_dead_leases()?;
            self.each_leftover(tx, |path| trash.put(&self.root().join(path)))
        })?;
        trash.empty()
    }

    /// Calls `found` with each file or directory that no record leads to and that nobody is at work on, relative to the
    /// store's directory. Partial downloads are none: a pull goes on with them.
    pub(super) fn each_leftover(
        &self,
        tx: &Tx<'_>,
        mut found: impl FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        // Before the records: what is made meanwhile is in neither.
        let (layers, containers) = (
            fs::list(&self.layers_dir())?,
            fs::list(&self.containers_dir())?,
        );
        let (volumes, temporary) = (fs::list(&self.volumes_dir())?, fs::list(&self.tmp_dir())?);
        for name in unknown(layers, || tx.layer_dirs())? {
            if name != "link" {
                found(&format!("layers/{name}"))?;
            }
        }
        for name in unknown(containers, || tx.container_ids())? {
            // Whoever removes it holds the lock. It is kept meanwhile, so that nobody begins to.
            if let Some(_lock) = fs::try_lock_entry(&self.containers_dir().join(&name))? {
                found(&format!("containers/{name}"))?;
            }
        }
        for name in unknown(volumes, || tx.volume_names())? {
            // What is in a volume that somebody named is never taken for a leftover.
            let anonymous = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
            if anonymous || is_empty_volume(&self.volumes_dir().join(&name))? {
                found(&format!("volumes/{name}"))?;
            }
        }
        for name in temporary {
            let path = self.tmp_dir().join(&name);
            if !name.starts_with("partial-")
                && let Some(_lock) = fs::try_lock_entry(&path)?
            {
                found(&format!("tmp/{name}"))?;
            }
        }
        Ok(())
    }
}

/// The names that are not among the known ones; those are asked for only if they matter.
fn unknown(
    names: Vec<String>,
    known: impl FnOnce() -> Result<HashSet<String>>,
) -> Result<Vec<String>> {
    if names.is_empty() {
        return Ok(names);
    }
    let known = known()?;
    let unknown = names.into_iter().filter(|name| !known.contains(name));
    Ok(unknown.collect())
}

/// Whether nothing was ever put into it.
fn is_empty_volume(dir: &Path) -> Result<bool> {
    let names = match fs::list(dir) {
        Err(e) if fs::is_missing(&e) => return Ok(false),
        other => other?,
    };
    match &names[..] {
        [] => Ok(true),
        [data] if data == "_data" => Ok(fs::list(&dir.join(data))?.is_empty()),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewVolume;
    use crate::tests::store;

    #[test]
    fn what_nobody_works_on_goes_and_all_else_stays() {
        let (_dir, store) = store();
        let volume = NewVolume {
            name: "kept",
            ..NewVolume::default()
        };
        let (kept, _) = store.ensure_volume(&volume).unwrap();
        let root = store.root().to_owned();
        let anonymous = "e".repeat(64);
        let stray = [
            "containers/stray",
            "layers/0123",
            "tmp/half",
            "volumes/empty/_data",
            &format!("volumes/{anonymous}/_data"),
        ];
        let others = [
            "containers/busy",
            "tmp/busy",
            "tmp/partial-1",
            "volumes/named/_data",
        ];
        for path in stray.iter().chain(&others) {
            std::fs::create_dir_all(root.join(path)).unwrap();
        }
        std::fs::write(root.join("volumes/named/_data/precious"), "x").unwrap();
        std::fs::write(root.join(format!("volumes/{anonymous}/_data/x")), "x").unwrap();
        let locks = ["containers/busy", "tmp/busy"].map(|path| {
            let path = root.join(path);
            fs::try_lock_entry(&path).unwrap().unwrap()
        });
        store.sweep_leftovers().unwrap();
        for path in stray {
            let top: std::path::PathBuf = Path::new(path).components().take(2).collect();
            assert!(!root.join(top).exists(), "{path}");
        }
        for path in others {
            assert!(root.join(path).exists(), "{path}");
        }
        assert!(kept.path.is_dir(), "it has a record");
        assert_eq!(store.check().unwrap(), []);
        drop(locks);
        store.sweep_leftovers().unwrap();
        assert!(!root.join("containers/busy").exists() && !root.join("tmp/busy").exists());
    }

    #[test]
    fn what_is_in_the_making_is_waited_for() {
        let (_dir, store) = store();
        let other = Store::open(store.root()).unwrap();
        let new = crate::NewContainer {
            id: "c1",
            name: "web",
            image: None,
            layer: None,
        };
        std::thread::scope(|scope| {
            let made = store.write(|tx| {
                let dir = store.create_container_dir("c1", None)?;
                let sweeping = scope.spawn(|| other.sweep_leftovers());
                let mut seen = Vec::new();
                other.read(|tx| {
                    other.each_leftover(tx, |path| {
                        seen.push(path.to_owned());
                        Ok(())
                    })
                })?;
                assert_eq!(seen, ["containers/c1"], "not recorded yet");
                tx.insert_container(new, &"c1")?;
                Ok::<_, crate::Error>((dir, sweeping))
            });
            let (dir, sweeping) = made.unwrap();
            sweeping.join().unwrap().unwrap();
            assert!(dir.join("upper").is_dir());
        });
        assert_eq!(store.check().unwrap(), []);
    }
}
