//! From the flags of `build` to what the builder takes.

use std::collections::BTreeMap;
use std::io::Read;

use rctr_builder::context::Location;
use rctr_builder::{BuildOptions, DockerfileLocation, Entitlement, NamedContext, SecretSource};
use rctr_engine::options::{NetworkMode, parse_size};
use rctr_registry_client::{Platform, parse_reference};

use super::args::BuildArgs;
use super::ssh::Agents;
use super::{attest, cache, outputs};
use crate::failure::{ENGINE, Failure, GENERAL, Result};

/// Checks the flags. The agents go when they are dropped.
///
/// # Errors
/// What a flag says wrong, in Docker's words, with 125; a wrong number of words is 1.
pub fn from(command: &str, args: &BuildArgs) -> Result<(BuildOptions, Agents)> {
    let [context] = args.words.as_slice() else {
        let message = format!("'rctr {command}' requires 1 argument");
        return Err(Failure::usage(GENERAL, command, message));
    };
    for warning in args.legacy.warnings() {
        eprintln!("WARNING: {warning}");
    }
    let flags = Flags { command };
    let file = match &args.file {
        None => DockerfileLocation::Default,
        Some(path) if path.as_os_str() == "-" => {
            if context == "-" {
                return Err(Failure::new(
                    GENERAL,
                    "invalid argument: can't use stdin for both build context and dockerfile",
                ));
            }
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            DockerfileLocation::Text(text)
        }
        Some(path) => DockerfileLocation::Path(path.clone()),
    };
    let mut tags = Vec::new();
    for tag in &args.tag {
        let reference = parse_reference(tag).map_err(|e| flags.invalid(tag, "-t, --tag", &e))?;
        if reference.digest().is_some() {
            return Err(flags.invalid(
                tag,
                "-t, --tag",
                &"refusing to create a tag with a digest reference",
            ));
        }
        tags.push(reference.whole());
    }
    let results = outputs::parse(args, &tags)
        .map_err(|(value, flag, reason)| flags.invalid(&value, flag, &reason))?;
    let build_args = pairs_from_environment(&args.build_arg);
    let epoch = match build_args
        .iter()
        .find(|(name, _)| name == "SOURCE_DATE_EPOCH")
    {
        Some((_, value)) => Some(value.clone()),
        None => std::env::var("SOURCE_DATE_EPOCH").ok(),
    };
    let epoch = match epoch.filter(|text| !text.is_empty()) {
        Some(text) => Some(text.parse().map_err(|_| {
            Failure::new(
                GENERAL,
                format!("invalid SOURCE_DATE_EPOCH {text:?}: seconds since 1970 are wanted"),
            )
        })?),
        None => None,
    };
    let agents =
        Agents::of(&args.ssh).map_err(|(word, reason)| flags.invalid(&word, "--ssh", &reason))?;
    let options = BuildOptions {
        context: location(context)?,
        file,
        target: args.target.clone().filter(|t| !t.is_empty()),
        build_args,
        contexts: contexts(&flags, &args.build_context)?,
        platforms: platforms(&flags, &args.platform)?,
        labels: labels(&args.label),
        no_cache: args.no_cache,
        no_cache_filter: args.no_cache_filter.clone(),
        pull: args.pull,
        network: network(&flags, &args.network)?,
        add_hosts: flags.parse_all(&args.add_host, "--add-host")?,
        shm_size: match &args.shm_size {
            Some(text) => {
                Some(parse_size(text).map_err(|e| flags.invalid(text, "--shm-size", &e))?)
            }
            None => None,
        },
        ulimits: flags.parse_all(&args.ulimit, "--ulimit")?,
        secrets: secrets(&flags, &args.secret)?,
        ssh: agents.sockets.clone(),
        allow: entitlements(&flags, &args.allow)?,
        epoch,
        rewrite_timestamps: results.rewrite_timestamps,
        cache_from: flags.parse_with(&args.cache_from, "--cache-from", cache::import)?,
        cache_to: flags.parse_with(&args.cache_to, "--cache-to", cache::export)?,
        attestations: attest::parse(args)
            .map_err(|(value, flag, reason)| flags.invalid(&value, flag, &reason))?,
        tags,
        outputs: results.outputs,
    };
    Ok((options, agents))
}

fn location(text: &str) -> Result<Location> {
    Location::parse(text).map_err(|e| Failure::new(GENERAL, e.to_string()))
}

struct Flags<'a> {
    command: &'a str,
}

impl Flags<'_> {
    fn invalid(&self, value: &str, flag: &str, reason: &dyn std::fmt::Display) -> Failure {
        let message = format!("invalid argument {value:?} for {flag:?} flag: {reason}");
        Failure::usage(ENGINE, self.command, message)
    }

    fn parse_with<T>(
        &self,
        values: &[String],
        flag: &str,
        parse: fn(&str) -> std::result::Result<T, String>,
    ) -> Result<Vec<T>> {
        let parse = |value: &String| parse(value).map_err(|e| self.invalid(value, flag, &e));
        values.iter().map(parse).collect()
    }

    fn parse_all<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        values: &[String],
        flag: &str,
    ) -> Result<Vec<T>> {
        let parse = |value: &String| value.parse().map_err(|e| self.invalid(value, flag, &e));
        values.iter().map(parse).collect()
    }
}

