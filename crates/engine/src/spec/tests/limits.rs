//! Limits.

use super::*;

#[test]
fn limits() {
    let spec = make(|c| {
        let r = &mut c.options.resources;
        r.memory = Some(64 << 20);
        r.nano_cpus = Some(1_500_000_000);
        r.cpu_shares = Some(512);
        r.cpuset_cpus = Some("0,2-3".into());
        r.pids_limit = Some(50);
    });
    assert_eq!(
        spec.at("/linux/resources/memory"),
        &json!({"limit": 64 << 20, "swap": 128 << 20})
    );
    assert_eq!(
        spec.at("/linux/resources/cpu"),
        &json!({"shares": 512, "quota": 150_000, "period": 100_000, "cpus": "0,2-3"})
    );
    assert_eq!(spec.at("/linux/resources/pids"), &json!({"limit": 50}));
    let none = make(|c| c.options.resources.pids_limit = Some(-1));
    for limit in ["memory", "cpu", "pids", "unified"] {
        assert_eq!(none.at(&format!("/linux/resources/{limit}")), &Value::Null);
    }
    let no_swap = make(|c| {
        c.options.resources.memory = Some(64 << 20);
        c.options.resources.memory_swap = Some(64 << 20);
    });
    assert_eq!(
        no_swap.at("/linux/resources/unified"),
        &json!({"memory.swap.max": "0"})
    );
}

#[test]
fn limits_beyond_the_host_are_refused_in_dockers_words() {
    let cpus = "Range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available";
    assert_eq!(
        fail(|c| c.options.resources.nano_cpus = Some(5_000_000_000)),
        cpus
    );
    assert_eq!(fail(|c| c.options.resources.nano_cpus = Some(1)), cpus);
    assert_eq!(
        fail(|c| c.options.resources.cpuset_cpus = Some("0-7".into())),
        "Requested CPUs are not available - requested 0-7, available: 0-3"
    );
}

#[test]
fn limits_without_a_controller_are_discarded_with_dockers_warning() {
    let mut facts = facts();
    facts.limits = facts::Limits {
        memory: false,
        swap: false,
        cpu: false,
        cpuset: false,
        pids: false,
        swappiness: false,
        oom_kill_disable: false,
        cpu_realtime: false,
    };
    facts.block_io = OnceLock::from(facts::BlockIoLimits::default());
    let mut c = container();
    c.options.resources.memory = Some(64 << 20);
    c.options.resources.cpu_shares = Some(512);
    c.options.resources.cpuset_cpus = Some("0".into());
    c.options.resources.pids_limit = Some(50);
    let spec = try_make(&c, &identity(), &facts).unwrap();
    assert_eq!(
        spec.warnings,
        [
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
            "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
            "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
            "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
        ]
    );
    facts.limits.memory = true;
    let spec = try_make(&c, &identity(), &facts).unwrap();
    assert_eq!(
        spec.at("/linux/resources/memory"),
        &json!({"limit": 64 << 20})
    );
    assert!(
        spec.warnings[0].ends_with("Memory limited without swap."),
        "{:?}",
        spec.warnings
    );
    c.options.resources.nano_cpus = Some(1_000_000_000);
    assert!(matches!(
        try_make(&c, &identity(), &facts),
        Err(SpecError::CpuController)
    ));
}

#[test]
fn without_cap_sys_resource_limits_are_clamped_with_a_word() {
    let mut facts = facts();
    facts.capabilities.remove(&"SYS_RESOURCE".parse().unwrap());
    facts.hard_limits.insert("nofile", 100);
    let mut container = container();
    container.options.ulimits = vec!["nofile=50:200".parse().unwrap()];
    container.options.resources.oom_score_adj = Some(-500);
    let spec = try_make(&container, &identity(), &facts).unwrap();
    assert_eq!(
        spec.at("/process/rlimits/0"),
        &json!({"type": "RLIMIT_NOFILE", "soft": 50, "hard": 100})
    );
    assert_eq!(spec.at("/process/oomScoreAdj"), 0);
    assert_eq!(spec.warnings.len(), 2, "{:?}", spec.warnings);
    container.options.resources.oom_score_adj = Some(500);
    assert_eq!(
        try_make(&container, &identity(), &facts)
            .unwrap()
            .at("/process/oomScoreAdj"),
        500
    );
}

#[test]
fn shares_of_a_pod_s_container_become_a_weight() {
    let limits = |shares: u64| {
        let wanted = Resources {
            cpu_shares: Some(shares),
            memory: Some(4 << 20),
            ..Default::default()
        };
        limits_of_pod(&wanted, &facts(), &mut Vec::new()).unwrap()
    };
    for (shares, weight) in [
        (2, "1"),
        (102, "17"),
        (1024, "100"),
        (2048, "174"),
        (262_144, "10000"),
    ] {
        let made = limits(shares);
        assert_eq!(
            made.unified().as_ref().unwrap()["cpu.weight"],
            weight,
            "{shares}"
        );
        assert_eq!(made.cpu().as_ref().and_then(|cpu| cpu.shares()), None);
        // Nothing was said of swap.
        assert_eq!(made.memory().and_then(|memory| memory.swap()), None);
    }
}
