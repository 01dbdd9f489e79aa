//! SLSA provenance v1.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rctr_registry_client::Platform;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Detail, Facts, purl};
use crate::context::Location;
use crate::plan::{CopySource, Op};
use crate::solve::Solver;
use crate::time;

/// What describes the fields below.
const BUILD_TYPE: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

pub(super) fn predicate(solver: &Solver<'_>, facts: &Facts<'_>, detail: Detail) -> Value {
    let options = solver.options;
    let (file, text) = facts.dockerfile;
    let mut args = Map::new();
    if let Some(target) = &options.target {
        args.insert("target".into(), json!(target));
    }
    if detail == Detail::Max {
        for (name, value) in &options.build_args {
            args.insert(format!("build-arg:{name}"), json!(value));
        }
        for (name, value) in &options.labels {
            args.insert(format!("label:{name}"), json!(value));
        }
    }
    let mut request = json!({"frontend": "dockerfile.v0", "args": args});
    let mut source = json!({"path": file});
    match address(&options.context) {
        Some(uri) => source["uri"] = json!(uri),
        None => request["locals"] = json!([{"name": "context"}, {"name": "dockerfile"}]),
    }
    if !options.secrets.is_empty() {
        let secrets = options.secrets.keys().map(|id| json!({"id": id}));
        request["secrets"] = secrets.collect();
    }
    if !options.ssh.is_empty() {
        request["ssh"] = options.ssh.keys().map(|id| json!({"id": id})).collect();
    }
    let mut metadata = json!({
        "startedOn": time::format(facts.started),
        "finishedOn": time::format(facts.finished),
        "buildkit_completeness": {
            "request": detail == Detail::Max,
            "resolvedDependencies": false,
        },
        "buildkit_reproducible": false,
    });
    if detail == Detail::Max {
        metadata["buildkit_metadata"] = json!({"source": {"infos": [{
            "filename": file,
            "language": "Dockerfile",
            "data": BASE64_STANDARD.encode(text),
        }]}});
    }
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"configSource": source, "request": request},
            "internalParameters": {"builderPlatform": Platform::host().to_string()},
            "resolvedDependencies": dependencies(solver),
        },
        "runDetails": {
            "builder": {
                "id": "",
                "version": {"rctr": env!("CARGO_PKG_VERSION")},
            },
            "metadata": metadata,
        },
    })
}

/// Images and downloads that went into it.
fn dependencies(solver: &Solver<'_>) -> Vec<Value> {
    let mut all = Vec::new();
    for node in &solver.plan.nodes {
        match &node.op {
            Op::Image(image) => {
                let document = &image.document;
                let platform = Platform::new(
                    &document.os,
                    &document.architecture,
                    document.variant.as_deref(),
                );
                // An image that was only built here has no digest elsewhere.
                let digest = image.digest.as_ref().unwrap_or(&image.record.manifest);
                all.push(json!({
                    "uri": purl(&image.name, &platform),
                    "digest": {"sha256": digest.digest()},
                }));
            }
            Op::Copy(copy) => {
                for source in &copy.sources {
                    let (CopySource::Url(address) | CopySource::Git(address)) = source else {
                        continue;
                    };
                    let mut entry = json!({"uri": without_password(address)});
                    if let Some((kind, digest)) =
                        copy.checksum.as_deref().and_then(|sum| sum.split_once(':'))
                    {
                        entry["digest"] = json!({kind: digest});
                    }
                    all.push(entry);
                }
            }
            _ => {}
        }
    }
    let mut seen = Vec::new();
    all.retain(|entry| {
        let new = !seen.contains(entry);
        seen.push(entry.clone());
        new
    });
    all
}

fn address(context: &Location) -> Option<String> {
    match context {
        Location::Git(address) => Some(without_password(&address.remote)),
        Location::Url(url) => Some(without_password(url)),
        Location::Directory(_) | Location::Stdin => None,
    }
}

/// What is attested is for everybody to read.
fn without_password(address: &str) -> String {
    match Url::parse(address) {
        Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
            // Only addresses without a host refuse, and those have neither.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.into()
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn nobody_learns_passwords() {
        assert_eq!(
            without_password("https://me:secret@h/a.git#x"),
            "https://h/a.git#x"
        );
        assert_eq!(without_password("git@h:a/b.git"), "git@h:a/b.git");
    }
}
