//! Beside podman: both publish ports on one machine, and neither's comings and goings disturb the other.

use rctr_tests::{Env, Machine, Podman, healthz, installed, wait_for};

#[test]
fn podman_and_rctr_share_a_host() {
    if !installed("podman") {
        return;
    }
    let env = Env::new();
    env.rctr(["pull", "--quiet", "healthz"]).ok();
    let podman = Podman::new(&env);
    let image = "docker.io/library/healthz";
    podman.run(&["pull", "--quiet", image]);
    let machine = Machine::new(&env);
    let answers = |port: u16| {
        let address = format!("{}:{port}", Machine::ADDRESS);
        wait_for(&format!("port {port} from outside"), || {
            machine.outside(|| healthz(&address)).is_some()
        });
        wait_for(&format!("port {port} from the machine"), || {
            machine.inside(|| healthz(&address)).is_some()
        });
    };
    let theirs = machine.inside(|| podman.run(&["run", "-d", "-p", "8081:80", image]));
    let ours = machine.inside(|| env.run_detached(["-p", "8082:80", "healthz"]));
    answers(8081);
    answers(8082);
    machine.inside(|| env.rctr(["rm", "--force", &ours])).ok();
    answers(8081);
    machine.inside(|| env.run_detached(["-p", "8082:80", "healthz"]));
    machine.inside(|| podman.run(&["rm", "--force", "--time", "0", &theirs]));
    answers(8082);
    machine
        .inside(|| env.rctr(["run", "--rm", "-p", "8081:80", "healthz", "true"]))
        .ok();
}
