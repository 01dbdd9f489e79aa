//! `rctr update`.

use std::io::{self, Write};

use rctr_engine::Update;
use rctr_engine::options::{
    ParseError, Resources, check_cpuset, parse_cpus, parse_memory_swap, parse_size,
};

use crate::app::App;
use crate::cli::UpdateArgs;
use crate::failure::{Failure, GENERAL, Result, chain, for_each};
use crate::usage::require_names;

pub fn run(app: &App, command: &str, args: &UpdateArgs) -> Result {
    require_names(command, &args.names)?;
    let update = update(command, args)?;
    let engine = app.engine()?;
    for_each(&args.names, |name| {
        let warnings = engine.update(name, &update)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{name}")?;
        for warning in warnings {
            writeln!(out, "{warning}")?;
        }
        Ok(())
    })
}

/// As with Docker, a limit of 0 leaves it as it is.
fn update(command: &str, args: &UpdateArgs) -> Result<Update> {
    fn set<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
        value.filter(|value| *value != T::default())
    }
    if !any(args) {
        let message = "you must provide one or more flags when using this command";
        return Err(Failure::new(GENERAL, message));
    }
    let flags = Flags { command };
    let mut resources = Resources {
        memory: set(flags.read("-m, --memory", &args.memory, parse_size)?),
        memory_swap: set(flags.read("--memory-swap", &args.memory_swap, parse_memory_swap)?),
        memory_reservation: set(flags.read(
            "--memory-reservation",
            &args.memory_reservation,
            parse_size,
        )?),
        kernel_memory: set(flags.read("--kernel-memory", &args.kernel_memory, parse_size)?),
        nano_cpus: set(flags.read("--cpus", &args.cpus, parse_cpus)?),
        cpu_shares: set(args.cpu_shares),
        cpu_period: set(args.cpu_period),
        cpu_quota: set(args.cpu_quota),
        cpu_rt_period: set(args.cpu_rt_period),
        cpu_rt_runtime: set(args.cpu_rt_runtime),
        cpuset_cpus: set(flags.read("--cpuset-cpus", &args.cpuset_cpus, |text| {
            cpuset("cpus", text)
        })?),
        cpuset_mems: set(flags.read("--cpuset-mems", &args.cpuset_mems, |text| {
            cpuset("mems", text)
        })?),
        // Docker tells no limit as 0.
        pids_limit: set(args.pids_limit).map(|limit| limit.max(0)),
        ..Resources::default()
    };
    resources.block_io.weight = args.blkio_weight.unwrap_or_default();
    let restart = match args.restart.as_deref().map(str::parse) {
        None => None,
        Some(Ok(policy)) => Some(policy),
        Some(Err(error)) => {
            let error: ParseError = error;
            return Err(Failure::usage(GENERAL, command, chain(&error)));
        }
    };
    Ok(Update { resources, restart })
}

/// An empty list leaves it as it is.
fn cpuset(kind: &'static str, text: &str) -> std::result::Result<String, ParseError> {
    if !text.is_empty() {
        check_cpuset(kind, text)?;
    }
    Ok(text.to_owned())
}

fn any(args: &UpdateArgs) -> bool {
    let UpdateArgs {
        blkio_weight,
        cpu_period,
        cpu_quota,
        cpu_rt_period,
        cpu_rt_runtime,
        cpu_shares,
        cpus,
        cpuset_cpus,
        cpuset_mems,
        kernel_memory,
        memory,
        memory_reservation,
        memory_swap,
        pids_limit,
        restart,
        names: _,
    } = args;
    let texts = [
        cpus,
        cpuset_cpus,
        cpuset_mems,
        kernel_memory,
        memory,
        memory_reservation,
        memory_swap,
        restart,
    ];
    texts.iter().any(|text| text.is_some())
        || [cpu_period, cpu_rt_period, cpu_shares]
            .iter()
            .any(|n| n.is_some())
        || [cpu_quota, cpu_rt_runtime, pids_limit]
            .iter()
            .any(|n| n.is_some())
        || blkio_weight.is_some()
}

struct Flags<'a> {
    command: &'a str,
}

impl Flags<'_> {
    fn read<T>(
        &self,
        flag: &str,
        text: &Option<String>,
        parse: impl Fn(&str) -> std::result::Result<T, ParseError>,
    ) -> Result<Option<T>> {
        let parse = |text: &str| {
            parse(text).map_err(|error| Failure::argument(self.command, text, flag, &error))
        };
        text.as_deref().map(parse).transpose()
    }
}
