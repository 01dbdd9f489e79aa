//! Credentials: where they come from, and what happens with wrong ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rctr_tests::{Env, Proxy, Request, Verdict};

/// `user:pass` in base64.
const BASIC: &str = "dXNlcjpwYXNz";

/// A registry that wants `Authorization: Basic …`.
fn basic(request: &Request) -> Verdict {
    match request.header("authorization") {
        Some(value) if value == format!("Basic {BASIC}") => Verdict::Forward,
        _ => Verdict::Answer(
            401,
            vec![("WWW-Authenticate".into(), "Basic realm=\"tests\"".into())],
            b"{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\"}]}"
                .to_vec(),
        ),
    }
}

fn docker_config(env: &Env, text: &str) {
    let dir = env.home().join(".docker");
    fs::create_dir_all(&dir).expect("a new directory");
    fs::write(dir.join("config.json"), text).expect("a new file");
}

#[test]
fn basic_credentials_come_from_dockers_file() {
    let proxy = Proxy::start(basic);
    let env = Env::new();
    let image = format!("{}/library/busybox", proxy.host());
    env.rctr(["pull", &image]).refused(1, &proxy.host());
    docker_config(
        &env,
        &format!(
            "{{\"auths\":{{\"{}\":{{\"auth\":\"{BASIC}\"}}}}}}",
            proxy.host()
        ),
    );
    env.rctr(["pull", "--quiet", &image]).ok();
}

#[test]
fn a_wrong_password_is_one_line_that_names_the_registry() {
    let proxy = Proxy::start(basic);
    let env = Env::new();
    // user:no
    docker_config(
        &env,
        &format!(
            "{{\"auths\":{{\"{}\":{{\"auth\":\"dXNlcjpubw==\"}}}}}}",
            proxy.host()
        ),
    );
    let image = format!("{}/library/busybox", proxy.host());
    let pulled = env.rctr(["pull", &image]);
    pulled.refused(1, &proxy.host());
    assert!(
        !pulled.stderr().contains("dXNlcjpubw"),
        "no secret in messages"
    );
    env.rctr(["run", "--rm", &image, "true"])
        .refused(125, &proxy.host());
    assert!(
        proxy.requests().len() < 20,
        "a refusal is not tried again and again"
    );
    assert_eq!(proxy.blob_downloads(), 0);
}

#[test]
fn a_helper_program_gives_credentials() {
    let proxy = Proxy::start(basic);
    let env = Env::new();
    let bin = env.path("bin");
    fs::create_dir(&bin).expect("a new directory");
    let helper = bin.join("docker-credential-tests");
    let asked = env.path("asked");
    fs::write(
        &helper,
        format!(
            "#!/bin/sh\nread -r server\necho \"$1 $server\" >> {}\n\
             echo '{{\"ServerURL\":\"'\"$server\"'\",\"Username\":\"user\",\"Secret\":\"pass\"}}'\n",
            asked.display()
        ),
    )
    .expect("a new file");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("own file");
    docker_config(
        &env,
        &format!("{{\"credHelpers\":{{\"{}\":\"tests\"}}}}", proxy.host()),
    );
    let image = format!("{}/library/busybox", proxy.host());
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("PATH"));
    let mut command = env.command(["pull", "--quiet", &image]);
    command.env("PATH", path);
    rctr_tests::Running::start(command, Some(b"")).finish().ok();
    let asked = fs::read_to_string(asked).expect("the helper was asked");
    assert_eq!(
        asked.lines().next(),
        Some(format!("get {}", proxy.host()).as_str())
    );
    // Without the program the reason is told.
    env.rctr(["pull", &format!("{}/library/plain", proxy.host())])
        .refused(1, "credential helper docker-credential-tests")
        .stderr_has("is not in PATH")
        .stderr_has(".docker/config.json");
}

#[test]
fn a_token_server_is_asked_with_the_credentials_and_again_when_the_token_ends() {
    // Tokens are good for three requests.
    let proxy = Proxy::start(|request| {
        if request.path.starts_with("/token") {
            return match request.header("authorization") {
                Some(value) if value == format!("Basic {BASIC}") => Verdict::Answer(
                    200,
                    vec![("Content-Type".into(), "application/json".into())],
                    format!("{{\"token\":\"t{}\"}}", request.seen).into_bytes(),
                ),
                _ => Verdict::status(401),
            };
        }
        let host = request.header("host").unwrap_or_default();
        match request.header("authorization") {
            // The first token is refused for blobs, as one that has run out meanwhile.
            Some("Bearer t0") if !request.is_blob() => Verdict::Forward,
            Some("Bearer t1") => Verdict::Forward,
            _ => Verdict::Answer(
                401,
                vec![(
                    "WWW-Authenticate".into(),
                    format!(
                        "Bearer realm=\"http://{host}/token\",service=\"tests\",scope=\"repository:library/busybox:pull\""
                    ),
                )],
                Vec::new(),
            ),
        }
    });
    let env = Env::new();
    docker_config(
        &env,
        &format!(
            "{{\"auths\":{{\"{}\":{{\"auth\":\"{BASIC}\"}}}}}}",
            proxy.host()
        ),
    );
    let image = format!("{}/library/busybox", proxy.host());
    env.rctr(["pull", "--quiet", &image]).ok();
    let token = proxy
        .requests()
        .into_iter()
        .find(|request| request.path.starts_with("/token"))
        .expect("a token was asked for");
    assert!(
        token.path.contains("service=tests") && token.path.contains("scope=repository"),
        "{token:?}"
    );
}

#[test]
fn a_damaged_docker_config_is_named() {
    let proxy = Proxy::start(basic);
    let env = Env::new();
    docker_config(&env, "{ this is no JSON");
    env.rctr(["pull", &format!("{}/library/busybox", proxy.host())])
        .refused(1, "config.json");
}
