use std::fs::File;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::{Env, Output, healthz};

/// A machine of its own in the network's eyes: a network namespace with loopback, and a link to another that stands
/// for a host outside. Firewalls and sysctls can be changed at will. Dropped, its containers are removed first.
///
/// Images must be pulled before: the registry is not on this machine.
pub struct Machine<'a> {
    env: &'a Env,
    names: [String; 2],
}

impl<'a> Machine<'a> {
    /// The machine's address on the link to the outside.
    pub const ADDRESS: &'static str = "198.18.0.1";
    /// The outside host's.
    pub const OUTSIDE: &'static str = "198.18.0.2";
    /// The machine's address on the link to the outside, in IPv6.
    pub const ADDRESS_V6: &'static str = "fd00:18::1";

    /// Makes both namespaces and the link. The outside host sends everything through the machine.
    ///
    /// # Panics
    /// When `ip` fails.
    pub fn new(env: &'a Env) -> Self {
        let number = env.slot().number;
        let names = [format!("rctrt-m{number}"), format!("rctrt-o{number}")];
        for name in &names {
            // One may be left by a test that was killed.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set lo up"));
        }
        let machine = Self { env, names };
        let [inner, outer] = &machine.names;
        ip(&format!(
            "-n {inner} link add wan0 type veth peer name wan0 netns {outer}"
        ));
        for (name, last) in [(inner, 1), (outer, 2)] {
            ip(&format!("-n {name} addr add 198.18.0.{last}/24 dev wan0"));
            ip(&format!("-n {name} link set wan0 up"));
            if rctr_network::kernel_has_ipv6() {
                ip(&format!(
                    "-n {name} addr add fd00:18::{last}/64 dev wan0 nodad"
                ));
            }
        }
        ip(&format!("-n {outer} route add default via 198.18.0.1"));
        machine
    }

    /// Runs `work`, and the commands it starts, on the machine.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.names[0], work)
    }

    /// Runs `work`, and the commands it starts, on the host outside.
    pub fn outside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.names[1], work)
    }

    /// `rctr LINE` on the machine, of words between spaces.
    pub fn rctr(&self, line: &str) -> Output {
        self.inside(|| self.env.rctr(line.split(' ')))
    }

    /// `rctr LINE sh -c SCRIPT` on the machine.
    pub fn rctr_sh(&self, line: &str, script: &str) -> Output {
        self.inside(|| self.env.rctr(line.split(' ').chain(["sh", "-c", script])))
    }

    /// Whether the image `healthz` answers from outside at this port of the machine.
    pub fn open(&self, port: u16) -> bool {
        let address = format!("{}:{port}", Self::ADDRESS);
        self.outside(|| healthz(&address)).is_some()
    }

    /// Runs a command line on the machine and gives its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn sh(&self, script: &str) -> String {
        self.inside(|| {
            let output = Command::new("sh").args(["-c", script]).output();
            let output = output.expect("sh runs");
            assert!(output.status.success(), "{script}: {output:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        let list = self.inside(|| self.env.rctr(["ps", "--all", "--quiet"]));
        let ids = list.lines();
        if !ids.is_empty() {
            let arguments = ["rm".to_owned(), "--force".to_owned()];
            self.inside(|| drop(self.env.rctr(arguments.into_iter().chain(ids))));
        }
        for name in &self.names {
            ip(&format!("netns del {name}"));
        }
    }
}

fn within<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/run/netns/{name}")).expect("the namespace is there");
    let joined = thread::scope(|scope| {
        let worker = scope.spawn(|| {
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
            work()
        });
        worker.join()
    });
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}
