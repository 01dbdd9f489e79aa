use super::*;
use rctr_engine::model::ResolvedProcess;
use rctr_engine::options::RunOptions;

/// A container that was made and never started.
pub fn container(id: &str, name: &str) -> Container {
    Container {
        id: id.repeat(64 / id.len()),
        name: name.to_owned(),
        image_id: format!("sha256:{}", "5".repeat(64)),
        image_name: "redis".to_owned(),
        manifest_digest: None,
        platform: "linux/amd64".to_owned(),
        layers: Vec::new(),
        options: RunOptions::default(),
        process: ResolvedProcess {
            path: "docker-entrypoint.sh".to_owned(),
            args: vec!["redis-server".to_owned()],
            ..ResolvedProcess::default()
        },
        mounts: Vec::new(),
        created: "2026-11-21T12:00:00.5Z".to_owned(),
        state: State::created(),
        networks: Vec::new(),
        connections: None,
        restart_count: 0,
        restarts: Default::default(),
        pod: None,
        selinux: None,
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_path: String::new(),
    }
}

fn now() -> Timestamp {
    "2026-11-21T14:00:00Z".parse().unwrap()
}

fn view(truncate: bool) -> View {
    View {
        truncate,
        size: false,
        now: now(),
        pods: None,
        images: BTreeMap::new(),
    }
}

#[test]
fn states_in_docker_s_words() {
    let mut state = State::created();
    assert_eq!(status(&state, now()), "Created");
    state.started_at = "2026-11-21T12:00:00Z".to_owned();
    state.status = Status::Running;
    assert_eq!(status(&state, now()), "Up 2 hours");
    for (health, word) in [
        (HealthStatus::Starting, "health: starting"),
        (HealthStatus::Healthy, "healthy"),
        (HealthStatus::Unhealthy, "unhealthy"),
    ] {
        state.health = Some(Health {
            status: health,
            ..Health::default()
        });
        assert_eq!(status(&state, now()), format!("Up 2 hours ({word})"));
    }
    state.status = Status::Paused;
    assert_eq!(status(&state, now()), "Up 2 hours (Paused)");
    state.status = Status::Restarting;
    state.exit_code = 7;
    state.finished_at = "2026-11-21T13:59:57Z".to_owned();
    assert_eq!(status(&state, now()), "Restarting (7) 3 seconds ago");
    state.status = Status::Exited;
    state.exit_code = 137;
    state.finished_at = "2026-11-21T13:59:55Z".to_owned();
    assert_eq!(status(&state, now()), "Exited (137) 5 seconds ago");
    state.status = Status::Dead;
    assert_eq!(status(&state, now()), "Dead");
}

#[test]
fn commands_are_quoted_and_cut() {
    let mut container = container("ab", "web");
    assert_eq!(view(true).command(&container), "\"docker-entrypoint.s…\"");
    assert_eq!(
        view(false).command(&container),
        "\"docker-entrypoint.sh redis-server\""
    );
    container.process.path = "sh".to_owned();
    container.process.args = vec!["-c".to_owned(), "echo \"a b\"".to_owned()];
    assert_eq!(
        view(false).command(&container),
        "\"sh -c 'echo \\\"a b\\\"'\""
    );
}

#[test]
fn images_by_name_or_short_id() {
    let mut container = container("ab", "web");
    let mut shown = |truncate, name: &str| {
        container.image_name = name.to_owned();
        let images = [(name.to_owned(), container.image_id.clone())];
        let view = View {
            images: images.into(),
            ..view(truncate)
        };
        view.image(&container)
    };
    let id = format!("sha256:{}", "5".repeat(64));
    let by_digest = format!("redis@sha256:{}", "0".repeat(64));
    assert_eq!(shown(true, "redis"), "redis");
    assert_eq!(shown(true, "55555"), "55555");
    assert_eq!(shown(true, &id), "555555555555");
    assert_eq!(shown(true, &by_digest), "redis");
    assert!(shown(false, &by_digest).contains('@'));
    container.image_name = "redis".to_owned();
    let moved = View {
        images: [("redis".to_owned(), "sha256:6".to_owned())].into(),
        ..view(true)
    };
    assert_eq!(moved.image(&container), "555555555555");
    assert_eq!(view(false).image(&container), id, "nothing has the name");
}
