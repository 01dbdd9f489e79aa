//! Options of a network's driver for one container's place on the network.

use std::collections::BTreeMap;

use rctr_network::InterfaceSysctl;

use crate::network::Driver;

/// Kernel parameters of the interface, with commas in between.
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// The options, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DriverOptions {
    /// To be set each time that it is connected.
    pub sysctls: Vec<InterfaceSysctl>,
}

impl DriverOptions {
    /// Reads those that are given to a driver. An error is what is wrong with which.
    pub(crate) fn read(given: &BTreeMap<String, String>, driver: Driver) -> Result<Self, String> {
        let mut options = Self::default();
        for (name, value) in given {
            match name.as_str() {
                SYSCTLS => {
                    let read: rctr_network::Result<_> = value.split(',').map(str::parse).collect();
                    options.sysctls = read.map_err(|e| e.to_string())?;
                }
                _ => {
                    let driver = driver.as_str();
                    return Err(format!(
                        "driver {driver} has no option {name} for an endpoint"
                    ));
                }
            }
        }
        Ok(options)
    }
}
