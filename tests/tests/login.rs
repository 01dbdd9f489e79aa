//! `rctr login` and `rctr logout`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rctr_tests::{Env, OwnRegistry, Proxy, Running, Terminal, Verdict, entries, text, tool};
use serde_json::{Value, json};

const USER: &str = OwnRegistry::USER;
const PASSWORD: &str = OwnRegistry::PASSWORD;

fn config(env: &Env) -> Value {
    let text = fs::read(env.home().join(".docker/config.json")).expect("a configuration");
    serde_json::from_slice(&text).expect("JSON")
}

fn write_config(env: &Env, value: &Value) {
    fs::create_dir_all(env.home().join(".docker")).expect("a new directory");
    fs::write(env.home().join(".docker/config.json"), value.to_string()).expect("a new file");
}

#[test]
fn a_login_opens_the_registry_and_a_logout_closes_it() {
    let env = Env::new();
    let registry = OwnRegistry::with_password(&env.path("registry"));
    let host = registry.host();
    let name = format!("{host}/me/app");
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    env.rctr(["tag", "busybox", &name]).ok();
    env.rctr(["push", &name])
        .refused(1, "denied: requested access to the resource is denied")
        .one_error(&format!("rctr login {host}"));

    write_config(
        &env,
        &json!({"detachKeys": "ctrl-e,e", "auths": {"other.io": {"auth": "YTpi"}}}),
    );
    let login = env.rctr_with_input(
        ["login", "--username", USER, "--password-stdin", host],
        format!("{PASSWORD}\n").as_bytes(),
    );
    login
        .ok()
        .stdout_is("Login Succeeded")
        .stderr_has("WARNING! Your credentials are stored unencrypted in");
    let kept = config(&env);
    assert_eq!(kept["detachKeys"], "ctrl-e,e");
    assert_eq!(kept["auths"]["other.io"]["auth"], "YTpi");
    assert_eq!(kept["auths"][host]["auth"], "dXNlcjpzZWNyZXQ=");
    let file = env.home().join(".docker/config.json");
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(entries(&env.home().join(".docker")), ["config.json"]);

    env.rctr(["push", &name]).ok();
    env.rctr(["rmi", "-f", &name]).ok();
    env.rctr(["pull", "--quiet", &name]).ok();
    env.rctr(["login", host])
        .ok()
        .stderr_has(&format!(
            "Authenticating with existing credentials... [Username: {USER}]"
        ))
        .stdout_is("Login Succeeded");
    // What Docker's own program makes of the file.
    let place = format!("docker://{name}");
    let flags = ["inspect", "--tls-verify=false", "--authfile"];
    tool("skopeo", &[&flags[..], &[&text(&file), &place]].concat());

    env.rctr(["logout", host])
        .ok()
        .stdout_is(&format!("Removing login credentials for {host}"));
    assert_eq!(config(&env)["auths"], json!({"other.io": {"auth": "YTpi"}}));
    env.rctr(["push", &name]).refused(1, "denied");
    env.rctr(["logout", host]).ok();
}

