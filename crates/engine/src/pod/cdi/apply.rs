//! What names stand for, made in a container's configuration.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use oci_spec::runtime::{
    Hook, HookBuilder, Hooks, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup,
    LinuxDeviceCgroupBuilder, LinuxDeviceType, Mount, MountBuilder, Spec,
};

use super::{CdiError, ContainerEdits, NamedHook, Node, Shown};
use crate::resolve::set_env;
/// Makes the changes in a container's configuration.
///
/// # Errors
/// [`CdiError::Node`], [`CdiError::Unsupported`], [`CdiError::Oci`].
pub(super) fn apply(edits: &[ContainerEdits], spec: &mut Spec) -> Result<(), CdiError> {
    for edit in edits {
        edit.apply(spec)?;
    }
    if edits.iter().any(|edit| !edit.mounts.is_empty()) {
        // Parents first, or they would hide what is mounted below them.
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        mounts.sort_by_key(|mount| mount.destination().components().count());
        spec.set_mounts(Some(mounts));
    }
    Ok(())
}

impl ContainerEdits {
    fn apply(&self, spec: &mut Spec) -> Result<(), CdiError> {
        let unsupported = |what, value: String| Err(CdiError::Unsupported { what, value });
        if let Some(value) = &self.intel_rdt {
            return unsupported("intelRdt", value.to_string());
        }
        if let Some(value) = self.net_devices.first() {
            return unsupported("netDevices", value.to_string());
        }
        self.apply_to_process(spec);
        for node in &self.device_nodes {
            node.apply(spec)?;
        }
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        for shown in &self.mounts {
            mounts.retain(|mount| mount.destination() != &shown.container_path);
            mounts.push(shown.mount()?);
        }
        spec.set_mounts(Some(mounts));
        let mut hooks = spec.hooks().clone().unwrap_or_default();
        for hook in &self.hooks {
            hook.apply(&mut hooks)?;
        }
        spec.set_hooks(Some(hooks).filter(|hooks| *hooks != Hooks::default()));
        Ok(())
    }

    fn apply_to_process(&self, spec: &mut Spec) {
        let Some(process) = spec.process_mut() else {
            return;
        };
        let mut env = process.env().clone().unwrap_or_default();
        for entry in self.env.iter().filter(|entry| entry.contains('=')) {
            set_env(&mut env, entry);
        }
        process.set_env(Some(env));
        let mut user = process.user().clone();
        let mut gids = user.additional_gids().clone().unwrap_or_default();
        for gid in self.additional_gids.iter().filter(|gid| **gid != 0) {
            if !gids.contains(gid) {
                gids.push(*gid);
            }
        }
        user.set_additional_gids(Some(gids));
        process.set_user(user);
    }
}

impl Node {
    fn apply(&self, spec: &mut Spec) -> Result<(), CdiError> {
        let owner = spec
            .process()
            .as_ref()
            .map(|p| (p.user().uid(), p.user().gid()));
        let device = self.device(owner)?;
        let rule = self.rule(&device)?;
        let Some(linux) = spec.linux_mut() else {
            return Ok(());
        };
        let mut devices = linux.devices().clone().unwrap_or_default();
        devices.retain(|other| other.path() != device.path());
        devices.push(device);
        linux.set_devices(Some(devices));
        if let (Some(rule), Some(resources)) = (rule, linux.resources_mut()) {
            let mut rules = resources.devices().clone().unwrap_or_default();
            rules.push(rule);
            resources.set_devices(Some(rules));
        }
        Ok(())
    }

