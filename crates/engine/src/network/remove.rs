//! Removing networks.

use super::{Driver, Network};
use crate::events::NetworkEvent;
use crate::{Engine, Error, NetworkError, Result, events};

/// What `network prune` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunedNetworks {
    /// Names.
    pub removed: Vec<String>,
}

impl Engine {
    /// Removes a network that a user made, with its bridge.
    ///
    /// # Errors
    /// [`NetworkError::Stays`] for one that is always there; [`NetworkError::Active`] while a container runs on it.
    pub fn remove_user_network(&self, reference: &str) -> Result<Network> {
        let network = self.network(reference)?;
        if !network.is_custom() {
            return Err(NetworkError::Stays { name: network.name }.into());
        }
        let members = self.network_members(&network)?;
        if !members.is_empty() {
            let one = |name: &str, id: &str| format!("name:{name:?} id:{:?}", &id[..12]);
            let endpoints = members.iter().map(|(c, _)| one(&c.name, &c.id));
            return Err(NetworkError::Active {
                name: network.name,
                endpoints: endpoints.collect::<Vec<_>>().join(", "),
            }
            .into());
        }
        self.store.write(|tx| -> Result<()> {
            // Somebody may be starting a container on it at this moment: it has its address by now.
            let given = tx.addresses(&network.id)?;
            let records = tx.containers::<crate::model::Container>()?;
            let busy = records.iter().find(|record| {
                given.iter().any(|(_, owner)| *owner == record.id)
                    && record.doc.state.status.is_live()
            });
            if let Some(record) = busy {
                return Err(NetworkError::Active {
                    name: network.name.clone(),
                    endpoints: format!("name:{:?} id:{:?}", record.name, &record.id[..12]),
                }
                .into());
            }
            // While nobody can start a container on it, and before it is forgotten: whoever is killed here leaves a network
            // whose links are made again when they are needed, and no links of no network.
            self.remove_links(&network, &tx.networks()?)?;
            tx.remove_network(&network.id)?;
            let driver = network.driver.as_str();
            events::network(
                tx,
                &network.id,
                &network.name,
                driver,
                NetworkEvent::Destroy,
            )?;
            Ok(())
        })?;
        Ok(network)
    }

    /// Removes those networks that no container, running or not, is connected to and that `chosen` chooses.
    ///
    /// # Errors
    /// Whatever hinders reading or removing.
    pub fn prune_networks(&self, chosen: &dyn Fn(&Network) -> bool) -> Result<PrunedNetworks> {
        let used = self.networks_in_use()?;
        let mut pruned = PrunedNetworks::default();
        for network in self.networks()? {
            if !network.is_custom() || used.contains(&network.id) || !chosen(&network) {
                continue;
            }
            match self.remove_user_network(&network.id) {
                Ok(network) => pruned.removed.push(network.name),
                // Somebody was quicker, or needs it by now.
                Err(Error::Networks(NetworkError::Active { .. }) | Error::NoSuchNetwork { .. }) => {
                }
                Err(other) => return Err(other),
            }
        }
        self.tell_of_prune("network", 0)?;
        Ok(pruned)
    }

    /// Takes away what a network has on the host, as far as none of `all` networks that users made shares it.
    pub(crate) fn remove_links(&self, network: &Network, all: &[Network]) -> Result<()> {
        match network.driver {
            Driver::Bridge => {
                let removed = network.bridge().map(|b| rctr_network::remove_bridge(&b));
                match removed {
                    // Something else is called so: there is no bridge of the network's.
                    Some(Err(error @ rctr_network::Error::NotABridge { .. })) => {
                        tracing::warn!(network = network.name, %error, "it is left alone");
                    }
                    other => other.transpose().map(drop)?,
                }
            }
            Driver::Macvlan | Driver::Ipvlan => {
                let parent = network.interface();
                let shared = all
                    .iter()
                    .any(|other| other.id != network.id && other.interface() == parent);
                if !shared && network.parent_made {
                    rctr_network::remove_parent(&parent)?;
                }
            }
            Driver::Host | Driver::Null => {}
        }
        Ok(())
    }
}
