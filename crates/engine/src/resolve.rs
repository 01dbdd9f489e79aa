//! What a container runs: the image's configuration with the user's flags over it, merged as Docker merges them.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::image::{Config, ImageConfiguration};
use serde_json::Value;

use crate::model::ResolvedProcess;
use crate::options::{
    MountFlagError, ParseError, RunOptions, clean_path, parse_expose, parse_signal,
};

/// Image and flags do not make a process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Neither the image nor the user named a command.
    #[error("no command specified")]
    NoCommand,
    /// A value of the image's configuration makes no sense.
    #[error("the image's {field} is unusable: {reason}")]
    Image {
        /// `StopSignal`, `ExposedPorts`, …
        field: &'static str,
        /// Why.
        reason: ParseError,
    },
}

/// Merges the image's configuration (`raw` is the same as JSON, for what OCI does not know) with the flags.
///
/// # Errors
/// [`ResolveError::NoCommand`] in Docker's words; [`ResolveError::Image`] for an image that says nonsense.
pub(crate) fn resolve(
    image: &ImageConfiguration,
    raw: &Value,
    options: &RunOptions,
) -> Result<ResolvedProcess, ResolveError> {
    let empty = Config::default();
    let config = image.config().as_ref().unwrap_or(&empty);
    check_nul(config)?;
    let (entrypoint, cmd) = command(config, options);
    let mut words = entrypoint.iter().chain(&cmd).flatten().cloned();
    let path = words.next().ok_or(ResolveError::NoCommand)?;
    Ok(ResolvedProcess {
        path,
        args: words.collect(),
        entrypoint,
        cmd,
        env: merge_env(config.env().as_deref().unwrap_or_default(), &options.env),
        working_dir: working_dir(config, options),
        user: options
            .user
            .clone()
            .filter(|u| !u.is_empty())
            .or(config.user().clone())
            .unwrap_or_default(),
        stop_signal: stop_signal(config, options)?,
        labels: labels(config, options),
        exposed_ports: exposed_ports(config, options)?,
        volumes: volumes(config)?,
        healthcheck: healthcheck(raw, options),
    })
}

/// The image's check is kept as it is, unless a flag says something.
fn healthcheck(raw: &Value, options: &RunOptions) -> Option<Value> {
    let image = raw
        .pointer("/config/Healthcheck")
        .filter(|check| !check.is_null());
    let Some(flags) = options.health.clone() else {
        return image.cloned();
    };
    let image = image.and_then(|check| serde_json::from_value(check.clone()).ok());
    // A structure of plain fields always serialises.
    serde_json::to_value(flags.over(image.unwrap_or_default())).ok()
}

type Words = Option<Vec<String>>;

/// A flag's entry point drops the image's command; `--entrypoint ''` clears both.
fn command(config: &Config, options: &RunOptions) -> (Words, Words) {
    let some = |words: &Words| words.clone().filter(|w| !w.is_empty());
    let flag_cmd = Some(options.cmd.clone()).filter(|w| !w.is_empty());
    match &options.entrypoint {
        Some(words) if words.iter().all(String::is_empty) => (None, flag_cmd),
        Some(words) => (Some(words.clone()), flag_cmd),
        None => (
            some(config.entrypoint()),
            flag_cmd.or_else(|| some(config.cmd())),
        ),
    }
}

/// The user's variables first, then the image's that the user did not name: Docker's order. Of a name that is given
/// twice the last value counts; the user's bare name stays and removes the variable when the process starts.
fn merge_env(image: &[String], user: &[String]) -> Vec<String> {
    fn name(entry: &str) -> &str {
        entry.split_once('=').map_or(entry, |(name, _)| name)
    }
    let of_image = image
        .iter()
        .filter(|entry| entry.contains('=') && !user.iter().any(|e| name(e) == name(entry)));
    let mut env: Vec<String> = Vec::new();
    for entry in user.iter().chain(of_image).filter(|e| !name(e).is_empty()) {
        match env.iter_mut().find(|e| name(e) == name(entry)) {
            Some(old) => old.clone_from(entry),
            None => env.push(entry.clone()),
        }
    }
    env
}

