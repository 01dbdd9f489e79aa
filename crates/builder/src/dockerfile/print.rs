//! From tree to text: one instruction a line, in upper case, with what it says unchanged.

use std::fmt::Write;

use super::ast::*;
use super::heredoc;
use super::words;

/// The text of a file. Parsed again it gives the same tree but for places, sources and the layout of what was on
/// several lines; printed again, the same text.
pub fn print(file: &Dockerfile) -> String {
    let escape = file.directives.escape;
    let mut printer = Printer {
        out: String::new(),
        escape,
    };
    printer.directives(&file.directives);
    // After an empty line no comment is taken for a directive.
    let first = file.global_args.first().map(|arg| &arg.comments);
    let first = first.or(file.stages.first().map(|stage| &stage.from.comments));
    if !printer.out.is_empty() || first.is_some_and(|comments| !comments.is_empty()) {
        printer.out.push('\n');
    }
    for arg in &file.global_args {
        printer.instruction(arg);
    }
    for stage in &file.stages {
        if !printer.out.is_empty() && !printer.out.ends_with("\n\n") && printer.out != "\n" {
            printer.out.push('\n');
        }
        printer.from(&stage.from);
        for instruction in &stage.instructions {
            printer.instruction(instruction);
        }
    }
    printer.out
}

struct Printer {
    out: String,
    escape: char,
}

impl Printer {
    fn directives(&mut self, directives: &Directives) {
        let escape = (directives.escape != '\\').then(|| directives.escape.to_string());
        let values = [
            (
                "syntax",
                directives.syntax.as_ref().map(|word| word.text.clone()),
            ),
            ("escape", escape),
            (
                "check",
                directives.check.as_ref().map(|word| word.text.clone()),
            ),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                let _ = writeln!(self.out, "# {name}={value}");
            }
        }
    }

    fn comments(&mut self, comments: &[String]) {
        for comment in comments {
            let _ = writeln!(self.out, "# {comment}");
        }
    }

    /// A line, and the heredocs that belong to it.
    fn line(&mut self, line: &str, heredocs: &[&Heredoc]) {
        self.out.push_str(line);
        // An escape character at the end would take the next line in. It can only stand there at the end of a file,
        // where an empty continuation line hides it.
        if line.ends_with(self.escape) && !line.ends_with(&String::from_iter([self.escape; 2])) {
            self.out.push(' ');
            self.out.push(self.escape);
        }
        self.out.push('\n');
        for heredoc in heredocs {
            let _ = write!(self.out, "{}", heredoc.content);
            let _ = writeln!(self.out, "{}", heredoc.name);
        }
    }

    fn from(&mut self, from: &From) {
        self.comments(&from.comments);
        let mut line = String::from("FROM");
        self.flag(&mut line, "platform", from.platform.as_ref());
        let mut line = with_arguments(&line, &from.image.text);
        if let Some(name) = &from.name {
            let _ = write!(line, " AS {}", name.text);
        }
        self.line(&line, &[]);
    }

    fn instruction(&mut self, instruction: &Instruction) {
        use InstructionKind as I;
        self.comments(&instruction.comments);
        let (keyword, arguments) = match &instruction.kind {
            I::Run(run) => return self.run(run),
            I::Copy(copy) => return self.copy("COPY", copy),
            I::Add(copy) => return self.copy("ADD", copy),
            I::Healthcheck(healthcheck) => return self.healthcheck(healthcheck),
            I::Arg(args) => {
                let words = args.iter().map(|arg| match &arg.default {
                    Some(default) => format!("{}={}", arg.name.text, default.text),
                    None => arg.name.text.clone(),
                });
                ("ARG", words.collect::<Vec<_>>().join(" "))
            }
            I::Env(pairs) => ("ENV", self.pairs(pairs)),
            I::Label(pairs) => ("LABEL", self.pairs(pairs)),
            I::Workdir(word) => ("WORKDIR", word.text.clone()),
            I::User(word) => ("USER", word.text.clone()),
            I::StopSignal(word) => ("STOPSIGNAL", word.text.clone()),
            I::Maintainer(word) => ("MAINTAINER", word.text.clone()),
            I::Volume(words) => (
                "VOLUME",
                list(&texts(words)).unwrap_or_else(|| json(&texts(words))),
            ),
            I::Expose(words) => ("EXPOSE", texts(words).join(" ")),
            I::Cmd(command) => ("CMD", text(command)),
            I::Entrypoint(command) => ("ENTRYPOINT", text(command)),
            I::Shell(words) => ("SHELL", json(words)),
            I::Onbuild(word) => ("ONBUILD", word.text.clone()),
        };
        self.line(&with_arguments(keyword, &arguments), &[]);
    }

    fn run(&mut self, run: &Run) {
        let mut line = String::from("RUN");
        for mount in &run.mounts {
            self.flag(&mut line, "mount", Some(mount));
        }
        self.flag(&mut line, "network", run.network.as_ref());
        self.flag(&mut line, "security", run.security.as_ref());
        let line = with_arguments(&line, &text(&run.command));
        self.line(&line, &run.heredocs.iter().collect::<Vec<_>>());
    }

    fn healthcheck(&mut self, healthcheck: &Healthcheck) {
        let mut line = String::from("HEALTHCHECK");
        match healthcheck {
            Healthcheck::None => line.push_str(" NONE"),
            Healthcheck::Command {
                command,
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
            } => {
                self.flag(&mut line, "interval", interval.as_ref());
                self.flag(&mut line, "timeout", timeout.as_ref());
                self.flag(&mut line, "start-period", start_period.as_ref());
                self.flag(&mut line, "start-interval", start_interval.as_ref());
                self.flag(&mut line, "retries", retries.as_ref());
                let _ = write!(line, " CMD {}", text(command));
            }
        }
        self.line(&line, &[]);
    }

    fn copy(&mut self, keyword: &str, copy: &Copy) {
        let mut line = keyword.to_owned();
        self.flag(&mut line, "from", copy.from.as_ref());
        self.flag(&mut line, "chown", copy.chown.as_ref());
        self.flag(&mut line, "chmod", copy.chmod.as_ref());
        self.flag(&mut line, "checksum", copy.checksum.as_ref());
        for (name, set) in [("link", copy.link), ("parents", copy.parents)] {
            if set {
                let _ = write!(line, " --{name}");
            }
        }
        for (name, value) in [("keep-git-dir", copy.keep_git_dir), ("unpack", copy.unpack)] {
            if let Some(value) = value {
                let _ = write!(line, " --{name}={value}");
            }
        }
        for exclude in &copy.exclude {
            self.flag(&mut line, "exclude", Some(exclude));
        }
        let mut heredocs = Vec::new();
        let mut words = Vec::new();
        for source in &copy.sources {
            match source {
                Source::Path(word) => words.push(word.text.clone()),
                Source::Heredoc(heredoc) => {
                    words.push(mark(heredoc));
                    heredocs.push(heredoc);
                }
            }
        }
        words.push(copy.destination.text.clone());
        // In JSON form there are no marks: for a path that looks like one, and a mark without lines.
        let shell = list(&words)
            .map(|words| with_arguments(&line, &words))
            .filter(|line| {
                let marks = heredoc::marks(line);
                marks
                    .iter()
                    .map(|mark| &mark.name)
                    .eq(heredocs.iter().map(|heredoc| &heredoc.name))
            });
        let line = shell.unwrap_or_else(|| {
            heredocs.clear();
            with_arguments(&line, &json(&words))
        });
        self.line(&line, &heredocs);
    }

    /// `NAME=VALUE …`, or `NAME VALUE` where the value is not one word.
    fn pairs(&self, pairs: &[Pair]) -> String {
        let join = |separator| {
            let pairs = pairs
                .iter()
                .map(|pair| format!(" {}{separator}{}", pair.name.text, pair.value.text));
            pairs.collect::<String>()
        };
        let line = join("=");
        let words = words::quoted_words(&line, 0..line.len(), self.escape);
        let same = words.len() == pairs.len()
            && words.last().is_some_and(|word| word.end == line.len())
            && pairs.iter().all(|pair| !pair.name.text.contains('='));
        if same { line } else { join(" ") }
    }

    fn flag(&self, line: &mut String, name: &str, value: Option<&Word>) {
        let Some(value) = value else { return };
        let _ = write!(line, " --{name}=");
        let special = |c: char| c.is_whitespace() || matches!(c, '"' | '\'') || c == self.escape;
        if !value.text.contains(special) {
            line.push_str(&value.text);
            return;
        }
        line.push('"');
        for c in value.text.chars() {
            if c == '"' || c == self.escape {
                line.push(self.escape);
            }
            line.push(c);
        }
        line.push('"');
    }
}

