//! Builds as people write them, with the real package servers inside RUN; what they make is run and talked to.

use rctr_tests::{Context, Env, Output};

fn build(env: &Env, name: &str, dir: &Context) -> Output {
    // This machine's certificates: where it stands behind a proxy those of the image are not enough.
    let ca = "id=ca,src=/etc/ssl/certs/ca-certificates.crt";
    let output = env.build(&["--secret", ca, "-t", name], dir);
    output.ok();
    output
}

#[test]
fn nginx_from_apt_serves_its_page() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            "FROM debian\nRUN apt-get -o Acquire::Retries=3 update \\\n && apt-get install -y --no-install-recommends nginx-light \\\n && rm -rf /var/lib/apt/lists/*\n\
             COPY index.html /var/www/html/\nEXPOSE 80\nCMD [\"nginx\", \"-g\", \"daemon off;\"]\n",
        ),
        ("index.html", "built here\n"),
    ]);
    build(&env, "web", &dir);
    env.rctr(["run", "-d", "--name", "web", "web"]).ok();
    let page = "until wget -qO- http://127.0.0.1/; do usleep 10000; done";
    env.rctr([
        "run",
        "--rm",
        "--network",
        "container:web",
        "busybox",
        "sh",
        "-c",
        page,
    ])
    .ok()
    .stdout_is("built here");
    env.rctr(["rm", "-f", "web"]).ok();
}

#[test]
fn a_python_application_with_its_requirements() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            "FROM debian\nRUN apt-get -o Acquire::Retries=3 update && apt-get install -y --no-install-recommends python3-pip\n\
             WORKDIR /app\nCOPY requirements.txt .\nRUN --mount=type=secret,id=ca,target=/ca.pem PIP_CERT=/ca.pem pip install --break-system-packages --no-cache-dir -r requirements.txt\n\
             COPY . .\nCMD [\"python3\", \"app.py\"]\n",
        ),
        ("requirements.txt", "six==1.16.0\n"),
        ("app.py", "import six\nprint('six', six.__version__)\n"),
    ]);
    build(&env, "app", &dir);
    env.run_alone(&["app"]).ok().stdout_is("six 1.16.0");
    // The cache stops at the line whose files changed.
    dir.write("app.py", "print('changed')\n");
    let again = build(&env, "app", &dir);
    let cached = again.cached();
    assert_eq!(cached.len(), 4, "{cached:?}");
    env.run_alone(&["app"]).ok().stdout_is("changed");
}

#[test]
fn two_files_to_the_root_and_layers_before_and_after() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            "FROM busybox\nRUN echo before > /before\nCOPY one two /\nRUN cat /one /two > /after\n",
        ),
        ("one", "1\n"),
        ("two", "2\n"),
    ]);
    build(&env, "files", &dir);
    let layers = |env: &Env| {
        let layers = env.inspect("files")["RootFS"]["Layers"].clone();
        serde_json::from_value::<Vec<String>>(layers).expect("layers")
    };
    let first = layers(&env);
    dir.write("two", "3\n");
    build(&env, "files", &dir);
    let second = layers(&env);
    let same = first
        .iter()
        .zip(&second)
        .take_while(|(a, b)| a == b)
        .count();
    assert_eq!((first.len(), second.len(), same), (4, 4, 2));
    env.run_alone(&["files", "cat", "/after"])
        .ok()
        .stdout_is("1\n3");
}
