//! RUN steps.

use rctr_engine::options::{AddHost, NetworkMode, RunOptions, SeccompChoice, SecurityOptions};
use rctr_engine::{Step, StepEnd};

use rctr_registry_client::Platform;

use super::key::Key;
use super::mounts::Mounts;
use super::work::{HitOrTurn, Work};
use super::{Solved, emulation, stubs};
use crate::plan::{Origin, Run};
use crate::progress::Event;
use crate::{BuildError, Result};

/// The name of every machine that RUN steps see.
const HOSTNAME: &str = "buildkitsandbox";

impl Work<'_> {
    pub(super) fn run(&self, run: &Run) -> Result<Solved> {
        let base = self.solver.input(run.base)?;
        let defined = self.defined(run, &base);
        if let Some(key) = &defined {
            if self.solver.may_skip()
                && let Some(hit) = self.hit(key, &base)?
            {
                return Ok(hit);
            }
            self.ahead();
        }
        let mut shown = Vec::with_capacity(run.mounts.len());
        for mount in &run.mounts {
            shown.push(match &mount.origin {
                Some(Origin::Node(node)) => Some(self.solver.input(*node)?),
                _ => None,
            });
        }
        let shown: Vec<Option<&Solved>> = shown.iter().map(Option::as_deref).collect();
        let identities: Vec<Option<&str>> = shown.iter().map(|s| s.map(Solved::identity)).collect();
        let key = self.run_key(run, base.identity(), &identities).digest();
        let _turn = match self.hit_or_turn(&key, &base)? {
            HitOrTurn::Hit(hit) => {
                self.remember_origin(defined, None, &hit)?;
                return Ok(hit);
            }
            HitOrTurn::Turn(turn) => turn,
        };
        let platform = &run.platform;
        if !emulation::runs(platform) {
            return Err(BuildError::Instruction {
                span: self.node.span,
                reason: format!(
                    "programs for {platform} do not run on this machine: register an emulator with the kernel (Debian's \
                     package qemu-user-static does), or build for {}",
                    Platform::host()
                ),
            });
        }
        let build_step = self.begin(&base)?;
        let mut options = self.options(run);
        let labels = self.solver.runner.labels(&options)?;
        let labels = labels.as_ref();
        let mounts = Mounts::prepare(self.solver, run, &shown, build_step.dir(), labels)?;
        let chain_ids = base.chain_ids();
        let mut env = run.env.clone();
        env.extend(mounts.env.iter().cloned());
        env.extend(run.proxies.iter().cloned());
        options.tty = false;
        let step = Step {
            layers: &chain_ids,
            upper: build_step.upper(),
            work: build_step.work(),
            dir: build_step.dir(),
            args: run.args.clone(),
            env,
            user: run.user.clone(),
            working_dir: run.working_dir.clone(),
            options,
            mounts: mounts.list.clone(),
            labels,
        };
        let end = self.solver.runner.run(
            &step,
            rustix::fd::AsFd::as_fd(self.solver.cancel),
            &mut |stream, bytes| {
                self.event(Event::Output {
                    vertex: self.vertex,
                    stream,
                    bytes,
                });
            },
        )?;
        let targets = mounts.targets();
        drop(mounts);
        match end {
            StepEnd::Cancelled => return Err(BuildError::Cancelled),
            StepEnd::Exited(status) if status.code != 0 => {
                return Err(BuildError::Step {
                    span: self.node.span,
                    command: run.shown.clone(),
                    code: status.code,
                    oom_killed: status.oom_killed,
                });
            }
            StepEnd::Exited(_) => {}
        }
        let lower = self.solver.engine.store().layer_paths(&chain_ids)?;
        stubs::remove(build_step.upper(), &lower, &targets)?;
        let solved = self.commit(build_step, &base, &key, "regular")?;
        self.remember_origin(defined, None, &solved)?;
        Ok(solved)
    }

    /// The key by which the result is found without what other stages make for its mounts.
    fn defined(&self, run: &Run, base: &Solved) -> Option<String> {
        let mut stages = false;
        let mut shown = Vec::with_capacity(run.mounts.len());
        for mount in &run.mounts {
            shown.push(match &mount.origin {
                Some(Origin::Node(node)) => {
                    stages |= self.solver.stage_definition(*node).is_some();
                    Some(self.solver.definition(*node)?)
                }
                _ => None,
            });
        }
        let key = || self.run_key(run, base.identity(), &shown);
        stages.then(|| key().field("defined", &true).digest())
    }

    /// Everything the result depends on. Not: contents of secrets, proxies, added hosts, limits.
    pub(super) fn run_key(&self, run: &Run, base: &str, shown: &[Option<&str>]) -> Key {
        let mounts: Vec<String> = run
            .mounts
            .iter()
            .zip(shown)
            .map(|(mount, shown)| format!("{:?} {}", mount.mount, shown.unwrap_or_default()))
            .collect();
        let network = match run.network {
            NetworkMode::None => "none",
            NetworkMode::Host => "host",
            _ => "default",
        };
        self.key("run")
            .field("base", base)
            .field("args", &run.args)
            .field("script", &run.script)
            .field("env", &run.env)
            .field("user", &run.user)
            .field("working_dir", &run.working_dir)
            .field("network", network)
            .field("insecure", &run.insecure)
            .field("mounts", &mounts)
            .field("platform", &run.platform.to_string())
    }

    fn options(&self, run: &Run) -> RunOptions {
        let asked = self.solver.options;
        let mut add_hosts = vec![AddHost {
            name: HOSTNAME.into(),
            address: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        }];
        add_hosts.extend(asked.add_hosts.iter().cloned());
        RunOptions {
            hostname: Some(HOSTNAME.into()),
            add_hosts,
            network: run.network.clone(),
            shm_size: asked.shm_size,
            ulimits: asked.ulimits.clone(),
            privileged: run.insecure,
            security: SecurityOptions {
                seccomp: SeccompChoice::Default,
                ..SecurityOptions::default()
            },
            ..RunOptions::default()
        }
    }
}
