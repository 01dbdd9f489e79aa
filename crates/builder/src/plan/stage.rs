//! Stages: which are needed, what each begins with, one instruction after the other.

use std::collections::BTreeSet;

use rctr_registry_client::{InvalidPlatform, Platform};

use super::names;
use super::scope::{Given, Scope};
use super::{BaseImage, Graph, Input, Node, NodeId, Op, Origin, Plan, PlannedHistory, Target, at};
use crate::dockerfile::{self, Instruction, InstructionKind, Span, Stage, Word};
use crate::document::{DEFAULT_PATH, Document, History};
use crate::options::NamedContext;
use crate::{BuildError, Result};

/// What history entries say of who wrote them.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Makes the plan for the target stage, for each platform.
///
/// # Errors
/// [`BuildError`] with the place in the file; whatever hinders finding an image.
pub fn plan(input: &Input<'_>) -> Result<Plan> {
    let stages = &input.file.stages;
    let target = target(input)?;
    let name = stages[target].from.name.as_ref();
    let name = name.map_or("default", |word| word.text.as_str());
    let mut plan = Plan {
        nodes: Vec::new(),
        stages: BTreeSet::new(),
        targets: Vec::new(),
    };
    for platform in &input.options.platforms {
        let mut given = Given::new(input.options, platform, input.file.directives.escape, name);
        for instruction in &input.file.global_args {
            if let InstructionKind::Arg(args) = &instruction.kind {
                for arg in args {
                    given.declare_global(arg)?;
                }
            }
        }
        let mut planner = Planner {
            input,
            platform,
            given,
            // What several platforms need alike is done once.
            graph: Graph { nodes: plan.nodes },
            stages: vec![None; stages.len()],
            under_way: Vec::new(),
        };
        let mut built = planner.stage(target)?;
        for (name, value) in &input.options.labels {
            let labels = built.document.config.labels.get_or_insert_default();
            labels.insert(name.clone(), value.clone());
        }
        let needed = planner.stages.iter().enumerate();
        let needed = needed.filter_map(|(index, stage)| stage.as_ref().map(|_| index));
        plan.stages.extend(needed);
        plan.nodes = planner.graph.nodes;
        plan.targets.push(Target {
            platform: platform.clone(),
            node: built.node,
            document: built.document,
            history: built.history,
        });
    }
    Ok(plan)
}

fn target(input: &Input<'_>) -> Result<usize> {
    let stages = &input.file.stages;
    let Some(wanted) = &input.options.target else {
        return stages.len().checked_sub(1).ok_or(BuildError::NoStage);
    };
    find_stage(stages, wanted).ok_or_else(|| BuildError::UnknownTarget {
        target: wanted.clone(),
        stages: stages
            .iter()
            .filter_map(|s| Some(s.from.name.as_ref()?.text.clone()))
            .collect(),
    })
}

/// The last stage of this name, whatever its case.
fn find_stage(stages: &[Stage], name: &str) -> Option<usize> {
    stages.iter().rposition(|stage| {
        let known = stage.from.name.as_ref();
        known.is_some_and(|known| known.text.eq_ignore_ascii_case(name))
    })
}

pub(super) struct Planner<'a> {
    pub(super) input: &'a Input<'a>,
    /// What the image is to run on.
    platform: &'a Platform,
    pub(super) given: Given<'a>,
    pub(super) graph: Graph,
    stages: Vec<Option<Building>>,
    /// Stages whose planning waits for others, to find circles.
    under_way: Vec<usize>,
}

/// A stage as far as it has come.
#[derive(Debug, Clone)]
pub(super) struct Building {
    /// What its files are so far.
    pub(super) node: NodeId,
    pub(super) document: Document,
    pub(super) scope: Scope,
    pub(super) history: Vec<PlannedHistory>,
    /// CMD was given in this stage: ENTRYPOINT then leaves it alone.
    pub(super) cmd_set: bool,
    /// `builder` or `stage-1`; empty for the only stage of a file.
    name: String,
    /// Steps named so far, and in all.
    step: usize,
    steps: usize,
    pub(super) no_cache: bool,
    /// What its programs are for.
    pub(super) platform: Platform,
    /// Whether steps are to say so.
    shows_platform: bool,
}

