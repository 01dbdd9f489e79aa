//! COPY and ADD.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use super::Solved;
use super::key::Key;
use super::work::{HitOrTurn, Work};
use crate::files::{self, Chmod, CopyRequest, SelectOptions, Source, Tree};
use crate::plan::{Copy, CopySource, Origin, Unpack};
use crate::{BuildError, Result};

/// Sources of one kind, copied together.
struct Group {
    sources: Vec<Source>,
    unpack: bool,
}

impl Work<'_> {
    pub(super) fn copy(&self, copy: &Copy) -> Result<Solved> {
        let base = self.solver.input(copy.base)?;
        let definition = self.copy_key(copy, base.identity());
        let mut defined = None;
        let origin = match &copy.from {
            Origin::Context(_) => None,
            Origin::Node(node) => {
                if let Some(stage) = self.solver.stage_definition(*node) {
                    let key = definition.clone().field("defined", stage).digest();
                    if self.solver.may_skip()
                        && let Some(hit) = self.hit(&key, &base)?
                    {
                        return Ok(hit);
                    }
                    defined = Some(key);
                    self.ahead();
                }
                Some(self.solver.input(*node)?)
            }
        };
        // Layers, commits and checksums are known by their content: where they are the same nobody needs to look in.
        let known = match &origin {
            Some(origin) => Some(vec![origin.identity().to_owned()]),
            None => self.remote_identities(copy)?,
        };
        let known = known.map(|known| definition.clone().field("origin", &known).digest());
        if let Some(key) = &known
            && let Some(hit) = self.hit(key, &base)?
        {
            self.remember_origin(defined, None, &hit)?;
            return Ok(hit);
        }
        let tree = self.tree(copy, origin.as_deref())?;
        let (groups, contents) = self.read(copy, &tree)?;
        self.solver.definitions.note(self.id, &contents);
        let key = definition.field("content", &contents).digest();
        let _turn = match self.hit_or_turn(&key, &base)? {
            HitOrTurn::Turn(turn) => turn,
            HitOrTurn::Hit(hit) => {
                self.remember_origin(defined, known, &hit)?;
                return Ok(hit);
            }
        };
        let step = self.begin(&base)?;
        let below = match copy.link {
            true => Vec::new(),
            false => base.chain_ids(),
        };
        let runner = &self.solver.runner;
        let root = runner.mount_writable(&below, step.upper(), step.work(), None)?;
        let chown = self.owner(copy, &base, &root)?;
        place(copy, &groups, &root, chown)?;
        drop(root);
        let solved = self.commit(step, &base, &key, "regular")?;
        self.remember_origin(defined, known, &solved)?;
        Ok(solved)
    }

    /// Remembers a result under the keys by which it is found without its origin, and without a look into it.
    pub(super) fn remember_origin(
        &self,
        defined: Option<String>,
        known: Option<String>,
        solved: &Solved,
    ) -> Result<()> {
        let defined = defined.filter(|_| self.solver.definitions.hold());
        let keys: Vec<String> = defined.into_iter().chain(known).collect();
        self.remember_also(&keys, solved)
    }

    /// What stands for what is copied from a context or the web, if that can be told.
    pub(super) fn contents(&self, copy: &Copy) -> Option<Vec<String>> {
        let contents = match self.remote_identities(copy) {
            Ok(Some(known)) => return Some(known),
            Ok(None) => self
                .tree(copy, None)
                .and_then(|tree| self.read(copy, &tree)),
            Err(error) => Err(error),
        };
        // Doing it will say what is wrong.
        let (_, contents) = contents.ok()?;
        self.solver.definitions.note(self.id, &contents);
        Some(contents)
    }

    /// All that the result depends on but for the content of what is copied.
    pub(super) fn copy_key(&self, copy: &Copy, base: &str) -> Key {
        let base = if copy.stands_alone() { "any" } else { base };
        let kind = if copy.unpack == Unpack::No {
            "copy"
        } else {
            "add"
        };
        self.key(kind)
            .field("base", base)
            .field(
                "sources",
                &copy
                    .sources
                    .iter()
                    .map(|s| format!("{s:?}"))
                    .collect::<Vec<_>>(),
            )
            .field("destination", &copy.destination)
            .field("chown", &copy.chown)
            .field("chmod", &copy.chmod)
            .field("link", &copy.link)
            .field("parents", &copy.parents)
            .field("exclude", &copy.exclude)
            .field("unpack", &format!("{:?}", copy.unpack))
    }

    fn tree(&self, copy: &Copy, origin: Option<&Solved>) -> Result<Arc<Tree>> {
        match (&copy.from, origin) {
            (Origin::Context(name), _) => match self.solver.contexts.get(name) {
                Some(tree) => Ok(Arc::clone(tree)),
                None => Err(BuildError::Instruction {
                    span: self.node.span,
                    reason: format!("there is no context {name:?}"),
                }),
            },
            (Origin::Node(_), origin) => {
                if let Some(origin) = origin {
                    self.solver.fetch(origin)?;
                }
                let chain_ids = origin.map(Solved::chain_ids).unwrap_or_default();
                let root = match self.solver.runner.mount(&chain_ids, None)? {
                    Some(mounted) => mounted,
                    None => self.empty()?,
                };
                Ok(Arc::new(Tree::rootfs(root)))
            }
        }
    }

    fn empty(&self) -> Result<OwnedFd> {
        let path = self.solver.scratch.join("nothing");
        let dir = File::open(&path).map_err(BuildError::io("open", &path))?;
        Ok(dir.into())
    }

    /// Everything that is copied, and its digests.
    fn read(&self, copy: &Copy, tree: &Tree) -> Result<(Vec<Group>, Vec<String>)> {
        let read = || {
            let groups = self.gather(copy, tree)?;
            let contents = contents(&groups)?;
            Ok((groups, contents))
        };
        let is_path = |source: &CopySource| matches!(source, CopySource::Path(_));
        let of_context = matches!(&copy.from, Origin::Context(name) if name.is_empty());
        if !of_context || !copy.sources.iter().any(is_path) {
            return read();
        }
        self.solver.reading_context(|status| {
            let (groups, contents) = read()?;
            let sources = groups.iter().flat_map(|group| &group.sources);
            let bytes = sources.map(|source| match source {
                Source::Selection(selection) => selection.bytes(),
                Source::Inline { .. } => 0,
            });
            status("transferring context:", rctr_store::sum(bytes));
            Ok((groups, contents))
        })
    }

    /// Finds everything that is copied.
    fn gather(&self, copy: &Copy, tree: &Tree) -> Result<Vec<Group>> {
        let options = SelectOptions {
            exclude: copy.exclude.clone(),
            parents: copy.parents,
            literal: false,
        };
        let mut groups = Vec::new();
        let mut words: Vec<&str> = Vec::new();
        let select = |words: &mut Vec<&str>, groups: &mut Vec<Group>| -> Result<()> {
            if !words.is_empty() {
                groups.push(Group {
                    sources: vec![Source::Selection(tree.select(words, &options)?)],
                    unpack: matches!(copy.unpack, Unpack::Local | Unpack::All),
                });
                words.clear();
            }
            Ok(())
        };
        for source in &copy.sources {
            match source {
                CopySource::Path(path) => words.push(path),
                CopySource::Inline { name, content } => {
                    select(&mut words, &mut groups)?;
                    groups.push(Group {
                        sources: vec![Source::Inline {
                            name: name.clone(),
                            content: content.clone().into_bytes(),
                        }],
                        unpack: false,
                    });
                }
                CopySource::Url(url) => {
                    select(&mut words, &mut groups)?;
                    groups.push(self.url(copy, url)?);
                }
                CopySource::Git(address) => {
                    select(&mut words, &mut groups)?;
                    groups.push(self.repository(copy, address)?);
                }
            }
        }
        select(&mut words, &mut groups)?;
        Ok(groups)
    }

    fn url(&self, copy: &Copy, url: &str) -> Result<Group> {
        let fetched = self.web_file(url, copy.checksum.as_deref())?;
        let literal = SelectOptions {
            literal: true,
            ..SelectOptions::default()
        };
        let selection = fetched.tree.select(&[&fetched.name], &literal)?;
        Ok(Group {
            sources: vec![Source::Selection(selection)],
            unpack: copy.unpack == Unpack::All,
        })
    }

    fn repository(&self, copy: &Copy, address: &str) -> Result<Group> {
        let (address, options) = self.git(copy, address)?;
        let checkout = files::checkout(&address, &options, self.solver.scratch)?;
        let select = SelectOptions {
            exclude: copy.exclude.clone(),
            ..SelectOptions::default()
        };
        Ok(Group {
            sources: vec![Source::Selection(checkout.tree.select(&["/"], &select)?)],
            unpack: false,
        })
    }

    /// The owner `--chown` names: looked up in the files that are changed, with --link in those below.
    fn owner(&self, copy: &Copy, base: &Solved, root: &OwnedFd) -> Result<Option<(u32, u32)>> {
        let Some(owner) = &copy.chown else {
            return Ok(None);
        };
        let rootfs = match copy.link {
            false => root
                .try_clone()
                .map_err(BuildError::io("open", Path::new("the step's files")))?,
            true => match self.solver.runner.mount(&base.chain_ids(), None)? {
                Some(mounted) => mounted,
                None => self.empty()?,
            },
        };
        Ok(Some(files::parse_owner(&Tree::rootfs(rootfs), owner)?))
    }
}

