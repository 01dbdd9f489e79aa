//! Networks of pods that are made by CNI plugins: the runtime's side of the CNI specification 1.1.
//!
//! [`NetworkList::load`] finds the node's network, [`Cni`] runs its plugins one after the other. Nothing is remembered
//! here: whoever attaches a pod keeps the [`NetworkList`] and the result of [`Cni::add`], and gives them back to detach
//! it, so that a changed configuration never strands a pod that was made under the old one.

mod list;
mod orphans;
mod plugin;
mod result;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

pub use list::NetworkList;
pub use orphans::end_orphans;
pub use result::{Address, CniResult};

use crate::{Error, Result};
use plugin::{Command, Run};

/// How long one plugin may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One container's attachment to a network.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// The sandbox's id: letters, digits, `_`, `.` and `-`.
    pub container_id: String,
    /// Path of its network namespace; `None` only for [`Cni::del`] of one that is gone.
    pub netns: Option<PathBuf>,
    /// Name of the interface inside.
    pub ifname: String,
    /// `CNI_ARGS`: what the runtime says of the container (`K8S_POD_NAME`, …).
    pub args: Vec<(String, String)>,
    /// What a plugin gets as `runtimeConfig` if it declares the capability (`portMappings`, `dns`, …).
    pub capabilities: Map<String, Value>,
}

/// Where plugins are.
#[derive(Debug, Clone)]
pub struct Cni {
    bin_dirs: Vec<PathBuf>,
    patience: Duration,
}

impl Cni {
    /// Plugins are looked for in `bin_dirs`, in this order.
    pub fn new(bin_dirs: Vec<PathBuf>) -> Cni {
        Cni {
            bin_dirs,
            patience: PATIENCE,
        }
    }

    /// Attaches a container: every plugin of the list in order, each with the result of the one before. What a failed
    /// attempt has made is taken back before this returns.
    ///
    /// # Errors
    /// The first plugin's that failed: [`Error::CniPlugin`], [`Error::CniPluginMissing`], [`Error::CniTimeout`].
    pub fn add(&self, list: &NetworkList, attachment: &Attachment) -> Result<CniResult> {
        let mut result = None;
        for plugin in &list.plugins {
            match self.run(
                list,
                plugin,
                Command::Add,
                Some(attachment),
                result.as_ref(),
            ) {
                Ok(output) => result = Some(output.unwrap_or_else(|| json!({}))),
                Err(error) => {
                    if let Err(second) = self.del(list, attachment, result.as_ref()) {
                        tracing::warn!(error = %second, "a failed attachment is not taken back in full");
                    }
                    return Err(error);
                }
            }
        }
        CniResult::parse(result.unwrap_or_else(|| json!({})), list)
    }

    /// Detaches a container: the plugins in reverse order, all of them even if one fails. A container that is not
    /// attached is fine. `result` is what [`Cni::add`] gave.
    ///
    /// # Errors
    /// The first failure, after all plugins have had their turn.
    pub fn del(
        &self,
        list: &NetworkList,
        attachment: &Attachment,
        result: Option<&Value>,
    ) -> Result<()> {
        let previous = result.filter(|_| list.at_least(0, 4));
        let mut outcome = Ok(());
        for plugin in list.plugins.iter().rev() {
            let ended = self.run(list, plugin, Command::Del, Some(attachment), previous);
            outcome = outcome.and(ended.map(drop));
        }
        outcome
    }

    /// Asks the plugins whether an attachment is still as it was made. Nothing is asked below version 0.4 or where the
    /// list says `disableCheck`.
    ///
    /// # Errors
    /// The first plugin's that finds something wrong.
    pub fn check(&self, list: &NetworkList, attachment: &Attachment, result: &Value) -> Result<()> {
        if list.disable_check || !list.at_least(0, 4) {
            return Ok(());
        }
        for plugin in &list.plugins {
            self.run(list, plugin, Command::Check, Some(attachment), Some(result))?;
        }
        Ok(())
    }

    /// Asks the plugins whether they can serve an ADD; before version 1.1 a complete set of plugins is enough.
    ///
    /// # Errors
    /// The first plugin's that cannot: the network is not ready.
    pub fn status(&self, list: &NetworkList) -> Result<()> {
        for plugin in &list.plugins {
            match list.at_least(1, 1) {
                true => drop(self.run(list, plugin, Command::Status, None, None)?),
                false => drop(self.find(list, plugin)?),
            }
        }
        Ok(())
    }

    /// Tells the plugins which attachments there are (`container id, interface`), so that they give back what they
    /// hold for others. Nothing is done before version 1.1 or where the list says `disableGC`.
    ///
    /// # Errors
    /// The first failure, after all plugins have had their turn.
    pub fn gc(&self, list: &NetworkList, valid: &[(String, String)]) -> Result<()> {
        if list.disable_gc || !list.at_least(1, 1) {
            return Ok(());
        }
        let valid: Vec<Value> = valid
            .iter()
            .map(|(id, ifname)| json!({"containerID": id, "ifname": ifname}))
            .collect();
        let mut outcome = Ok(());
        for plugin in &list.plugins {
            let mut plugin = plugin.clone();
            plugin.insert("cni.dev/valid-attachments".into(), valid.clone().into());
            let ended = self.run(list, &plugin, Command::Gc, None, None);
            outcome = outcome.and(ended.map(drop));
        }
        outcome
    }

    /// Runs one plugin with the configuration that the specification derives for it (section 3).
    fn run(
        &self,
        list: &NetworkList,
        plugin: &Map<String, Value>,
        command: Command,
        attachment: Option<&Attachment>,
        previous: Option<&Value>,
    ) -> Result<Option<Value>> {
        let mut config = plugin.clone();
        let declared = config.remove("capabilities");
        config.insert("name".into(), list.name.clone().into());
        config.insert("cniVersion".into(), list.version.clone().into());
        if let Some(attachment) = attachment {
            let wanted =
                |name: &str| declared.as_ref().and_then(|d| d.get(name)) == Some(&true.into());
            let given: Map<String, Value> = attachment
                .capabilities
                .iter()
                .filter(|(name, _)| wanted(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            if !given.is_empty() {
                config.insert("runtimeConfig".into(), given.into());
            }
        }
        if let Some(previous) = previous {
            config.insert("prevResult".into(), previous.clone());
        }
        let run = Run {
            binary: self.find(list, plugin)?,
            command,
            config: Value::Object(config),
            attachment,
            bin_dirs: &self.bin_dirs,
            patience: self.patience,
        };
        run.run()
    }

    fn find(&self, list: &NetworkList, plugin: &Map<String, Value>) -> Result<PathBuf> {
        let name = list.plugin_type(plugin)?;
        let found = self
            .bin_dirs
            .iter()
            .map(|dir| dir.join(name))
            .find(|path| path.is_file());
        found.ok_or_else(|| Error::CniPluginMissing {
            plugin: name.into(),
            looked: self.bin_dirs.clone(),
        })
    }
}