impl Planner<'_> {
    fn stage(&mut self, index: usize) -> Result<Building> {
        if let Some(done) = &self.stages[index] {
            return Ok(done.clone());
        }
        let stage = &self.input.file.stages[index];
        if self.under_way.contains(&index) {
            let name = stage.from.name.as_ref();
            return Err(at(
                stage.from.span,
                format!(
                    "circular dependency detected on stage: {}",
                    name.map_or(index.to_string(), |word| word.text.clone())
                ),
            ));
        }
        self.under_way.push(index);
        let built = self.build_stage(index, stage)?;
        self.under_way.pop();
        self.stages[index] = Some(built.clone());
        Ok(built)
    }

    fn build_stage(&mut self, index: usize, stage: &Stage) -> Result<Building> {
        let mut building = self.begin(index, stage)?;
        let name = stage.from.name.as_ref().map(|word| word.text.as_str());
        if name.is_some_and(|name| self.input.options.contexts.contains_key(name)) {
            // The context takes the place of the whole stage, not of its base alone.
            return Ok(building);
        }
        let triggers = building.document.config.on_build.take().unwrap_or_default();
        let mut instructions = Vec::new();
        for trigger in triggers {
            instructions.push(parse_trigger(&trigger, stage.from.span)?);
        }
        instructions.extend(stage.instructions.iter().cloned());
        let layers = instructions.iter().filter(|i| makes_layer(i)).count();
        building.steps = layers + usize::from(building.step > 0);
        self.name_base(&building, stage);
        for instruction in &instructions {
            self.instruction(&mut building, instruction)?;
        }
        Ok(building)
    }

    /// What FROM says.
    fn begin(&mut self, index: usize, stage: &Stage) -> Result<Building> {
        let from = &stage.from;
        let written = self.given.expand_global(&from.image)?;
        if written.is_empty() {
            return Err(at(
                from.image.span,
                format!("base name ({}) should not be blank", from.image.text),
            ));
        }
        let platform = match &from.platform {
            Some(word) => Some(self.given.expand_global(word)?).filter(|p| !p.is_empty()),
            None => None,
        };
        let platform = match platform {
            Some(text) => text
                .parse()
                .map_err(|e: InvalidPlatform| at(from.span, e.to_string()))?,
            None => self.platform.clone(),
        };
        let name = match &from.name {
            _ if self.input.file.stages.len() == 1 => String::new(),
            Some(name) => name.text.clone(),
            None => format!("stage-{index}"),
        };
        let no_cache = self.input.options.no_cache
            || self
                .input
                .options
                .no_cache_filter
                .iter()
                .any(|f| f.eq_ignore_ascii_case(&name));
        let own_name = from.name.as_ref().map(|word| word.text.as_str());
        let base = self.base(index, own_name, &written, &platform, from.span)?;
        Ok(Building {
            name,
            no_cache,
            steps: 0,
            shows_platform: self.input.options.platforms.len() > 1,
            ..base
        })
    }

    fn base(
        &mut self,
        index: usize,
        own_name: Option<&str>,
        written: &str,
        platform: &Platform,
        span: Span,
    ) -> Result<Building> {
        let contexts = &self.input.options.contexts;
        // A named context takes the place of the stage or image of that name.
        let named = own_name.and_then(|name| contexts.get(name));
        match named.or_else(|| contexts.get(written)) {
            Some(NamedContext::Image(image)) => return self.base_image(image, platform, span),
            Some(NamedContext::Files(_)) => {
                let name = own_name
                    .filter(|name| contexts.contains_key(*name))
                    .unwrap_or(written);
                return Ok(self.base_files(name, platform));
            }
            None => {}
        }
        if let Some(earlier) = find_stage(&self.input.file.stages[..index], written) {
            let base = self.stage(earlier)?;
            return Ok(Building {
                cmd_set: false,
                step: 0,
                ..base
            });
        }
        if written == "scratch" {
            let node = self.scratch();
            return Ok(Building::on(node, Document::scratch(platform), platform));
        }
        self.base_image(written, platform, span)
    }

    fn base_image(&mut self, name: &str, platform: &Platform, span: Span) -> Result<Building> {
        let image = self.image(name, platform, span)?;
        let mut document = Document::clone(&image.document);
        let env = document.config.env.get_or_insert_default();
        if !env.iter().any(|e| e.starts_with("PATH=")) {
            env.push(format!("PATH={DEFAULT_PATH}"));
        }
        let node = self
            .graph
            .add(node(Op::Image(image), String::new(), Some(span)));
        let mut building = Building::on(node, document, platform);
        building.step = 1;
        Ok(building)
    }

    /// A context as the first layer of an image.
    fn base_files(&mut self, context: &str, platform: &Platform) -> Building {
        let scratch = self.scratch();
        let op = Op::Copy(Box::new(super::Copy::everything(
            scratch,
            Origin::Context(context.to_owned()),
        )));
        let name = format!("[context {context}] load from client");
        let node = self.graph.add(node(op, name, None));
        let mut building = Building::on(node, Document::scratch(platform), platform);
        building.history.push(PlannedHistory {
            entry: History {
                created_by: Some(format!("context {context}")),
                comment: Some(COMMENT.into()),
                ..History::default()
            },
            node: Some(node),
        });
        building
    }

    fn image(&self, name: &str, platform: &Platform, span: Span) -> Result<BaseImage> {
        let found = self.input.images.find(name, platform);
        found.map_err(|error| self.explained(name, error).at(span))
    }

    /// Says of an image that cannot be had whether a stage was meant.
    fn explained(&self, name: &str, error: BuildError) -> BuildError {
        let stages = self.input.file.stages.iter();
        let names = stages.filter_map(|stage| Some(stage.from.name.as_ref()?.text.as_str()));
        let names: Vec<&str> = names.collect();
        let hint = match names.iter().find(|other| other.eq_ignore_ascii_case(name)) {
            Some(later) => Some(format!("stage {later:?} begins further down")),
            None => dockerfile::nearest(name, names, false)
                .map(|near| format!("no stage is called {name:?}: did you mean {near:?}?")),
        };
        match (error, hint) {
            (BuildError::Engine { span, source }, Some(hint)) => {
                BuildError::NoSuchStage { span, hint, source }
            }
            (error, _) => error,
        }
    }

    /// The step `FROM` is shown with the image it stands for.
    fn name_base(&mut self, building: &Building, stage: &Stage) {
        let node = &mut self.graph.nodes[building.node];
        if let (Op::Image(image), true) = (&node.op, node.name.is_empty()) {
            let mut shown = image.name.clone();
            if let Some(digest) = image.digest.as_ref().filter(|_| !shown.contains('@')) {
                shown = format!("{shown}@{digest}");
            }
            node.name = format!("{}FROM {shown}", building.prefix(1));
            node.span = Some(stage.from.span);
        }
    }

    fn instruction(&mut self, building: &mut Building, instruction: &Instruction) -> Result<()> {
        if building.metadata(&self.given, instruction)? {
            return Ok(());
        }
        match &instruction.kind {
            InstructionKind::Run(run) => self.run(building, instruction, run),
            InstructionKind::Copy(copy) => self.copy(building, instruction, copy, false),
            InstructionKind::Add(copy) => self.copy(building, instruction, copy, true),
            InstructionKind::Workdir(path) => self.make_workdir(building, instruction, path),
            _ => Ok(()),
        }
    }

    fn make_workdir(
        &mut self,
        building: &mut Building,
        instruction: &Instruction,
        path: &Word,
    ) -> Result<()> {
        let path = building.scope.expand(&self.given, path)?;
        let path = building.workdir(&path);
        let op = Op::Mkdir {
            base: building.node,
            path: path.clone(),
            user: building.document.config.user.clone(),
        };
        self.step(building, instruction, op, format!("WORKDIR {path}"));
        building.document.config.working_dir = path;
        Ok(())
    }

    /// Adds a step to a stage.
    pub(super) fn step(
        &mut self,
        building: &mut Building,
        instruction: &Instruction,
        op: Op,
        created_by: String,
    ) {
        building.step += 1;
        let name = format!(
            "{}{}",
            building.prefix(building.step),
            names::shown(building, instruction)
        );
        building.node = self.graph.add(Node {
            op,
            name,
            span: Some(instruction.span),
            no_cache: building.no_cache,
        });
        building.record(created_by, Some(building.node));
    }

    /// Where `--from` leads: a stage by name or number, a named context, an image.
    pub(super) fn origin(&mut self, from: &str, span: Span) -> Result<Origin> {
        match self.input.options.contexts.get(from) {
            Some(NamedContext::Files(_)) => return Ok(Origin::Context(from.to_owned())),
            Some(NamedContext::Image(image)) => {
                return Ok(Origin::Node(self.image_node(image, span)?));
            }
            None => {}
        }
        let stages = &self.input.file.stages;
        let number = from.parse().ok().filter(|n| *n < stages.len());
        if let Some(index) = find_stage(stages, from).or(number) {
            return Ok(Origin::Node(self.stage(index)?.node));
        }
        if from == "scratch" {
            return Ok(Origin::Node(self.scratch()));
        }
        Ok(Origin::Node(self.image_node(from, span)?))
    }

    /// The node of no files.
    pub(super) fn scratch(&mut self) -> NodeId {
        self.graph.add(node(Op::Scratch, String::new(), None))
    }

    fn image_node(&mut self, name: &str, span: Span) -> Result<NodeId> {
        let image = self.image(name, self.platform, span)?;
        let shown = format!("FROM {}", image.name);
        Ok(self.graph.add(node(Op::Image(image), shown, Some(span))))
    }
}

