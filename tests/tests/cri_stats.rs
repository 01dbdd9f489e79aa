//! What pods and containers use, as figures and as metrics, and lists in parts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rctr_cri::api;
use rctr_tests::cri::{Cri, map, shell};
use rctr_tests::wait_for_some;
use tonic::Status;

#[test]
fn use_is_told_of_containers_and_pods() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("stats");
    let pod = cri.run_pod(&config);
    let script = "dd if=/dev/zero of=/file bs=1k count=200; echo written; while :; do :; done";
    let mut busy = shell("busy", script);
    busy.linux.as_mut().expect("linux").resources = Some(api::LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        cpu_period: 100_000,
        cpu_quota: 20_000,
        ..Default::default()
    });
    let id = cri.run(&pod, &config, busy);
    // What it has written is looked at once in a while.
    cri.wait_log(cri.status(&id).log_path.as_ref(), "F written");
    let stats = || {
        let request = api::ContainerStatsRequest {
            container_id: id.clone(),
        };
        cri.runtime(async |c| c.container_stats(request).await)
            .expect("ContainerStats")
            .stats
            .expect("stats")
    };
    let value = |boxed: Option<api::UInt64Value>| boxed.expect("a value").value;
    let stats = wait_for_some("a rate of processor use", || {
        let stats = stats();
        stats.cpu?.usage_nano_cores.is_some().then_some(stats)
    });
    let attributes = stats.attributes.expect("attributes");
    assert_eq!(
        (&attributes.id, &attributes.labels),
        (&id, &map(&[("container", "busy")]))
    );
    let cpu = stats.cpu.expect("cpu");
    assert!(cpu.timestamp > 0 && value(cpu.usage_core_nano_seconds) > 0);
    let rate = value(cpu.usage_nano_cores);
    assert!((10_000_000..400_000_000).contains(&rate), "{rate}");
    let memory = stats.memory.expect("memory");
    let working_set = value(memory.working_set_bytes);
    assert!(working_set > 0 && working_set <= value(memory.usage_bytes));
    assert_eq!(value(memory.available_bytes), (64 << 20) - working_set);
    let layer = stats.writable_layer.expect("a layer");
    assert!(value(layer.used_bytes) >= 200 << 10);
    assert!(value(layer.inodes_used) >= 1);

    let list = |filter| {
        cri.runtime(async |c| {
            c.list_container_stats(api::ListContainerStatsRequest { filter })
                .await
        })
        .expect("ListContainerStats")
        .stats
    };
    assert_eq!(list(None).len(), 1);
    let of_pod = api::ContainerStatsFilter {
        pod_sandbox_id: pod.clone(),
        ..Default::default()
    };
    assert_eq!(list(Some(of_pod)).len(), 1);
    let others = api::ContainerStatsFilter {
        label_selector: map(&[("container", "other")]),
        ..Default::default()
    };
    assert!(list(Some(others)).is_empty());

    cri.sh(
        &id,
        "ping -c 1 -w 2 127.0.0.1; wget -T 1 -qO- http://10.255.255.1 || true",
    );
    let request = api::PodSandboxStatsRequest {
        pod_sandbox_id: pod.clone(),
    };
    let of_pod = cri
        .runtime(async |c| c.pod_sandbox_stats(request).await)
        .expect("PodSandboxStats")
        .stats
        .expect("stats");
    assert_eq!(
        of_pod.attributes.expect("attributes").metadata,
        config.metadata
    );
    let linux = of_pod.linux.expect("linux");
    let network = linux.network.expect("network");
    let eth0 = network.default_interface.expect("eth0");
    assert_eq!(eth0.name, "eth0");
    assert!(value(eth0.tx_bytes) > 0, "it has asked for its neighbour");
    assert!(eth0.rx_bytes.is_some() && eth0.tx_errors.is_some());
    assert!(value(linux.process.expect("processes").process_count) >= 1);
    assert_eq!(linux.containers.len(), 1);
    let all = cri
        .runtime(async |c| {
            c.list_pod_sandbox_stats(api::ListPodSandboxStatsRequest::default())
                .await
        })
        .expect("ListPodSandboxStats");
    assert_eq!(all.stats.len(), 1);
}