    /// The node; what the file does not say is as on the host, and it belongs to the container's user.
    fn device(&self, owner: Option<(u32, u32)>) -> Result<LinuxDevice, CdiError> {
        let said = match (self.kind.as_deref(), self.major, self.minor) {
            (Some("p"), ..) => Some((LinuxDeviceType::P, 0, 0)),
            (Some("b"), Some(major), Some(minor)) => Some((LinuxDeviceType::B, major, minor)),
            (Some("c" | "u"), Some(major), Some(minor)) => Some((LinuxDeviceType::C, major, minor)),
            (Some("b" | "c" | "u") | None, ..) => None,
            (Some(other), ..) => {
                return Err(CdiError::Unsupported {
                    what: "type",
                    value: other.to_owned(),
                });
            }
        };
        let path = self.host_path.as_ref().unwrap_or(&self.path);
        let on_host = of_host(path);
        let mode = on_host.as_ref().ok().map(|(_, mode)| *mode);
        let (typ, major, minor) = match said {
            Some(said) => said,
            None => {
                let found = on_host.map_err(|source| CdiError::Node {
                    path: path.clone(),
                    source,
                })?;
                found.0
            }
        };
        let (uid, gid) = owner.unwrap_or_default();
        Ok(LinuxDeviceBuilder::default()
            .path(&self.path)
            .typ(typ)
            .major(major)
            .minor(minor)
            .file_mode(self.file_mode.or(mode).unwrap_or(0o660))
            .uid(self.uid.unwrap_or(uid))
            .gid(self.gid.unwrap_or(gid))
            .build()?)
    }

    /// What lets it be used; a pipe needs nothing.
    fn rule(&self, device: &LinuxDevice) -> Result<Option<LinuxDeviceCgroup>, CdiError> {
        if device.typ() == LinuxDeviceType::P {
            return Ok(None);
        }
        let access = self
            .permissions
            .as_deref()
            .filter(|access| !access.is_empty());
        let rule = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(device.typ())
            .major(device.major())
            .minor(device.minor())
            .access(access.unwrap_or("rwm"));
        Ok(Some(rule.build()?))
    }
}

type Numbers = (LinuxDeviceType, i64, i64);

/// Type, numbers and mode of a device of the host.
fn of_host(path: &Path) -> io::Result<(Numbers, u32)> {
    let metadata = fs::metadata(path)?;
    let kind = metadata.file_type();
    let typ = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => LinuxDeviceType::C,
        (_, true) => LinuxDeviceType::B,
        _ => return Err(io::Error::other("it is no device")),
    };
    let rdev = metadata.rdev();
    let (major, minor) = (i64::from(libc::major(rdev)), i64::from(libc::minor(rdev)));
    Ok(((typ, major, minor), metadata.mode() & 0o7777))
}

impl Shown {
    fn mount(&self) -> Result<Mount, CdiError> {
        let mut options = self.options.clone();
        let bind = self.kind.as_deref().is_none_or(|kind| kind == "bind");
        if bind
            && !options
                .iter()
                .any(|option| option == "bind" || option == "rbind")
        {
            options.insert(0, "bind".to_owned());
        }
        Ok(MountBuilder::default()
            .destination(&self.container_path)
            .typ(self.kind.as_deref().unwrap_or("bind"))
            .source(&self.host_path)
            .options(options)
            .build()?)
    }
}

impl NamedHook {
    fn apply(&self, hooks: &mut Hooks) -> Result<(), CdiError> {
        let mut hook = HookBuilder::default().path(&self.path);
        if !self.args.is_empty() {
            hook = hook.args(self.args.clone());
        }
        if !self.env.is_empty() {
            hook = hook.env(self.env.clone());
        }
        if let Some(timeout) = self.timeout {
            hook = hook.timeout(timeout);
        }
        let add = |to: &Option<Vec<Hook>>, hook: Hook| {
            let mut all = to.clone().unwrap_or_default();
            all.push(hook);
            Some(all)
        };
        let hook = hook.build()?;
        match self.hook_name.as_str() {
            // The older name of the same moment.
            "createRuntime" | "prestart" => {
                hooks.set_create_runtime(add(hooks.create_runtime(), hook))
            }
            "createContainer" => hooks.set_create_container(add(hooks.create_container(), hook)),
            "startContainer" => hooks.set_start_container(add(hooks.start_container(), hook)),
            other => {
                return Err(CdiError::Unsupported {
                    what: "hookName",
                    value: other.to_owned(),
                });
            }
        };
        Ok(())
    }
}
