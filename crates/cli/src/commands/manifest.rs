//! `rctr manifest create|annotate|inspect|push|rm`.

use std::io::{self, Write};

use rctr_engine::manifest::{Annotations, Inspected};
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::cli::{
    ManifestAnnotateArgs, ManifestCommand, ManifestCreateArgs, ManifestInspectArgs,
    ManifestPushArgs,
};
use crate::failure::{Result, for_each};
use crate::online::wait_for;
use crate::usage::{require_names, require_one, wrong_count};

pub fn run(app: &App, command: ManifestCommand) -> Result {
    match command {
        ManifestCommand::Create(args) => create(app, &args),
        ManifestCommand::Annotate(args) => annotate(app, &args),
        ManifestCommand::Inspect(args) => inspect(app, &args),
        ManifestCommand::Push(args) => push(app, &args),
        ManifestCommand::Rm(args) => {
            require_names("manifest rm", &args.names)?;
            let engine = app.engine()?;
            for_each(&args.names, |name| Ok(engine.manifest_remove(name)?))
        }
    }
}

fn create(app: &App, args: &ManifestCreateArgs) -> Result {
    let [list, members @ ..] = &args.names[..] else {
        return Err(wrong_count(
            "manifest create",
            "requires at least 2 arguments",
        ));
    };
    if members.is_empty() {
        return Err(wrong_count(
            "manifest create",
            "requires at least 2 arguments",
        ));
    }
    let engine = app.engine()?;
    let created = engine.manifest_create(list, members, args.amend, args.insecure);
    let name = wait_for(created)?;
    writeln!(io::stdout(), "Created manifest list {name}")?;
    Ok(0)
}

fn annotate(app: &App, args: &ManifestAnnotateArgs) -> Result {
    let [list, member] = &args.names[..] else {
        return Err(wrong_count(
            "manifest annotate",
            "requires exactly 2 arguments",
        ));
    };
    let say = Annotations {
        os: args.os.clone(),
        arch: args.arch.clone(),
        variant: args.variant.clone(),
        os_version: args.os_version.clone(),
        os_features: args.os_features.clone(),
    };
    app.engine()?.manifest_annotate(list, member, &say)?;
    Ok(0)
}

fn inspect(app: &App, args: &ManifestInspectArgs) -> Result {
    let (list, name) = match &args.names[..] {
        [name] => (None, name),
        [list, name] => (Some(list.as_str()), name),
        names => {
            let what = match names {
                [] => "requires at least 1 argument",
                _ => "requires at most 2 arguments",
            };
            return Err(wrong_count("manifest inspect", what));
        }
    };
    let engine = app.engine()?;
    let found = engine.manifest_inspect(list, name, args.insecure, args.verbose);
    let found = wait_for(found)?;
    let shown = match (&found[..], args.verbose) {
        ([one], true) => verbose(one),
        ([_, members @ ..], true) => members.iter().map(verbose).collect(),
        ([one, ..], false) => one.document.clone(),
        ([], _) => Value::Null,
    };
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, tabs);
    shown.serialize(&mut serializer).map_err(io::Error::from)?;
    text.push(b'\n');
    io::stdout().write_all(&text)?;
    Ok(0)
}

/// A manifest as `docker manifest inspect --verbose` wraps it.
fn verbose(found: &Inspected) -> Value {
    let oci = found.document["mediaType"]
        .as_str()
        .is_none_or(|kind| kind.contains(".oci."));
    let kind = if oci {
        "OCIManifest"
    } else {
        "SchemaV2Manifest"
    };
    json!({"Ref": found.reference, "Descriptor": found.descriptor, kind: found.document})
}

fn push(app: &App, args: &ManifestPushArgs) -> Result {
    let list = require_one("manifest push", &args.names)?;
    let engine = app.engine()?;
    let told = |name: &str, digest: &str| {
        // A reader that went away does not stop a push.
        let _ = writeln!(io::stdout(), "Pushed ref {name} with digest: {digest}");
    };
    let digest = wait_for(engine.manifest_push(list, args.purge, args.insecure, &told))?;
    writeln!(io::stdout(), "{digest}")?;
    Ok(0)
}
