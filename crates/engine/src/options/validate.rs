//! What has to hold between flags.

use std::collections::BTreeSet;

use super::{
    LimitError, MountFlagError, MountKind, NetworkMode, ParseError, Resources, RestartMode,
    RunOptions, check_cpuset, check_hostname, parse_dns_search, parse_name, parse_platform,
    parse_signal,
};

/// Below this no container starts.
const MINIMUM_MEMORY: u64 = 6 << 20;

impl RunOptions {
    /// Checks what no single flag's parser can see, and again what a front door may have filled in by hand.
    /// Gives warnings for the user.
    ///
    /// # Errors
    /// The first contradiction found, in Docker's words.
    pub fn validate(&self) -> Result<Vec<String>, ParseError> {
        let mut warnings = Vec::new();
        if let Some(name) = &self.name {
            parse_name(name)?;
        }
        if let Some(hostname) = &self.hostname {
            check_hostname(hostname)?;
        }
        if let Some(path) = self
            .working_dir
            .as_ref()
            .filter(|dir| !dir.starts_with('/'))
        {
            return Err(ParseError::WorkingDir { path: path.clone() });
        }
        if let Some(signal) = &self.stop_signal {
            parse_signal(signal)?;
        }
        if let Some(seconds) = self.stop_timeout.filter(|seconds| *seconds < -1) {
            return Err(LimitError::OutOfRange {
                flag: "--stop-timeout",
                value: seconds,
            }
            .into());
        }
        if let Some(platform) = &self.platform {
            parse_platform(platform)?;
        }
        if self.auto_remove && self.restart.mode != RestartMode::No {
            return Err(ParseError::RestartAndRemove);
        }
        if let Some(health) = &self.health {
            health.check()?;
        }
        self.check_resources(&mut warnings)?;
        super::isolation::check(self)?;
        self.check_network(&mut warnings)?;
        self.check_mounts()?;
        self.check_nul()?;
        for name in self.cap_add.iter().chain(&self.cap_drop) {
            crate::spec::caps::parse(name)?;
        }
        Ok(warnings)
    }

    pub(crate) fn check_resources(&self, warnings: &mut Vec<String>) -> Result<(), ParseError> {
        let r = &self.resources;
        r.check_processor()?;
        super::device::check_weight(r.block_io.weight)?;
        if let Some(value) = r.memory_swappiness.filter(|v| !(-1..=100).contains(v)) {
            return Err(LimitError::Swappiness { value }.into());
        }
        if r.kernel_memory.is_some_and(|limit| limit != 0) {
            warnings.push(
                "Kernels do not limit kernel memory by itself any more. Kernel memory limit discarded."
                    .to_owned(),
            );
        }
        if r.memory.is_some_and(|m| m != 0 && m < MINIMUM_MEMORY) {
            return Err(LimitError::MemoryMinimum.into());
        }
        match (
            r.memory_swap.filter(|swap| *swap > 0),
            r.memory.filter(|m| *m != 0),
        ) {
            (Some(_), None) => return Err(LimitError::SwapWithoutMemory.into()),
            (Some(swap), Some(memory)) if (swap as u64) < memory => {
                return Err(LimitError::SwapBelowMemory.into());
            }
            _ => {}
        }
        if let Some(value) = r.memory_swap.filter(|swap| *swap < -1) {
            return Err(LimitError::OutOfRange {
                flag: "--memory-swap",
                value,
            }
            .into());
        }
        match (
            r.memory_reservation.filter(|m| *m != 0),
            r.memory.filter(|m| *m != 0),
        ) {
            (Some(reservation), _) if reservation < MINIMUM_MEMORY => {
                return Err(LimitError::ReservationMinimum.into());
            }
            (Some(reservation), Some(memory)) if reservation > memory => {
                return Err(LimitError::ReservationAboveMemory.into());
            }
            _ => {}
        }
        if let Some(cpus) = &r.cpuset_cpus {
            check_cpuset("cpus", cpus)?;
        }
        if let Some(mems) = &r.cpuset_mems {
            check_cpuset("mems", mems)?;
        }
        if let Some(value) = r.oom_score_adj.filter(|v| !(-1000..=1000).contains(v)) {
            return Err(LimitError::OomScoreAdj { value }.into());
        }
        if let Some(value) = r.pids_limit.filter(|v| *v < -1) {
            return Err(LimitError::OutOfRange {
                flag: "--pids-limit",
                value,
            }
            .into());
        }
        Ok(())
    }