fn with_arguments(line: &str, arguments: &str) -> String {
    match arguments {
        "" => line.to_owned(),
        // A word with which they begin is no flag.
        _ if arguments.starts_with("--") => format!("{line} -- {arguments}"),
        _ => format!("{line} {arguments}"),
    }
}

fn text(command: &Command) -> String {
    match command {
        Command::Exec(words) => json(words),
        Command::Shell(line) => line.clone(),
    }
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

fn json<W: AsRef<str>>(words: &[W]) -> String {
    let words = words
        .iter()
        .map(|word| serde_json::Value::from(word.as_ref()).to_string());
    format!("[{}]", words.collect::<Vec<_>>().join(", "))
}

/// Words between blanks, where that gives them back.
fn list<W: AsRef<str>>(words: &[W]) -> Option<String> {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let joined = words.join(" ");
    let again = words::between_blanks(&joined, 0..joined.len());
    let again = again.into_iter().map(|word| joined.get(word).unwrap_or(""));
    (joined.trim() == joined && !joined.starts_with('[') && again.eq(words)).then_some(joined)
}

/// The mark that gives this heredoc: quoted if nothing in it is to be expanded.
fn mark(heredoc: &Heredoc) -> String {
    let dash = if heredoc.strip_tabs { "-" } else { "" };
    let quote = if heredoc.expand { "" } else { "\"" };
    let mut name = String::new();
    for c in heredoc.name.chars() {
        if matches!(c, '"' | '\\') || (c == '\'' && heredoc.expand) {
            name.push('\\');
        }
        name.push(c);
    }
    format!("<<{dash}{quote}{name}{quote}")
}
