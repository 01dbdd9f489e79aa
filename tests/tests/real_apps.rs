//! Applications in the languages people ship, on the Debian base: their own package tools fetch what they need inside RUN,
//! and what comes out is run and talked to.

use rctr_tests::{Context, Env, Output};

/// `RUN apt-get …` that installs packages.
fn apt(packages: &str) -> String {
    format!(
        "RUN apt-get -o Acquire::Retries=3 update \\\n && apt-get install -y --no-install-recommends {packages} \\\n \
         && rm -rf /var/lib/apt/lists/*\n"
    )
}

fn build(env: &Env, name: &str, dir: &Context) -> Output {
    // This machine's certificates: where it stands behind a proxy those of the image are not enough.
    let ca = "id=ca,src=/etc/ssl/certs/ca-certificates.crt";
    let output = env.build(&["--secret", ca, "-t", name], dir);
    output.ok();
    output
}

/// What a shell in the network of a container prints.
fn beside(env: &Env, container: &str, script: &str) -> String {
    let network = format!("container:{container}");
    env.sh(&["--network", &network], script).ok().stdout()
}

/// The page that a container serves at a port, as soon as it does.
fn page(env: &Env, container: &str, port: u16) -> String {
    let script = format!("until wget -qO- http://127.0.0.1:{port}/; do usleep 10000; done");
    beside(env, container, &script)
}

#[test]
fn redis_keeps_what_it_is_told() {
    let env = Env::new();
    let dir = env.dockerfile(&format!(
        "FROM debian\n{}VOLUME /data\nWORKDIR /data\nUSER redis\nEXPOSE 6379\n\
         ENTRYPOINT [\"redis-server\"]\nCMD [\"--save\", \"\", \"--dir\", \"/tmp\"]\n",
        apt("redis-server")
    ));
    build(&env, "cache", &dir);
    env.rctr(["run", "-d", "--name", "cache", "cache"]).ok();
    let talk = "until printf 'PING\\r\\nSET word kept\\r\\nGET word\\r\\nQUIT\\r\\n' | nc 127.0.0.1 6379\n\
                do usleep 10000; done";
    let answer = beside(&env, "cache", talk);
    assert_eq!(answer, "+PONG\r\n+OK\r\n$4\r\nkept\r\n+OK\r");
    env.rctr(["exec", "cache", "redis-cli", "GET", "word"])
        .ok()
        .stdout_is("kept");
    env.rctr(["exec", "cache", "id", "-un"])
        .ok()
        .stdout_is("redis");
    env.rctr(["rm", "-f", "-v", "cache"]).ok();
}

#[test]
fn an_express_application_answers() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            &format!(
                "FROM debian AS dependencies\n{}WORKDIR /app\nCOPY package.json .\n\
                 RUN --mount=type=secret,id=ca,target=/ca.pem --mount=type=cache,target=/root/.npm \\\n    \
                 NODE_EXTRA_CA_CERTS=/ca.pem npm install --omit=dev --no-audit --no-fund\n\
                 FROM dependencies\nENV NODE_ENV=production\nCOPY server.js .\nEXPOSE 3000\nCMD [\"node\", \"server.js\"]\n",
                apt("npm")
            ),
        ),
        (
            "package.json",
            "{\"name\": \"app\", \"version\": \"1.0.0\", \"dependencies\": {\"express\": \"4.21.2\"}}\n",
        ),
        (
            "server.js",
            "const app = require('express')();\n\
             app.get('/', (_, res) => res.send('express in ' + process.env.NODE_ENV + '\\n'));\n\
             app.listen(3000);\n",
        ),
        (".dockerignore", "node_modules\n"),
    ]);
    build(&env, "app", &dir);
    env.rctr(["run", "-d", "--name", "app", "app"]).ok();
    assert_eq!(page(&env, "app", 3000), "express in production");
    env.rctr(["rm", "-f", "app"]).ok();
}

#[test]
fn a_rust_program_with_a_crate_it_depends_on() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            &format!(
                "FROM debian AS build\n{}WORKDIR /src\nCOPY Cargo.toml .\nCOPY src src\n\
                 RUN --mount=type=secret,id=ca,target=/ca.pem --mount=type=cache,target=/root/.cargo/registry \\\n    \
                 CARGO_HTTP_CAINFO=/ca.pem cargo build --release\n\
                 FROM debian\nCOPY --from=build /src/target/release/app /usr/local/bin/\nCMD [\"app\"]\n",
                apt("cargo-web libc6-dev")
            ),
        ),
        (
            "Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[dependencies]\nitoa = \"=1.0.15\"\n",
        ),
        (
            "src/main.rs",
            "fn main() {\n    println!(\"{} by itoa\", itoa::Buffer::new().format(6 * 7));\n}\n",
        ),
    ]);
    build(&env, "app", &dir);
    env.run_alone(&["app"]).ok().stdout_is("42 by itoa");
}

/// Lower case and blanks at the end, as course material has it; the image is the program and nothing else.
#[test]
fn a_go_server_alone_in_its_image() {
    let env = Env::new();
    let dir = env.context(&[
        (
            "Dockerfile",
            &format!(
                "FROM debian as build   \n{}WORKDIR /src\nCOPY main.go .   \nRUN CGO_ENABLED=0 go build -o /server main.go\n\
                 FROM scratch\t\nCOPY --from=build /server /server  \nEXPOSE 8080\nENTRYPOINT [\"/server\"]   \n",
                apt("golang-go")
            ),
        ),
        (
            "main.go",
            "package main\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n\nfunc main() {\n\
             \thttp.HandleFunc(\"/\", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, \"go alone\") })\n\
             \tpanic(http.ListenAndServe(\":8080\", nil))\n}\n",
        ),
    ]);
    build(&env, "server", &dir).stderr_has("FromAsCasing");
    let layers = env.inspect("server")["RootFS"]["Layers"].take();
    assert_eq!(layers.as_array().map(Vec::len), Some(1), "{layers}");
    env.rctr(["run", "-d", "--name", "server", "server"]).ok();
    assert_eq!(page(&env, "server", 8080), "go alone");
    env.rctr(["rm", "-f", "server"]).ok();
}