/// Puts `NAME=value` in the place of an earlier value, or at the end; a bare `NAME` removes.
pub(crate) fn set_env(env: &mut Vec<String>, entry: &str) {
    let Some((name, _)) = entry.split_once('=') else {
        env.retain(|e| e.split_once('=').is_none_or(|(name, _)| name != entry));
        return;
    };
    if name.is_empty() {
        return;
    }
    match env
        .iter_mut()
        .find(|e| e.split_once('=').is_some_and(|(n, _)| n == name))
    {
        Some(old) => *old = entry.to_owned(),
        None => env.push(entry.to_owned()),
    }
}

fn working_dir(config: &Config, options: &RunOptions) -> String {
    let dir = options
        .working_dir
        .as_ref()
        .or(config.working_dir().as_ref());
    // An image's relative directory counts from the root.
    clean_path(dir.map_or("/", String::as_str))
}

fn stop_signal(config: &Config, options: &RunOptions) -> Result<String, ResolveError> {
    let of_image = config.stop_signal().clone().filter(|s| !s.is_empty());
    if let (None, Some(signal)) = (&options.stop_signal, &of_image) {
        parse_signal(signal).map_err(|reason| ResolveError::Image {
            field: "StopSignal",
            reason,
        })?;
    }
    Ok(options
        .stop_signal
        .clone()
        .or(of_image)
        .unwrap_or_else(|| "SIGTERM".to_owned()))
}

fn labels(config: &Config, options: &RunOptions) -> BTreeMap<String, String> {
    let of_image = config
        .labels()
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()));
    of_image.chain(options.labels.clone()).collect()
}

fn exposed_ports(config: &Config, options: &RunOptions) -> Result<Vec<String>, ResolveError> {
    let mut ports = BTreeSet::new();
    let of_image = config.exposed_ports().iter().flatten();
    for text in of_image.chain(&options.expose) {
        let parsed = parse_expose(text).map_err(|reason| ResolveError::Image {
            field: "ExposedPorts",
            reason,
        })?;
        ports.extend(parsed);
    }
    for spec in &options.publish {
        let (first, last) = spec.container_ports;
        ports.extend((first..=last).map(|port| format!("{port}/{}", spec.protocol.as_str())));
    }
    let mut ports: Vec<String> = ports.into_iter().collect();
    ports.sort_by_key(|p| {
        p.split_once('/')
            .and_then(|(port, _)| port.parse::<u16>().ok())
    });
    Ok(ports)
}

fn volumes(config: &Config) -> Result<Vec<String>, ResolveError> {
    let mut volumes = BTreeSet::new();
    for target in config.volumes().iter().flatten() {
        let clean = clean_path(target);
        if clean == "/" {
            return Err(ResolveError::Image {
                field: "Volumes",
                reason: MountFlagError::MountRoot.into(),
            });
        }
        volumes.insert(clean);
    }
    Ok(volumes.into_iter().collect())
}

