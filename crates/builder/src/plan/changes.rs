//! Instructions that change a configuration without a build: `--change` of `commit` and `import`.

use rctr_registry_client::Platform;
use serde_json::Value;

use super::at;
use super::scope::Given;
use super::stage::Building;
use crate::dockerfile::{self, Instruction, InstructionKind};
use crate::document::{Document, RunConfig};
use crate::{BuildError, Result};

/// Changes a configuration (`config` of an image) by instructions of a Dockerfile, one or more lines each.
///
/// # Errors
/// [`BuildError::Instruction`] for an instruction that changes files or that is none.
pub fn apply_changes(config: Value, changes: &[String]) -> Result<Value> {
    if changes.iter().all(|change| change.trim().is_empty()) {
        return Ok(config);
    }
    let refused = |reason: String| BuildError::Instruction { span: None, reason };
    let config: RunConfig =
        serde_json::from_value(config).map_err(|e| refused(format!("configuration: {e}")))?;
    let platform = Platform::host();
    let mut document = Document::scratch(&platform);
    document.config = config;
    let mut building = Building::on(0, document, &platform);
    let given = Given::bare(&platform);
    for instruction in parse(changes)? {
        let done = building.metadata(&given, &instruction)?;
        match (&instruction.kind, done) {
            (InstructionKind::Workdir(path), _) => {
                let path = building.scope.expand(&given, path)?;
                building.document.config.working_dir = building.workdir(&path);
            }
            (_, true) => {}
            (_, false) => return Err(not_a_change(&instruction)),
        }
    }
    serde_json::to_value(&building.document.config)
        .map_err(|e| refused(format!("configuration: {e}")))
}

fn parse(changes: &[String]) -> Result<Vec<Instruction>> {
    let text = format!("FROM scratch\n{}\n", changes.join("\n"));
    let parsed = dockerfile::parse(&text).map_err(|e| {
        // Lines are not those of anything that the user wrote.
        let errors = e.errors().iter().map(|error| error.kind.to_string());
        let reason = errors.collect::<Vec<_>>().join("; ");
        BuildError::Instruction { span: None, reason }
    })?;
    let stages = parsed.file.stages;
    let mut instructions = Vec::new();
    for (index, stage) in stages.into_iter().enumerate() {
        if index > 0 {
            return Err(at(stage.from.span, "from is not a valid change command"));
        }
        instructions.extend(stage.instructions);
    }
    for instruction in &instructions {
        if matches!(
            instruction.kind,
            InstructionKind::Arg(_) | InstructionKind::Shell(_) | InstructionKind::Maintainer(_)
        ) {
            return Err(not_a_change(instruction));
        }
    }
    Ok(instructions)
}

fn not_a_change(instruction: &Instruction) -> BuildError {
    let word = instruction.source.split_whitespace().next();
    let word = word.unwrap_or_default().to_lowercase();
    BuildError::Instruction {
        span: None,
        reason: format!("{word} is not a valid change command"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(changes: &[&str]) -> Result<Value> {
        let config = json!({"Env": ["PATH=/bin", "A=1"], "Cmd": ["sh"], "User": "app"});
        let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
        apply_changes(config, &changes)
    }

    #[test]
    fn instructions_change_a_configuration() {
        assert_eq!(
            changed(&[
                "CMD [\"httpd\", \"-X\"]",
                "ENV B=$A C=d",
                "LABEL x=\"y z\"\nEXPOSE 80/tcp",
                "workdir /srv",
                "WORKDIR sub",
                "USER 5:6",
                "VOLUME /data",
                "STOPSIGNAL SIGINT",
                "ONBUILD RUN x",
            ])
            .unwrap(),
            json!({
                "User": "5:6",
                "ExposedPorts": {"80/tcp": {}},
                "Env": ["PATH=/bin", "A=1", "B=1", "C=d"],
                "Cmd": ["httpd", "-X"],
                "Volumes": {"/data": {}},
                "WorkingDir": "/srv/sub",
                "Labels": {"x": "y z"},
                "StopSignal": "SIGINT",
                "OnBuild": ["RUN x"],
                "ArgsEscaped": true,
            })
        );
        let entrypoint = changed(&["ENTRYPOINT [\"/x\"]"]).unwrap();
        assert_eq!(entrypoint["Entrypoint"], json!(["/x"]));
        let nothing = changed(&[]).unwrap();
        assert_eq!(nothing["Cmd"], json!(["sh"]));
    }

    #[test]
    fn what_makes_files_is_no_change() {
        for (change, message) in [
            ("RUN true", "run is not a valid change command"),
            ("COPY a b", "copy is not a valid change command"),
            ("FROM x", "from is not a valid change command"),
            ("ARG x", "arg is not a valid change command"),
            ("ENV A", "ENV must have two arguments"),
        ] {
            let error = changed(&[change]).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
            assert!(!error.contains("line"), "{error}");
        }
        assert!(changed(&["FROB x"]).is_err());
    }
}
