//! Registries that speak TLS: whom to trust, what is said of those who are not, and the way there through a proxy.

use std::fs;

use rctr_tests::{Certificates, Env, Output, Proxy, Running, TlsRegistry, Tunnel, Verdict};

/// A name that only the proxy knows.
const NAME: &str = "registry.test";
const IMAGE: &str = "registry.test/library/busybox";

fn certificates(env: &Env) -> Certificates {
    Certificates::new(&env.path("tls"), "IP:127.0.0.1,DNS:registry.test")
}

fn configure(env: &Env, host: &str, settings: &str) {
    let mut text = fs::read_to_string(env.config_file()).expect("the configuration");
    if let Some(end) = text.find("# The test's own") {
        text.truncate(end);
    }
    text.push_str(&format!(
        "# The test's own\n[registry.\"{host}\"]\n{settings}\n"
    ));
    fs::write(env.config_file(), text).expect("the configuration");
}

fn pull_through(env: &Env, proxy: &str, image: &str, more: &[(&str, &str)]) -> Output {
    let mut command = env.command(["pull", "--quiet", image]);
    command.env("HTTPS_PROXY", proxy).envs(more.iter().copied());
    Running::start(command, Some(b"")).finish()
}

#[test]
fn a_registry_with_its_own_authority() {
    let env = Env::new();
    let certificates = certificates(&env);
    let server = TlsRegistry::start(&env.path("registry"), &certificates, "server");
    let host = server.host();
    let image = format!("{host}/library/busybox");
    configure(
        &env,
        &host,
        &format!("ca = \"{}\"", certificates.path("ca.pem")),
    );
    env.rctr(["pull", "--quiet", &image]).ok().quiet();
    env.rctr(["run", "--rm", "--network", "none", &image, "echo", "ran"])
        .ok()
        .stdout_is("ran");
    // Another authority: whatever is true of loopback otherwise, a `ca` is meant.
    let other = certificates.path("self.pem");
    configure(&env, &host, &format!("ca = \"{other}\""));
    let refused = env.rctr(["pull", &image]);
    refused.refused(1, &host);
    for word in [other.as_str(), "ca = ", "insecure = true", "UnknownIssuer"] {
        refused.one_error(word);
    }
    env.rctr(["run", "--rm", "--pull", "always", &image, "true"])
        .refused(125, &host);
}

#[test]
fn a_certificate_that_is_its_own_authority() {
    let env = Env::new();
    let certificates = certificates(&env);
    let server = TlsRegistry::start(&env.path("registry"), &certificates, "self");
    let tunnel = Tunnel::to(&server.host());
    let own = format!("ca = \"{}\"", certificates.path("self.pem"));
    configure(&env, NAME, &own);
    pull_through(&env, &tunnel.url(), IMAGE, &[]).ok().quiet();
    // It is trusted for the names it holds only.
    configure(&env, "other.test", &own);
    let refused = pull_through(&env, &tunnel.url(), "other.test/library/busybox", &[]);
    refused
        .refused(1, "other.test")
        .one_error("not valid for name");
}

#[test]
fn nobody_is_trusted_unasked_and_insecure_trusts_anyone() {
    let env = Env::new();
    let certificates = certificates(&env);
    let server = TlsRegistry::start(&env.path("registry"), &certificates, "server");
    let tunnel = Tunnel::to(&server.host());
    let refused = pull_through(&env, &tunnel.url(), IMAGE, &[]);
    refused
        .refused(1, NAME)
        .one_error("ca = ")
        .one_error("insecure = true");
    configure(&env, NAME, "insecure = true");
    pull_through(&env, &tunnel.url(), IMAGE, &[]).ok().quiet();
}

#[test]
fn the_proxies_of_the_environment_are_used_and_passed_by() {
    let env = Env::new();
    let certificates = certificates(&env);
    let server = TlsRegistry::start(&env.path("registry"), &certificates, "server");
    let tunnel = Tunnel::to(&server.host());
    let authority = format!("ca = \"{}\"", certificates.path("ca.pem"));
    configure(&env, NAME, &authority);
    let with_password = tunnel.url().replace("//", "//user:pass@");
    pull_through(&env, &with_password, IMAGE, &[]).ok();
    let asked = tunnel.asked();
    assert!(!asked.is_empty());
    for head in &asked {
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("connect registry.test:443 "), "{head}");
        // user:pass
        assert!(
            head.contains("proxy-authorization: basic dxnlcjpwyxnz"),
            "{head}"
        );
    }
    for (variable, value) in [
        ("NO_PROXY", "example.com,registry.test"),
        ("no_proxy", ".test"),
    ] {
        pull_through(&env, &tunnel.url(), IMAGE, &[(variable, value)])
            .refused(1, NAME)
            .stderr_has("does not resolve");
    }
    // Loopback is never asked for through a proxy.
    configure(&env, &server.host(), &authority);
    let image = format!("{}/library/busybox", server.host());
    pull_through(&env, &tunnel.url(), &image, &[]).ok();
    assert_eq!(tunnel.asked().len(), asked.len());
}

#[test]
fn plain_http_goes_through_its_own_proxy() {
    let proxy = Proxy::start(|request| match request.method.as_str() {
        "CONNECT" => Verdict::status(405),
        _ => Verdict::Forward,
    });
    let env = Env::new();
    configure(&env, "plain.test", "insecure = true");
    let image = "plain.test/library/busybox";
    pull_through(&env, &proxy.url(), image, &[("http_proxy", &proxy.url())])
        .ok()
        .quiet();
    let asked = proxy.requests();
    let whole = asked
        .iter()
        .filter(|r| r.path.starts_with("http://plain.test/v2/"));
    assert!(whole.count() > 0, "{asked:?}");
}

#[test]
fn a_proxy_that_is_not_there_or_refuses_is_told() {
    let env = Env::new();
    pull_through(&env, "http://127.0.0.1:1", IMAGE, &[]).refused(1, NAME);
    let proxy = Proxy::start(|_| Verdict::status(403));
    pull_through(&env, &proxy.url(), IMAGE, &[])
        .refused(1, NAME)
        .stderr_has("proxy");
}
