//! A parsed Dockerfile. Words are as written, quotes, escapes and variables included: they are expanded while the
//! file is planned, when the variables of their stage are known.

/// A place in the file: line and column count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// From the first character to the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// Where it begins.
    pub start: Position,
    /// Where it ends.
    pub end: Position,
}

/// A word with its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Word {
    /// As written.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The lines `# name=value` at its head.
    pub directives: Directives,
    /// ARGs before the first FROM: they serve FROM lines, and stages that declare them again.
    pub global_args: Vec<Instruction>,
    /// What a FROM begins, in order.
    pub stages: Vec<Stage>,
}

/// Parser directives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: recorded, not obeyed; this is the frontend.
    pub syntax: Option<Word>,
    /// `# escape=`: a backslash or a backtick.
    pub escape: char,
    /// `# check=`.
    pub check: Option<Word>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The line that begins it.
    pub from: From,
    /// What follows, in order.
    pub instructions: Vec<Instruction>,
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// An image, an earlier stage, a named context or `scratch`; may hold global variables.
    pub image: Word,
    /// `--platform`.
    pub platform: Option<Word>,
    /// The stage's name, in lower case.
    pub name: Option<Word>,
    /// The whole line.
    pub span: Span,
    /// The line as written, continuation lines joined.
    pub source: String,
    /// The comments right above, without `#` and blanks: a description of the stage, or `check=`.
    pub comments: Vec<String>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it says.
    pub kind: InstructionKind,
    /// The whole of it, heredocs included.
    pub span: Span,
    /// As written, continuation lines joined with one blank, without heredoc bodies: what progress shows.
    pub source: String,
    /// The comments right above, without `#` and blanks: a description of what is declared, or `check=`.
    pub comments: Vec<String>,
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum InstructionKind {
    /// `ARG NAME[=DEFAULT] …`.
    Arg(Vec<Arg>),
    /// `ENV`, both forms.
    Env(Vec<Pair>),
    /// `LABEL`.
    Label(Vec<Pair>),
    /// `RUN`.
    Run(Run),
    /// `COPY`.
    Copy(Copy),
    /// `ADD`.
    Add(Copy),
    /// `WORKDIR`.
    Workdir(Word),
    /// `USER`.
    User(Word),
    /// `VOLUME`, either form.
    Volume(Vec<Word>),
    /// `EXPOSE`.
    Expose(Vec<Word>),
    /// `CMD`.
    Cmd(Command),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `SHELL`, JSON only.
    Shell(Vec<String>),
    /// `STOPSIGNAL`.
    StopSignal(Word),
    /// `ONBUILD`: the instruction as written, checked when it was parsed.
    Onbuild(Word),
    /// `MAINTAINER`.
    Maintainer(Word),
}

/// `NAME[=DEFAULT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: Word,
    /// Its default.
    pub default: Option<Word>,
}

/// `NAME=VALUE` of ENV and LABEL; both may hold variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Name.
    pub name: Word,
    /// Value.
    pub value: Word,
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A JSON array.
    Exec(Vec<String>),
    /// For the shell. Continuation lines are joined as Docker joins them; RUN's heredocs are in [`Run`].
    Shell(String),
}

/// `<<EOF` and the lines up to `EOF`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word after `<<`, without quotes.
    pub name: String,
    /// Variables in the content are to be expanded (the word was not quoted).
    pub expand: bool,
    /// `<<-`: leading tabs have been removed from the content.
    pub strip_tabs: bool,
    /// The lines, each with its newline.
    pub content: String,
    /// The lines in the file.
    pub span: Span,
}

/// `RUN [flags] COMMAND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What is run. With heredocs in the shell form: the line before them, such as `cat <<EOF > x`, or only `<<EOF`.
    pub command: Command,
    /// In order of their marks on the line.
    pub heredocs: Vec<Heredoc>,
    /// Each `--mount=`'s value; see [`super::RunMount::parse`], after expansion.
    pub mounts: Vec<Word>,
    /// `--network`.
    pub network: Option<Word>,
    /// `--security`.
    pub security: Option<Word>,
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What is copied, in order.
    pub sources: Vec<Source>,
    /// To where.
    pub destination: Word,
    /// `--from` (COPY only).
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link[=BOOL]`.
    pub link: bool,
    /// `--parents[=BOOL]` (COPY only).
    pub parents: bool,
    /// `--exclude`: patterns as written; variables mean nothing in them.
    pub exclude: Vec<Word>,
    /// `--checksum` (ADD only).
    pub checksum: Option<Word>,
    /// `--keep-git-dir[=BOOL]` (ADD only).
    pub keep_git_dir: Option<bool>,
    /// `--unpack[=BOOL]` (ADD only).
    pub unpack: Option<bool>,
}

/// Something to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path or pattern, or for ADD a URL or git repository.
    Path(Word),
    /// A file written in the Dockerfile; its destination name is that of the heredoc.
    Heredoc(Heredoc),
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Healthcheck {
    /// `NONE`.
    None,
    /// `CMD`, with its options as written.
    Command {
        /// What is run in the container.
        command: Command,
        /// `--interval`.
        interval: Option<Word>,
        /// `--timeout`.
        timeout: Option<Word>,
        /// `--start-period`.
        start_period: Option<Word>,
        /// `--start-interval`.
        start_interval: Option<Word>,
        /// `--retries`.
        retries: Option<Word>,
    },
}
