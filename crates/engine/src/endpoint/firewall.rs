//! Rules that somebody flushed.

use std::collections::BTreeMap;

use rctr_network::BridgeConfig;

use super::published;
use crate::model::{Container, EndpointState, Status};
use crate::network::Driver;
use crate::{Engine, Result};

impl Engine {
    /// The firewall table was made anew: every running container's ports go into it again.
    pub(super) fn publish_all(&self, bridge: &BridgeConfig) -> Result<()> {
        for container in self.records()? {
            if let Status::Running | Status::Paused = container.state.status {
                for state in &container.networks {
                    drop(rctr_network::publish(bridge, &published(state))?);
                }
            }
        }
        for state in self.ready_endpoints()? {
            drop(rctr_network::publish(bridge, &published(&state))?);
        }
        Ok(())
    }

    /// The table was made anew for one bridge: the others with running containers go into it again.
    pub(super) fn restore_others(&self, bridge: &BridgeConfig) -> Result<()> {
        let records = self.records()?.into_iter();
        let live = records.filter(|c| c.state.status.is_live());
        let states = live.flat_map(|container| container.networks);
        let states: Vec<EndpointState> = states.chain(self.ready_endpoints()?).collect();
        for other in self.bridges_of(states.iter())? {
            if other.name != bridge.name && rctr_network::firewall_lost(&other)? {
                rctr_network::ensure_bridge(&other)?;
            }
        }
        Ok(())
    }

    /// The bridges behind endpoints, each once.
    pub(crate) fn bridges_of<'a>(
        &self,
        states: impl Iterator<Item = &'a EndpointState>,
    ) -> Result<Vec<BridgeConfig>> {
        let mut one_each: BTreeMap<String, &EndpointState> = BTreeMap::new();
        for state in states.filter(|state| state.driver == Driver::Bridge) {
            one_each.entry(state.network_id()).or_insert(state);
        }
        let bridges = one_each.values().map(|state| self.bridge_of(state));
        Ok(bridges
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// Rules that somebody flushed are put back by any command that looks at a running container; there is no daemon
    /// that could notice sooner. A command that only looks does not fail for it.
    pub(crate) fn restore_firewall(&self, seen: &[Container]) {
        let live = seen.iter().filter(|c| c.state.status.is_live());
        self.restore_rules(live.flat_map(|c| &c.networks));
        if let Err(e) = self.mend_dns(seen) {
            tracing::warn!(error = %e, "containers may not know each other's names");
        }
    }

    /// Puts all rules back if they are gone; `states` are of those who need them.
    pub(crate) fn restore_rules<'a>(&self, states: impl Iterator<Item = &'a EndpointState>) {
        let restore = || -> Result<()> {
            let mut publish = None;
            for bridge in self.bridges_of(states)? {
                let lost = rctr_network::firewall_lost(&bridge)?;
                if lost && rctr_network::ensure_bridge(&bridge)?.publish_again {
                    publish = Some(bridge);
                }
            }
            if let Some(bridge) = publish {
                self.restore_others(&bridge)?;
                self.publish_all(&bridge)?;
            }
            Ok(())
        };
        if let Err(e) = restore() {
            tracing::warn!(error = %e, "published ports may be closed");
        }
    }
}