impl Building {
    pub(super) fn on(node: NodeId, document: Document, platform: &Platform) -> Building {
        let env = document.config.env.clone().unwrap_or_default();
        Building {
            node,
            scope: Scope::of_env(&env),
            document,
            history: Vec::new(),
            cmd_set: false,
            name: String::new(),
            step: 0,
            steps: 0,
            no_cache: false,
            platform: platform.clone(),
            shows_platform: false,
        }
    }

    /// Notes an instruction that made no layer.
    pub(super) fn note(&mut self, created_by: String) {
        self.record(created_by, None);
    }

    fn record(&mut self, created_by: String, node: Option<NodeId>) {
        self.history.push(PlannedHistory {
            entry: History {
                created_by: Some(created_by),
                comment: Some(COMMENT.into()),
                empty_layer: node.is_none(),
                ..History::default()
            },
            node,
        });
    }

    /// `[builder 2/5] `, with several platforms `[linux/arm64 builder 2/5] `.
    fn prefix(&self, step: usize) -> String {
        let width = self.steps.to_string().len();
        let platform = self.shows_platform.then(|| self.platform.to_string());
        let name = Some(self.name.clone()).filter(|name| !name.is_empty());
        let words = platform.into_iter().chain(name);
        let words: String = words.map(|word| word + " ").collect();
        format!("[{words}{step:>width$}/{}] ", self.steps)
    }
}

fn node(op: Op, name: String, span: Option<Span>) -> Node {
    Node {
        op,
        name,
        span,
        no_cache: false,
    }
}

fn makes_layer(instruction: &Instruction) -> bool {
    matches!(
        instruction.kind,
        InstructionKind::Run(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Add(_)
            | InstructionKind::Workdir(_)
    )
}

/// An ONBUILD trigger of a base image, with FROM's place.
fn parse_trigger(trigger: &str, span: Span) -> Result<Instruction> {
    let parsed = dockerfile::parse_trigger(trigger);
    let mut instruction = parsed.map_err(|e| at(span, format!("ONBUILD {trigger}: {e}")))?;
    instruction.span = span;
    instruction.source.insert_str(0, "ONBUILD ");
    Ok(instruction)
}

/// `path` seen from `base`, with `.` and `..` resolved and without a trailing slash, as Go's `path.Join` has it.
pub(crate) fn absolute(base: &str, path: &str) -> String {
    let whole = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{base}/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}
