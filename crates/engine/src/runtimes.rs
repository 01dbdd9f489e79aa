//! Which program makes a container: the built-in runtime, or one of the configuration's.

use rctr_runtime::ForeignRuntime;

use crate::model::Container;
use crate::options::RunOptions;
use crate::pod::Pod;
use crate::{Engine, Error, Result};

/// What Docker calls the runtime that it has when none is named; here they all mean the built-in one, unless the
/// configuration says otherwise.
const BUILT_IN: [&str; 3] = ["runc", "io.containerd.runc.v2", "rctr"];

impl Engine {
    /// Refuses a runtime that there is not.
    pub(crate) fn check_runtime(&self, options: &RunOptions) -> Result<()> {
        self.runtime_named(options.runtime.as_deref()).map(drop)
    }

    /// What makes a container; none for the built-in runtime. A pod's handler decides for its containers.
    pub(crate) fn runtime_of(
        &self,
        container: &Container,
        pod: Option<&Pod>,
    ) -> Result<Option<ForeignRuntime>> {
        let Some(pod) = pod else {
            return self.runtime_named(container.options.runtime.as_deref());
        };
        let handler = self.config.settings.cri.handlers.get(&pod.options.handler);
        Ok(handler.and_then(|handler| {
            Some(ForeignRuntime {
                path: handler.path.clone()?,
                args: handler.args.clone(),
            })
        }))
    }

    fn runtime_named(&self, name: Option<&str>) -> Result<Option<ForeignRuntime>> {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        match self.config.settings.runtimes.get(name) {
            Some(runtime) => Ok(Some(ForeignRuntime {
                path: runtime.path.clone(),
                args: runtime.args.clone(),
            })),
            None if BUILT_IN.contains(&name) => Ok(None),
            None => Err(Error::UnknownRuntime {
                name: name.to_owned(),
            }),
        }
    }

    /// The names that `--runtime` takes, in order.
    pub(crate) fn runtime_names(&self) -> Vec<String> {
        let configured = self.config.settings.runtimes.keys();
        let mut names: Vec<String> = configured.cloned().collect();
        names.extend(BUILT_IN.map(str::to_owned));
        names.sort();
        names.dedup();
        names
    }
}