/// `NAME=value`, or `NAME` with the value it has here; without one it is not given.
fn pairs_from_environment(words: &[String]) -> Vec<(String, String)> {
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((word.clone(), std::env::var(word).ok()?)),
    };
    words.iter().filter_map(pair).collect()
}

fn labels(words: &[String]) -> BTreeMap<String, String> {
    let pair = |word: &String| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        (name.to_owned(), value.to_owned())
    };
    words.iter().map(pair).collect()
}

fn contexts(flags: &Flags<'_>, words: &[String]) -> Result<BTreeMap<String, NamedContext>> {
    let mut contexts = BTreeMap::new();
    for word in words {
        let (name, value) = word
            .split_once('=')
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .ok_or_else(|| flags.invalid(word, "--build-context", &"expected key=value"))?;
        let context = match value.strip_prefix("docker-image://") {
            Some(image) => NamedContext::Image(image.to_owned()),
            None if value.starts_with("oci-layout://") => {
                return Err(flags.invalid(
                    word,
                    "--build-context",
                    &"oci-layout:// is not supported: load the image and use docker-image://",
                ));
            }
            None => NamedContext::Files(location(value)?),
        };
        contexts.insert(name.to_ascii_lowercase(), context);
    }
    Ok(contexts)
}

fn platforms(flags: &Flags<'_>, words: &[String]) -> Result<Vec<Platform>> {
    let usual = std::env::var("DOCKER_DEFAULT_PLATFORM").unwrap_or_default();
    let usual: Vec<String> = usual.split(',').map(str::to_owned).collect();
    let words = if words.is_empty() { &usual } else { words };
    let mut platforms = Vec::new();
    for word in words.iter().filter(|word| !word.is_empty()) {
        let platform = match word.as_str() {
            "local" => Platform::host(),
            word => word
                .parse()
                .map_err(|e| flags.invalid(word, "--platform", &e))?,
        };
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    if platforms.is_empty() {
        platforms.push(Platform::host());
    }
    Ok(platforms)
}

fn network(flags: &Flags<'_>, text: &str) -> Result<NetworkMode> {
    match text {
        "" | "default" | "bridge" => Ok(NetworkMode::Bridge),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        other => Err(flags.invalid(other, "--network", &"default, none or host is wanted")),
    }
}

fn secrets(flags: &Flags<'_>, words: &[String]) -> Result<BTreeMap<String, SecretSource>> {
    let mut secrets = BTreeMap::new();
    for word in words {
        let bad = |reason: String| flags.invalid(word, "--secret", &reason);
        let (mut id, mut src, mut env, mut kind) = (None, None, None, None);
        for field in word.split(',') {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| bad(format!("invalid field '{field}' must be a key=value pair")))?;
            match key.to_ascii_lowercase().as_str() {
                "id" => id = Some(value.to_owned()),
                "src" | "source" => src = Some(value.to_owned()),
                "env" => env = Some(value.to_owned()),
                "type" if matches!(value, "file" | "env") => kind = Some(value.to_owned()),
                "type" => return Err(bad(format!("unsupported secret type {value:?}"))),
                _ => return Err(bad(format!("unexpected key '{key}' in '{field}'"))),
            }
        }
        let id = id
            .or_else(|| src.clone())
            .ok_or_else(|| bad("secret is missing \"id\"".into()))?;
        let source = match (kind.as_deref(), src, env) {
            (Some("env"), src, env) => SecretSource::Env(env.or(src).unwrap_or_else(|| id.clone())),
            (_, Some(path), None) => SecretSource::File(path.into()),
            (None, None, Some(name)) => SecretSource::Env(name),
            (None, None, None) if std::env::var_os(&id).is_some() => SecretSource::Env(id.clone()),
            _ => SecretSource::File(id.clone().into()),
        };
        if let SecretSource::File(path) = &source
            && !path.is_file()
        {
            return Err(bad(format!(
                "failed to stat {}: no such file",
                path.display()
            )));
        }
        secrets.insert(id, source);
    }
    Ok(secrets)
}

fn entitlements(flags: &Flags<'_>, words: &[String]) -> Result<Vec<Entitlement>> {
    let parse = |word: &String| match word.as_str() {
        "network.host" => Ok(Entitlement::NetworkHost),
        "security.insecure" => Ok(Entitlement::SecurityInsecure),
        other => Err(flags.invalid(other, "--allow", &format!("unknown entitlement {other}"))),
    };
    words.iter().map(parse).collect()
}
