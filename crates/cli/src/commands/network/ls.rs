//! `rctr network ls`.

use std::collections::BTreeSet;

use rctr_engine::Engine;
use rctr_engine::network::Network;

use super::super::ps_filter::{has_label, split};
use crate::app::App;
use crate::cli::NetworkLsArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::output::listing::{self, Column, Kind, Layout, Raw, Row};
use crate::usage::require_none;

const KIND: Kind = Kind {
    columns: &[
        column("CreatedAt", "CREATED AT"),
        column("Driver", "DRIVER"),
        column("ID", "NETWORK ID"),
        column("IPv4", "IPV4"),
        column("IPv6", "IPV6"),
        column("Internal", "INTERNAL"),
        column("Labels", "LABELS"),
        column("Name", "NAME"),
        column("Scope", "SCOPE"),
    ],
    type_name: "*network.networkContext",
};

const fn column(name: &'static str, header: &'static str) -> Column {
    Column { name, header }
}

const RAW: Raw = Raw {
    whole: "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
    quiet: "network_id: {{.ID}}",
};

pub fn run(app: &App, args: &NetworkLsArgs) -> Result {
    require_none("network ls", &args.surplus)?;
    let filter = Filter::parse(&args.list.filter)?;
    let table = ["ID", "Name", "Driver", "Scope"];
    let layout = Layout::new(args.quiet, args.list.format.as_deref(), &table, RAW);
    let engine = app.engine()?;
    let used = match filter.dangling {
        Some(_) => engine.networks_in_use()?,
        None => BTreeSet::new(),
    };
    let rows = chosen(&engine, &filter, &used)?;
    let rows: Vec<Row> = rows
        .iter()
        .map(|network| row(network, args.list.no_trunc))
        .collect();
    listing::print(KIND, &rows, &layout)
}

fn chosen(engine: &Engine, filter: &Filter, used: &BTreeSet<String>) -> Result<Vec<Network>> {
    let networks = engine.networks()?.into_iter();
    Ok(networks.filter(|n| filter.matches(n, used)).collect())
}

fn row(network: &Network, no_trunc: bool) -> Row {
    let id = match no_trunc {
        true => network.id.clone(),
        false => network.id.chars().take(12).collect(),
    };
    let labels: Vec<String> = network
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    Row {
        cells: vec![
            created_at(&network.created),
            network.driver.as_str().into(),
            id,
            "true".into(),
            network.has_v6().to_string(),
            network.internal.to_string(),
            labels.join(","),
            network.name.clone(),
            "local".into(),
        ],
        labels: network.labels.clone(),
    }
}

/// As Go prints a time.
fn created_at(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC").to_string(),
        Err(_) => text.into(),
    }
}

#[derive(Debug, Default)]
struct Filter {
    dangling: Option<bool>,
    drivers: Vec<String>,
    ids: Vec<String>,
    labels: Vec<String>,
    names: Vec<String>,
    scopes: Vec<String>,
    kinds: Vec<String>,
}

impl Filter {
    fn parse(filters: &[String]) -> Result<Filter> {
        let known = ["dangling", "driver", "id", "label", "name", "scope", "type"];
        let mut values = split("network ls", filters, &known)?;
        let mut take = |name: &str| values.remove(name).unwrap_or_default();
        let dangling = match take("dangling").pop().as_deref() {
            None => None,
            Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            Some(other) => {
                let message = format!("invalid value for filter 'dangling': {other:?}");
                return Err(Failure::new(GENERAL, message));
            }
        };
        let kinds = take("type");
        if let Some(kind) = kinds
            .iter()
            .find(|k| !["builtin", "custom"].contains(&k.as_str()))
        {
            let message = format!("invalid filter: 'type'='{kind}'");
            return Err(Failure::new(GENERAL, message));
        }
        Ok(Filter {
            dangling,
            kinds,
            drivers: take("driver"),
            ids: take("id"),
            labels: take("label"),
            names: take("name"),
            scopes: take("scope"),
        })
    }

    fn matches(&self, network: &Network, used: &BTreeSet<String>) -> bool {
        let any = |wanted: &[String], holds: &dyn Fn(&String) -> bool| {
            wanted.is_empty() || wanted.iter().any(holds)
        };
        let kind = match network.is_custom() {
            true => "custom",
            false => "builtin",
        };
        let dangling = network.is_custom() && !used.contains(&network.id);
        self.dangling.is_none_or(|wanted| wanted == dangling)
            && any(&self.drivers, &|wanted| wanted == network.driver.as_str())
            && any(&self.ids, &|wanted| network.id.starts_with(wanted.as_str()))
            && any(&self.names, &|wanted| {
                network.name.contains(wanted.as_str())
            })
            && any(&self.scopes, &|wanted| wanted == "local")
            && any(&self.kinds, &|wanted| wanted == kind)
            && self.labels.iter().all(|l| has_label(&network.labels, l))
    }
}
