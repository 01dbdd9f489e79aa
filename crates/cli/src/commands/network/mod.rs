//! `rctr network …`.

mod create;
mod ls;

use std::collections::BTreeMap;
use std::io::{self, Write};

use rctr_engine::Error;
use rctr_engine::options::{EndpointRequest, parse_ip4, parse_ip6, parse_link_local};

use super::inspect;
use super::prune::{confirm, time};
use super::ps_filter::{has_label, split};
use crate::app::App;
use crate::cli::{
    NetworkCommand, NetworkConnectArgs, NetworkDisconnectArgs, NetworkPruneArgs, NetworkRmArgs,
};
use crate::failure::{ENGINE, Failure, GENERAL, Result, for_each};
use crate::usage::{require_names, require_none, wrong_count};

pub fn run(app: &App, command: NetworkCommand) -> Result {
    match command {
        NetworkCommand::Connect(args) => connect(app, args),
        NetworkCommand::Create(args) => create::run(app, args),
        NetworkCommand::Disconnect(args) => disconnect(app, &args),
        NetworkCommand::Inspect(args) => inspect::networks(app, &args),
        NetworkCommand::Ls(args) => ls::run(app, &args),
        NetworkCommand::Prune(args) => prune(app, &args),
        NetworkCommand::Rm(args) => remove(app, &args),
    }
}

fn two<'a>(command: &str, names: &'a [String]) -> Result<(&'a str, &'a str)> {
    match names {
        [network, container] => Ok((network, container)),
        _ => Err(wrong_count(command, "requires 2 arguments")),
    }
}

fn connect(app: &App, args: NetworkConnectArgs) -> Result {
    let command = "network connect";
    let (network, container) = two(command, &args.names)?;
    let fail = |value: &str, flag: &str, error| Failure::argument(command, value, flag, &error);
    let mut request = EndpointRequest {
        network: network.to_owned(),
        aliases: args.alias,
        gw_priority: args.gw_priority.unwrap_or_default(),
        driver_opts: pairs(command, "--driver-opt", &args.driver_opt)?,
        ..EndpointRequest::default()
    };
    if let Some(ip) = args.ip.filter(|ip| !ip.is_empty()) {
        request.ip = Some(parse_ip4(&ip).map_err(|e| fail(&ip, "--ip", e))?);
    }
    if let Some(ip) = args.ip6.filter(|ip| !ip.is_empty()) {
        request.ip6 = Some(parse_ip6(&ip).map_err(|e| fail(&ip, "--ip6", e))?);
    }
    for ip in &args.link_local_ip {
        let address = parse_link_local(ip).map_err(|e| fail(ip, "--link-local-ip", e))?;
        request.link_local.push(address);
    }
    app.engine()?.connect_network(container, request)?;
    Ok(0)
}

fn disconnect(app: &App, args: &NetworkDisconnectArgs) -> Result {
    let (network, container) = two("network disconnect", &args.names)?;
    app.engine()?
        .disconnect_network(network, container, args.force)?;
    Ok(0)
}

fn remove(app: &App, args: &NetworkRmArgs) -> Result {
    require_names("network rm", &args.names)?;
    let engine = app.engine()?;
    for_each(&args.names, |name| match engine.remove_user_network(name) {
        Ok(_) => Ok(writeln!(io::stdout(), "{name}")?),
        Err(Error::NoSuchNetwork { .. }) if args.force => Ok(()),
        Err(error) => Err(error.into()),
    })
}

fn prune(app: &App, args: &NetworkPruneArgs) -> Result {
    require_none("network prune", &args.surplus)?;
    let mut values = split("network prune", &args.filter, &["label", "label!", "until"])?;
    let mut take = |name: &str| values.remove(name).unwrap_or_default();
    let (labels, others, until) = (take("label"), take("label!"), take("until"));
    let until = match &until[..] {
        [] => None,
        [text] => Some(time(text)?),
        _ => {
            let message = "more than one until filter specified";
            return Err(Failure::new(GENERAL, message));
        }
    };
    let warning =
        "WARNING! This will remove all custom networks not used by at least one container.";
    confirm(args.force, warning)?;
    let pruned = app.engine()?.prune_networks(&|network| {
        let created = network.created.parse::<jiff::Timestamp>();
        let created = created.map_or(0, jiff::Timestamp::as_second);
        until.is_none_or(|until| created < until)
            && labels.iter().all(|l| has_label(&network.labels, l))
            && !others.iter().any(|l| has_label(&network.labels, l))
    })?;
    if !pruned.removed.is_empty() {
        let mut out = io::stdout().lock();
        writeln!(out, "Deleted Networks:")?;
        for name in &pruned.removed {
            writeln!(out, "{name}")?;
        }
        writeln!(out)?;
    }
    Ok(0)
}

/// `KEY=VALUE` each.
fn pairs(command: &str, flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => {
                let message = format!(
                    "invalid argument {text:?} for {flag:?} flag: {text} must be formatted as key=value"
                );
                Err(Failure::usage(ENGINE, command, message))
            }
        })
        .collect()
}