    fn check_network(&self, warnings: &mut Vec<String>) -> Result<(), ParseError> {
        let conflict = |first, second| Err(ParseError::Conflict { first, second });
        match &self.network {
            NetworkMode::Container(_) if self.hostname.is_some() => {
                conflict("hostname", "the network mode")
            }
            NetworkMode::Container(_)
                if !self.dns.is_empty()
                    || !self.dns_search.is_empty()
                    || !self.dns_options.is_empty() =>
            {
                conflict("dns", "the network mode")
            }
            NetworkMode::Container(_) if !self.add_hosts.is_empty() => {
                conflict("custom host-to-IP mapping", "the network mode")
            }
            NetworkMode::Container(_) if !self.publish.is_empty() || self.publish_all => {
                conflict("port publishing", "the container type network mode")
            }
            NetworkMode::Container(_) if !self.expose.is_empty() => {
                conflict("port exposing", "the container type network mode")
            }
            NetworkMode::Host if self.sysctls.keys().any(|k| k.starts_with("net.")) => {
                let name = self
                    .sysctls
                    .keys()
                    .find(|k| k.starts_with("net."))
                    .cloned()
                    .unwrap_or_default();
                Err(ParseError::SysctlHostNetwork { name })
            }
            NetworkMode::Host if !self.publish.is_empty() || self.publish_all => {
                warnings
                    .push("Published ports are discarded when using host network mode".to_owned());
                Ok(())
            }
            _ => Ok(()),
        }?;
        for domain in &self.dns_search {
            parse_dns_search(domain)?;
        }
        match self
            .dns_options
            .iter()
            .find(|o| o.is_empty() || o.contains(|c: char| c.is_whitespace() || c.is_control()))
        {
            Some(option) => Err(ParseError::DnsOption {
                value: option.clone(),
            }),
            None => Ok(()),
        }
    }

    fn check_mounts(&self) -> Result<(), ParseError> {
        let mut targets = BTreeSet::new();
        for mount in &self.mounts {
            // Docker lets a tmpfs hide behind a bind or volume of the same place, and tells only of equals.
            if !targets.insert(mount.target.as_str()) {
                return Err(MountFlagError::DuplicateMount {
                    target: mount.target.clone(),
                }
                .into());
            }
            if mount.kind == MountKind::Bind
                && !mount.source.as_ref().is_some_and(|s| s.starts_with('/'))
            {
                return Err(MountFlagError::BindSource {
                    source_path: mount.source.clone().unwrap_or_default(),
                }
                .into());
            }
        }
        Ok(())
    }

    fn check_nul(&self) -> Result<(), ParseError> {
        let words = self
            .cmd
            .iter()
            .chain(self.entrypoint.iter().flatten())
            .map(|w| ("the command", w));
        let env = self.env.iter().map(|e| ("the environment", e));
        let rest = self
            .working_dir
            .iter()
            .chain(&self.user)
            .map(|t| ("a path or user", t));
        match words
            .chain(env)
            .chain(rest)
            .find(|(_, text)| text.contains('\0'))
        {
            Some((what, value)) => Err(ParseError::Nul {
                what,
                value: value.clone(),
            }),
            None => Ok(()),
        }
    }
}