#[test]
fn a_wrong_password_is_refused_and_not_kept() {
    let env = Env::new();
    let registry = OwnRegistry::with_password(&env.path("registry"));
    let login = env.rctr(["login", "-u", USER, "-p", "wrong", registry.host()]);
    login
        .refused(1, "unauthorized")
        .one_error(registry.host())
        .stderr_has("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    assert!(!login.stderr().contains("wrong"), "no secret in messages");
    assert!(!env.home().join(".docker/config.json").exists());
    env.rctr(["login", "-u", USER, "-p", PASSWORD, registry.host()])
        .ok();
    // A login that fails leaves the one that is kept.
    let before = config(&env);
    env.rctr(["login", "-u", USER, "-p", "wrong", registry.host()])
        .exits(1);
    assert_eq!(config(&env), before);
}

/// The line of AWS's documentation, as it stands there and with `https://` before the host.
#[test]
fn the_line_of_ecr_works_as_written() {
    const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    // ECR answers as any registry with Basic does; a proxy leads to the stand-in.
    let proxy = Proxy::start(|request| match request.header("authorization") {
        // AWS:token
        Some("Basic QVdTOnRva2Vu") => Verdict::Answer(200, Vec::new(), b"{}".to_vec()),
        _ => Verdict::Answer(
            401,
            vec![(
                "WWW-Authenticate".into(),
                "Basic realm=\"https://x/\",service=\"ecr.amazonaws.com\"".into(),
            )],
            b"Not Authorized\n".to_vec(),
        ),
    });
    for scheme in ["", "https://"] {
        let env = Env::builder()
            .config(&format!("[registry.\"{ECR}\"]\ninsecure = true\n"))
            .build();
        let mut command = env.command(["login", "--username", "AWS", "--password-stdin"]);
        command.arg(format!("{scheme}{ECR}"));
        command
            .env("HTTP_PROXY", proxy.url())
            .env("http_proxy", proxy.url());
        // Nothing answers on TLS; plain HTTP goes through the proxy.
        command
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .env("https_proxy", "http://127.0.0.1:1");
        let login = Running::start(command, Some(b"token\n")).finish();
        login.ok().stdout_is("Login Succeeded");
        assert_eq!(config(&env)["auths"][ECR]["auth"], "QVdTOnRva2Vu");
    }
}

/// A credential helper that keeps what it is given in a file.
fn helper(env: &Env, name: &str) -> (String, PathBuf) {
    let bin = env.path("bin");
    fs::create_dir_all(&bin).expect("a new directory");
    let (program, kept) = (
        bin.join(format!("docker-credential-{name}")),
        env.path("kept"),
    );
    let script = format!(
        "#!/bin/sh\nkept={}\ncase $1 in\n\
         store) cat > $kept;;\n\
         get) read -r _; [ -s $kept ] && cat $kept || {{ echo credentials not found in native keychain; exit 1; }};;\n\
         erase) cat > $kept.erased; rm $kept;;\nesac\n",
        kept.display()
    );
    fs::write(&program, script).expect("a new file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("own file");
    let path = std::env::var("PATH").expect("PATH");
    (format!("{}:{path}", bin.display()), kept)
}

#[test]
fn a_helper_keeps_and_forgets_logins() {
    let env = Env::new();
    let registry = OwnRegistry::with_password(&env.path("registry"));
    let host = registry.host();
    let (path, kept) = helper(&env, "tests");
    for settings in [
        json!({"credsStore": "tests"}),
        json!({"credHelpers": {host: "tests"}}),
    ] {
        write_config(&env, &settings);
        let run = |args: &[&str]| {
            let mut command = env.command(args);
            command.env("PATH", &path);
            Running::start(command, Some(b"")).finish()
        };
        let login = run(&["login", "-u", USER, "-p", PASSWORD, host]);
        login.ok().stdout_is("Login Succeeded");
        assert!(!login.stderr().contains("unencrypted"));
        let entry: Value = serde_json::from_slice(&fs::read(&kept).expect("kept")).expect("JSON");
        assert_eq!(
            entry,
            json!({"ServerURL": host, "Username": USER, "Secret": PASSWORD})
        );
        assert_eq!(config(&env)["auths"], json!({host: {}}));
        run(&["login", host]).ok();
        run(&["logout", host]).ok();
        let erased = fs::read_to_string(env.path("kept.erased")).expect("erased");
        assert_eq!(erased, host);
        assert!(!kept.exists());
        assert_eq!(config(&env)["auths"], json!({}));
    }
    write_config(&env, &json!({"credsStore": "no-such-helper"}));
    env.rctr(["login", "-u", USER, "-p", PASSWORD, host])
        .refused(1, "docker-credential-no-such-helper");
}

#[test]
fn name_and_password_are_asked_for_on_a_terminal() {
    let env = Env::new();
    let registry = OwnRegistry::with_password(&env.path("registry"));
    let mut terminal = Terminal::start(env.command(["login", registry.host()]), 24, 80);
    terminal.wait_shown("Username: ");
    terminal.type_in(&format!("{USER}\r"));
    terminal.wait_shown("Password: ");
    terminal.type_in(&format!("{PASSWORD}x\x7f\r"));
    terminal.wait_shown("Login Succeeded");
    assert!(
        !terminal.shown().contains(PASSWORD),
        "the password is not shown"
    );
    assert_eq!(terminal.finish(), 0);

    // Ctrl-C leaves the terminal as it was, which `finish` checks.
    let mut terminal = Terminal::start(env.command(["login", "-u", USER, registry.host()]), 24, 80);
    terminal.wait_shown("Password: ");
    terminal.type_in("sec\x03");
    assert_eq!(terminal.finish(), 130);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let env = Env::new();
    let login = |flags: &[&str]| env.rctr([&["login"], flags].concat());
    login(&["--password-stdin", "h.io"]).refused(
        1,
        "the --password-stdin option requires --username to be set",
    );
    login(&["-u", "a", "-p", "b", "--password-stdin", "h.io"]).refused(
        1,
        "conflicting options: cannot specify both --password and --password-stdin",
    );
    login(&["-u", "a", "h.io"]).refused(
        1,
        "Cannot perform an interactive login from a non TTY device",
    );
    login(&["h.io"]).refused(
        1,
        "Cannot perform an interactive login from a non TTY device",
    );
    login(&["-u", "", "-p", "b", "h.io"]).refused(1, "username is empty");
    login(&["-u", "a", "-p", "", "h.io"]).refused(1, "password is empty");
    login(&["a", "b"])
        .exits(1)
        .stderr_has("requires at most 1 argument");
    login(&["-u", "a", "-p", "b", "a b"]).refused(1, "\"a b\" is no registry's address");
    login(&["--frob"])
        .exits(125)
        .stderr_has("unknown flag: --frob");
    login(&["-u", "a", "-p", "b", "127.0.0.1:1"]).refused(1, "cannot reach registry 127.0.0.1:1");
    // A web server that is no registry.
    let proxy = Proxy::start(|_| Verdict::status(404));
    login(&["-u", "a", "-p", "b", &proxy.host()]).refused(1, "no registry of images");
    write_config(&env, &json!("no object"));
    login(&["-u", "a", "-p", "b", rctr_tests::registry()]).refused(1, "config.json");
}