fn place(copy: &Copy, groups: &[Group], root: &OwnedFd, chown: Option<(u32, u32)>) -> Result<()> {
    let chmod = copy.chmod.as_deref().map(Chmod::parse).transpose()?;
    for group in groups {
        files::copy(
            root.as_fd(),
            &CopyRequest {
                sources: &group.sources,
                destination: &copy.destination,
                destination_is_dir: copy.sources.len() > 1,
                chown,
                chmod: chmod.as_ref(),
                unpack: group.unpack,
                timestamp: None,
            },
        )?;
    }
    Ok(())
}

impl Copy {
    /// The files are the same whatever they are put upon: with `--link`, unless only an image's files say who `--chown`
    /// names.
    pub(super) fn stands_alone(&self) -> bool {
        let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let mut owners = self.chown.iter();
        self.link && owners.all(|owner| owner.split(':').all(is_number))
    }
}

/// Digests of what is selected; what is written in the Dockerfile is in the key already.
fn contents(groups: &[Group]) -> Result<Vec<String>> {
    let mut digests = Vec::new();
    for source in groups.iter().flat_map(|group| &group.sources) {
        if let Source::Selection(selection) = source {
            digests.push(selection.digest()?);
        }
    }
    Ok(digests)
}

/// Copies all of one directory into another.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let open = |path: &Path| {
        File::open(path)
            .map(OwnedFd::from)
            .map_err(BuildError::io("open", path))
    };
    let tree = Tree::rootfs(open(from)?);
    let root = open(to)?;
    let selection = tree.select(&["/"], &SelectOptions::default())?;
    let sources = [Source::Selection(selection)];
    let request = CopyRequest::new(&sources, "/");
    Ok(files::copy(root.as_fd(), &request)?)
}
