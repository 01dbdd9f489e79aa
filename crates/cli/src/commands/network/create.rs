//! `rctr network create`.

use std::io::{self, Write};

use rctr_engine::network::{NetworkOptions, PoolOptions};
use rctr_engine::options::resolve_labels;

use super::pairs;
use crate::app::App;
use crate::cli::NetworkCreateArgs;
use crate::failure::{ENGINE, Failure, GENERAL, Result, chain};
use crate::usage::wrong_count;

const COMMAND: &str = "network create";

pub fn run(app: &App, args: NetworkCreateArgs) -> Result {
    let [name] = &args.names[..] else {
        return Err(wrong_count(COMMAND, "requires 1 argument"));
    };
    if args.ipv4 == Some(false) {
        return Err(refused("--ipv4=false: networks of rctr always have IPv4"));
    }
    if args.ipam_driver != "default" {
        let driver = &args.ipam_driver;
        return Err(refused(&format!(
            "--ipam-driver {driver}: addresses come from rctr alone"
        )));
    }
    if let Some(scope) = args
        .scope
        .as_deref()
        .filter(|s| !matches!(*s, "" | "local"))
    {
        return Err(refused(&format!(
            "--scope {scope}: rctr looks after one node"
        )));
    }
    let labels =
        resolve_labels(&args.label, &[]).map_err(|e| Failure::usage(ENGINE, COMMAND, chain(&e)))?;
    let options = NetworkOptions {
        name: name.clone(),
        driver: args.driver,
        options: pairs(COMMAND, "-o, --opt", &args.opt)?,
        labels,
        internal: args.internal,
        attachable: args.attachable,
        ipv6: args.ipv6,
        pools: PoolOptions {
            subnets: args.subnet.into_iter().filter(|s| !s.is_empty()).collect(),
            gateways: args.gateway,
            ranges: args.ip_range,
            aux: pairs(COMMAND, "--aux-address", &args.aux_address)?,
        },
    };
    let id = app.engine()?.create_network(&options)?;
    writeln!(io::stdout(), "{id}")?;
    Ok(0)
}

fn refused(why: &str) -> Failure {
    Failure::new(GENERAL, why)
}