#[test]
fn metrics_have_cadvisors_names() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("metrics");
    let pod = cri.run_pod(&config);
    let id = cri.run(&pod, &config, shell("c", "sleep 1000"));
    let descriptors = cri
        .runtime(async |c| {
            c.list_metric_descriptors(api::ListMetricDescriptorsRequest {})
                .await
        })
        .expect("ListMetricDescriptors")
        .descriptors;
    let metrics = cri
        .runtime(async |c| {
            c.list_pod_sandbox_metrics(api::ListPodSandboxMetricsRequest {})
                .await
        })
        .expect("ListPodSandboxMetrics")
        .pod_metrics;
    assert_eq!(metrics.len(), 1);
    assert_eq!(metrics[0].pod_sandbox_id, pod);
    let of_container = &metrics[0].container_metrics[0];
    assert_eq!(of_container.container_id, id);
    let keys = |name: &str| {
        let found = descriptors.iter().find(|d| d.name == name);
        &found
            .unwrap_or_else(|| panic!("{name} is described"))
            .label_keys
    };
    for metric in metrics[0].metrics.iter().chain(&of_container.metrics) {
        assert_eq!(
            keys(&metric.name).len(),
            metric.label_values.len(),
            "{}",
            metric.name
        );
    }
    let sample = |name: &str| {
        let found = of_container.metrics.iter().find(|m| m.name == name);
        found.unwrap_or_else(|| panic!("a sample of {name}"))
    };
    let names: BTreeSet<_> = of_container
        .metrics
        .iter()
        .map(|m| m.name.as_str())
        .collect();
    for name in [
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "container_memory_rss",
        "container_fs_usage_bytes",
        "container_oom_events_total",
        "container_last_seen",
        "container_start_time_seconds",
        "container_spec_memory_limit_bytes",
        "container_ulimits_soft",
    ] {
        assert!(names.contains(name), "{name}");
    }
    let labels = |metric: &api::Metric| -> Vec<(String, String)> {
        let keys = keys(&metric.name).iter().cloned();
        keys.zip(metric.label_values.iter().cloned()).collect()
    };
    let of = labels(sample("container_processes"));
    for (key, wanted) in [
        ("container", "c"),
        ("pod", "metrics"),
        ("namespace", "default"),
    ] {
        assert!(of.contains(&(key.into(), wanted.into())), "{of:?}");
    }
    assert!(sample("container_processes").value.expect("a value").value >= 1);
    assert!(
        sample("container_file_descriptors")
            .value
            .expect("a value")
            .value
            >= 3
    );
    let traffic = metrics[0]
        .metrics
        .iter()
        .find(|m| m.name == "container_network_receive_bytes_total")
        .expect("traffic of the pod");
    assert!(labels(traffic).contains(&("interface".into(), "eth0".into())));
}

#[test]
fn lists_come_in_streams_too() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("streams");
    let pod = cri.run_pod(&config);
    let id = cri.run(&pod, &config, shell("c", "sleep 1000"));
    let mut c = cri.runtime_client();
    let told = cri.wait(async {
        let mut stream = c
            .stream_containers(api::StreamContainersRequest::default())
            .await?
            .into_inner();
        let containers = stream.message().await?.expect("a part").containers;
        let mut stream = c
            .stream_container_stats(api::StreamContainerStatsRequest::default())
            .await?
            .into_inner();
        let stats = stream.message().await?.expect("a part").container_stats;
        let mut stream = c
            .stream_pod_sandbox_stats(api::StreamPodSandboxStatsRequest::default())
            .await?
            .into_inner();
        let pods = stream.message().await?.expect("a part").pod_sandbox_stats;
        let mut stream = c
            .stream_pod_sandbox_metrics(api::StreamPodSandboxMetricsRequest {})
            .await?
            .into_inner();
        let metrics = stream.message().await?.expect("a part").pod_sandbox_metrics;
        assert!(stream.message().await?.is_none(), "and no more");
        Ok::<_, Status>((containers, stats, pods, metrics))
    });
    let (containers, stats, pods, metrics) = told.expect("streams");
    assert_eq!(containers[0].id, id);
    assert_eq!(stats[0].attributes.as_ref().expect("attributes").id, id);
    assert_eq!(pods[0].attributes.as_ref().expect("attributes").id, pod);
    assert_eq!(metrics[0].pod_sandbox_id, pod);
}

#[test]
fn a_busy_service_answers_lists_quickly() {
    let cri = Cri::new();
    cri.pull("busybox");
    let configs: Vec<_> = (0..10)
        .map(|n| cri.pod_config(&format!("many{n}")))
        .collect();
    for config in &configs {
        let pod = cri.run_pod(config);
        cri.run(&pod, config, shell("c", "sleep 1000"));
    }
    let before = cri.children();
    assert_eq!(before.len(), 10, "a monitor each");
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(cri.pods(None).len(), 10);
        assert_eq!(cri.containers(None).len(), 10);
    }
    let each = began.elapsed() / 40;
    assert!(each < Duration::from_millis(50), "{each:?}");
    assert_eq!(cri.children(), before);
}
