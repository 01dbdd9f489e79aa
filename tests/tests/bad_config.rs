//! A configuration that cannot work is refused when it is read: file, line and value in one line, status 125.

use std::fs;

use rctr_tests::Env;

#[test]
fn each_bad_value_is_named_with_its_file_and_line_by_every_command() {
    let env = Env::new();
    let garbage = env.path("garbage.pem");
    let pem = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    fs::write(&garbage, pem).expect("a new file");
    let garbage = garbage.display().to_string();
    let registry = |line: &str| format!("[registry.\"a.example\"]\n{line}");
    let cases = [
        (registry("ca = \"/nosuch/ca.pem\""), "/nosuch/ca.pem"),
        (registry(&format!("ca = \"{garbage}\"")), garbage.as_str()),
        (registry("ca = \"/etc/passwd\""), "holds no PEM certificate"),
        (registry("ca = \"relative.pem\""), "absolute path"),
        (registry("mirrors = [\"ftp://mirror\"]"), "ftp://mirror"),
        (
            "[network]\nbridge = \"a-name-of-16-chr\"".into(),
            "a-name-of-16-chr",
        ),
        ("[network]\nsubnet = \"10.1.2.300/24\"".into(), "10.1.2.300"),
        ("[network]\nsubnet = \"10.1.2.0/31\"".into(), "10.1.2.0/31"),
    ];
    for (text, word) in &cases {
        fs::write(env.config_file(), text).expect("the configuration");
        let place = format!("{}: line 2: ", env.config_file().display());
        for args in [
            &["ps"][..],
            &["run", "--rm", "busybox", "true"],
            &["pull", "x"],
        ] {
            env.rctr(args).refused(125, word).one_error(&place);
        }
    }
    fs::write(env.config_file(), "").expect("the configuration");
}