/// No text of an image's configuration may end early where the kernel takes it.
fn check_nul(config: &Config) -> Result<(), ResolveError> {
    let lists = [
        ("Entrypoint", config.entrypoint()),
        ("Cmd", config.cmd()),
        ("Env", config.env()),
        ("Volumes", config.volumes()),
    ];
    let words = lists
        .into_iter()
        .flat_map(|(field, list)| list.iter().flatten().map(move |text| (field, text)));
    let texts = [
        ("WorkingDir", config.working_dir()),
        ("User", config.user()),
    ];
    let texts = texts
        .into_iter()
        .flat_map(|(field, text)| text.iter().map(move |text| (field, text)));
    match words.chain(texts).find(|(_, text)| text.contains('\0')) {
        Some((field, text)) => Err(ResolveError::Image {
            field,
            reason: ParseError::Nul {
                what: field,
                value: text.clone(),
            },
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(config: Value, options: &RunOptions) -> Result<ResolvedProcess, ResolveError> {
        let raw = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "config": config});
        let image: ImageConfiguration = serde_json::from_value(raw.clone()).unwrap();
        resolve(&image, &raw, options)
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn entrypoint_and_command() {
        let image = json!({"Entrypoint": ["/entry", "-x"], "Cmd": ["serve"]});
        let line = |options: &RunOptions| {
            run(image.clone(), options)
                .map(|p| format!("{} {}", p.path, p.args.join(" ")).trim().to_owned())
        };
        let none = RunOptions::default();
        let cmd = RunOptions {
            cmd: words(&["sh", "-c"]),
            ..Default::default()
        };
        let entry = RunOptions {
            entrypoint: Some(words(&["/bin/ls"])),
            ..Default::default()
        };
        let both = RunOptions {
            cmd: words(&["/tmp"]),
            ..entry.clone()
        };
        let cleared = RunOptions {
            entrypoint: Some(vec![]),
            ..Default::default()
        };
        let cleared_word = RunOptions {
            entrypoint: Some(words(&[""])),
            cmd: words(&["sh"]),
            ..Default::default()
        };
        assert_eq!(line(&none).unwrap(), "/entry -x serve");
        assert_eq!(line(&cmd).unwrap(), "/entry -x sh -c");
        assert_eq!(line(&entry).unwrap(), "/bin/ls");
        assert_eq!(line(&both).unwrap(), "/bin/ls /tmp");
        assert_eq!(
            line(&cleared).unwrap_err().to_string(),
            "no command specified"
        );
        assert_eq!(line(&cleared_word).unwrap(), "sh");
        assert!(run(json!({"Cmd": null}), &none).is_err());
        assert!(run(Value::Null, &none).is_err());
    }

    #[test]
    fn environment() {
        let image = json!({"Cmd": ["x"], "Env": ["PATH=/bin", "A=image", "B=image", "GONE=1"]});
        let options = RunOptions {
            env: words(&["B=flag", "C=1", "GONE", "C=2"]),
            ..Default::default()
        };
        assert_eq!(
            run(image, &options).unwrap().env,
            ["B=flag", "C=2", "GONE", "PATH=/bin", "A=image"]
        );
    }

    #[test]
    fn the_rest_of_the_image() {
        let image = json!({
            "Cmd": ["x"], "User": "app", "WorkingDir": "srv/./www", "StopSignal": "SIGQUIT",
            "Labels": {"a": "image", "b": "image"}, "ExposedPorts": {"80": {}, "443/tcp": {}}, "Volumes": {"/data/": {}},
            "Healthcheck": {"Test": ["CMD", "true"]},
        });
        let options = RunOptions {
            labels: [("a".to_owned(), "flag".to_owned())].into(),
            expose: words(&["9000-9001/udp"]),
            publish: vec!["8080:81".parse().unwrap()],
            ..Default::default()
        };
        let process = run(image.clone(), &options).unwrap();
        assert_eq!(
            (process.user.as_str(), process.working_dir.as_str()),
            ("app", "/srv/www")
        );
        assert_eq!(process.stop_signal, "SIGQUIT");
        assert_eq!(
            process.labels.into_iter().collect::<Vec<_>>(),
            [("a".into(), "flag".into()), ("b".into(), "image".into())]
        );
        assert_eq!(
            process.exposed_ports,
            ["80/tcp", "81/tcp", "443/tcp", "9000/udp", "9001/udp"]
        );
        assert_eq!(process.volumes, ["/data"]);
        assert_eq!(process.healthcheck.unwrap()["Test"][1], "true");

        let flags = RunOptions {
            user: Some("0".into()),
            working_dir: Some("/w".into()),
            stop_signal: Some("INT".into()),
            ..Default::default()
        };
        let process = run(image, &flags).unwrap();
        assert_eq!(
            (
                process.user.as_str(),
                process.working_dir.as_str(),
                process.stop_signal.as_str()
            ),
            ("0", "/w", "INT")
        );
        let plain = run(json!({"Cmd": ["x"]}), &RunOptions::default()).unwrap();
        assert_eq!(
            (plain.working_dir.as_str(), plain.stop_signal.as_str()),
            ("/", "SIGTERM")
        );
    }

    #[test]
    fn an_image_that_says_nonsense_is_refused() {
        for (config, word) in [
            (json!({"Cmd": ["x"], "StopSignal": "SIGFOO"}), "StopSignal"),
            (
                json!({"Cmd": ["x"], "ExposedPorts": {"http": {}}}),
                "ExposedPorts",
            ),
            (json!({"Cmd": ["x"], "Volumes": {"/a/..": {}}}), "Volumes"),
            (json!({"Cmd": ["x\u{0}y"]}), "Cmd"),
            (json!({"Cmd": ["x"], "Env": ["A=\u{0}"]}), "Env"),
        ] {
            let message = run(config, &RunOptions::default()).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