impl Resources {
    fn check_processor(&self) -> Result<(), ParseError> {
        let given = |n: Option<u64>| n.is_some_and(|n| n != 0);
        let quota = self.cpu_quota.unwrap_or(0);
        match (given(self.nano_cpus), given(self.cpu_period), quota > 0) {
            (true, true, _) => return Err(LimitError::NanoCpus { other: "Period" }.into()),
            (true, _, true) => return Err(LimitError::NanoCpus { other: "Quota" }.into()),
            _ => {}
        }
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        if self.nano_cpus.unwrap_or(0) > available as u64 * 1_000_000_000 {
            return Err(LimitError::CpusRange { available }.into());
        }
        let period = self.cpu_period.unwrap_or(0);
        if period != 0 && !(1000..=1_000_000).contains(&period) {
            return Err(LimitError::CpuPeriod.into());
        }
        if (1..1000).contains(&quota) {
            return Err(LimitError::CpuQuota.into());
        }
        match (self.cpu_rt_period, self.cpu_rt_runtime) {
            (Some(period), Some(runtime)) if period != 0 && runtime > period as i64 => {
                Err(LimitError::CpuRealtime.into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::MountSpec;
    use super::*;

    fn resources(change: impl FnOnce(&mut Resources)) -> Result<Vec<String>, ParseError> {
        let mut options = RunOptions::default();
        change(&mut options.resources);
        options.validate()
    }

    #[test]
    fn nothing_asked_is_fine() {
        assert!(RunOptions::default().validate().unwrap().is_empty());
    }

    #[test]
    fn memory_limits_fit_together() {
        let message = |r: Result<Vec<String>, ParseError>| r.unwrap_err().to_string();
        assert_eq!(
            message(resources(|r| r.memory = Some(4 << 20))),
            "Minimum memory limit allowed is 6MB"
        );
        assert_eq!(
            message(resources(|r| {
                r.memory = Some(64 << 20);
                r.memory_swap = Some(32 << 20);
            })),
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        );
        assert!(
            message(resources(|r| r.memory_swap = Some(32 << 20)))
                .starts_with("You should always set the Memory")
        );
        assert!(
            message(resources(|r| {
                r.memory = Some(64 << 20);
                r.memory_reservation = Some(65 << 20);
            }))
            .starts_with("Minimum memory limit can not be less than memory reservation")
        );
        resources(|r| {
            r.memory = Some(64 << 20);
            r.memory_swap = Some(-1);
        })
        .unwrap();
        assert!(message(resources(|r| r.oom_score_adj = Some(1001))).contains("[-1000, 1000]"));
        assert!(message(resources(|r| r.cpuset_cpus = Some("x".into()))).contains("cpuset cpus"));
    }

    #[test]
    fn anothers_network_takes_no_settings_of_its_own() {
        let check = |change: &dyn Fn(&mut RunOptions)| {
            let mut options = RunOptions {
                network: NetworkMode::Container("x".into()),
                ..Default::default()
            };
            change(&mut options);
            options.validate().unwrap_err().to_string()
        };
        let container = "conflicting options: ";
        assert_eq!(
            check(&|o| o.hostname = Some("h".into())),
            format!("{container}hostname and the network mode")
        );
        assert_eq!(
            check(&|o| o.dns.push("1.1.1.1".parse().unwrap())),
            format!("{container}dns and the network mode")
        );
        assert_eq!(
            check(&|o| o.add_hosts.push("a:1.1.1.1".parse().unwrap())),
            format!("{container}custom host-to-IP mapping and the network mode")
        );
        assert_eq!(
            check(&|o| o.publish.push("80:80".parse().unwrap())),
            format!("{container}port publishing and the container type network mode")
        );
    }

    #[test]
    fn host_network_discards_ports_with_a_warning() {
        let options = RunOptions {
            network: NetworkMode::Host,
            publish: vec!["80:80".parse().unwrap()],
            ..Default::default()
        };
        assert_eq!(
            options.validate().unwrap(),
            ["Published ports are discarded when using host network mode"]
        );
        let options = RunOptions {
            network: NetworkMode::Host,
            sysctls: [("net.core.somaxconn".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        };
        assert!(
            options
                .validate()
                .unwrap_err()
                .to_string()
                .contains("net.core.somaxconn")
        );
    }

    #[test]
    fn one_place_takes_one_mount() {
        let mounts = vec![
            MountSpec::from_volume("/a:/x").unwrap(),
            MountSpec::from_tmpfs("/x/").unwrap(),
        ];
        let options = RunOptions {
            mounts,
            ..Default::default()
        };
        assert_eq!(
            options.validate().unwrap_err().to_string(),
            "Duplicate mount point: /x"
        );
    }

    #[test]
    fn single_values_are_checked_again() {
        let check = |change: &dyn Fn(&mut RunOptions)| {
            let mut options = RunOptions::default();
            change(&mut options);
            options.validate().unwrap_err().to_string()
        };
        assert_eq!(
            check(&|o| o.cap_add.push("FOO".into())),
            "invalid capability: \"FOO\""
        );
        assert_eq!(
            check(&|o| o.stop_signal = Some("FOO".into())),
            "invalid signal: FOO"
        );
        assert!(
            check(&|o| o.working_dir = Some("x".into())).contains("needs to be an absolute path")
        );
        assert!(check(&|o| o.cmd.push("a\0b".into())).contains("NUL"));
        assert!(check(&|o| o.dns_options.push("a\nb".into())).contains("dns option"));
    }
}
