use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxDeviceCgroup;

use super::controller::Controller;
use crate::common::{ControllerOpt, WrapIoResult, WrappedIoError};

pub struct Devices {}

impl Controller for Devices {
    type Error = WrappedIoError;
    type Resource = ();

    fn apply(controller_opt: &ControllerOpt, cgroup_root: &Path) -> Result<(), Self::Error> {
        tracing::debug!("Apply Devices cgroup config");

        if let Some(devices) = controller_opt.resources.devices().as_ref() {
            // rctr: each file is opened once.
            let mut allow = RuleFile::new(cgroup_root, "devices.allow");
            let mut deny = RuleFile::new(cgroup_root, "devices.deny");
            for d in devices {
                let file = if d.allow() { &mut allow } else { &mut deny };
                file.write(d)?;
            }
        }

        // rctr: the specification's rules are complete; the defaults added here would allow /dev/net/tun.

        Ok(())
    }

    // always needs to be called due to default devices
    fn needs_to_handle<'a>(_controller_opt: &'a ControllerOpt) -> Option<&'a Self::Resource> {
        Some(&())
    }
}

/// A file that takes one rule with each write.
struct RuleFile {
    path: PathBuf,
    file: Option<File>,
}

impl RuleFile {
    fn new(cgroup_root: &Path, name: &str) -> Self {
        Self {
            path: cgroup_root.join(name),
            file: None,
        }
    }

    fn write(&mut self, rule: &LinuxDeviceCgroup) -> Result<(), WrappedIoError> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => {
                let open = OpenOptions::new().write(true).open(&self.path);
                empty.insert(open.wrap_open(&self.path)?)
            }
        };
        let rule = rule.to_string();
        file.write_all(rule.as_bytes()).wrap_write(&self.path, rule)
    }
}
