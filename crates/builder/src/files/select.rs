//! The words of COPY and ADD that name files, by Docker's rules.

use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Mode, openat};

use super::cache::Hash;
use super::entry::{Entry, Meta};
use super::error::{At, FilesError, Result, text};
use super::glob::{has_wildcard, matches};
use super::path::{DIRECTORY, Last, Place, clean, components, join, split, walk};
use super::tree::Tree;
use super::walk::{Filter, Walker, names};
use crate::ignore::Ignore;

/// How words are understood.
#[derive(Debug, Clone, Default)]
pub struct SelectOptions {
    /// `--exclude`: patterns relative to each directory that is copied; what a word names itself is not excluded.
    pub exclude: Vec<String>,
    /// `--parents`: what is copied keeps its path, from `/./` on if the word has that.
    pub parents: bool,
    /// Words are names: no wildcards.
    pub literal: bool,
}

/// Files chosen from a tree, as they were when they were chosen.
#[derive(Debug)]
pub struct Selection {
    pub(super) tree: Tree,
    pub(super) sources: Vec<Selected>,
    /// When the first of them was looked at: nanoseconds since 1970.
    pub(super) since: i128,
    /// Of regular files, beside `sources` and their entries.
    pub(super) hashes: OnceLock<Vec<Vec<Hash>>>,
}

/// What one word, or one match of its wildcards, chose.
#[derive(Debug)]
pub(super) struct Selected {
    /// The last name of the word: what a file is called in a directory it is copied to.
    pub name: Vec<u8>,
    /// Where it is in the tree, without links.
    pub base: Vec<u8>,
    /// A directory: its content is what is copied, not it.
    pub is_dir: bool,
    /// The file alone, or what is in the directory.
    pub entries: Vec<Entry>,
    /// Of the directory or file itself.
    pub meta: Meta,
}

impl Selection {
    /// Size of all regular files together.
    pub fn bytes(&self) -> u64 {
        let entries = self.sources.iter().flat_map(|source| &source.entries);
        let files = entries.filter(|entry| entry.kind() == FileType::RegularFile);
        files.fold(0, |sum, entry| sum.saturating_add(entry.meta.size))
    }

    /// Whether no file was chosen: wildcards may match nothing.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// How many files, directories and other things would be copied.
    pub fn len(&self) -> usize {
        self.sources.iter().map(|s| s.entries.len()).sum()
    }
}

impl Tree {
    /// Finds what words name: paths from the root, with wildcards. Links named by a word are followed within the tree,
    /// links in a directory are taken as they are.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] for a word without wildcards that names nothing, or whose directory is not there.
    pub fn select<S: AsRef<str>>(&self, words: &[S], options: &SelectOptions) -> Result<Selection> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as i128);
        let exclude = match &options.exclude[..] {
            [] => None,
            patterns => Some(parse_patterns(&patterns.join("\n"))?),
        };
        let mut search = Search {
            tree: self,
            exclude: exclude.as_ref(),
            found: Vec::new(),
        };
        for word in words {
            let word = word.as_ref().as_bytes();
            match (options.parents, options.literal) {
                (true, _) => search.with_parents(word)?,
                (_, true) => search.named(&clean(word), split(&clean(word)).1, None)?,
                _ => search.word(word)?,
            }
        }
        Ok(Selection {
            tree: self.clone(),
            sources: search.found,
            since,
            hashes: OnceLock::new(),
        })
    }
}

struct Search<'a> {
    tree: &'a Tree,
    exclude: Option<&'a Ignore>,
    found: Vec<Selected>,
}

impl Search<'_> {
    fn word(&mut self, word: &[u8]) -> Result<()> {
        let word = clean(word);
        let names: Vec<&[u8]> = components(&word).collect();
        let Some(plain) = names.iter().position(|name| has_wildcard(name)) else {
            return self.named(&word, split(&word).1, None);
        };
        let base = names[..plain].join(&b'/');
        let place = self.find(&base)?;
        if !place.is_dir() {
            return Ok(());
        }
        for path in self.matching(&place.path(), &names[plain..])? {
            match self.named(&path, split(&path).1, None) {
                // A wildcard does not match what is hidden.
                Err(FilesError::NotFound { ignored: true, .. }) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// `--parents`: the directory before `/./`, or the root, is copied, as far as it matches what follows.
    fn with_parents(&mut self, word: &[u8]) -> Result<()> {
        let pivot = word.windows(3).position(|w| w == b"/./");
        let (base, pattern) = match pivot {
            Some(at) => (clean(&word[..at]), clean(&word[at + 3..])),
            None => (Vec::new(), clean(word)),
        };
        if !has_wildcard(&base) && !has_wildcard(&pattern) {
            self.find(&join(&base, &pattern))?;
        }
        let names: Vec<&[u8]> = components(&base).collect();
        let bases = match names.iter().position(|name| has_wildcard(name)) {
            None => vec![base.clone()],
            Some(plain) => {
                let place = self.find(&names[..plain].join(&b'/'))?;
                self.matching(&place.path(), &names[plain..])?
            }
        };
        let include = match &pattern[..] {
            b"" => None,
            pattern => Some(parse_patterns(&text(pattern))?),
        };
        for base in bases {
            self.named(&base, split(&base).1, include.as_ref())?;
        }
        Ok(())
    }

    /// Paths below a directory whose names match, one each. Links on the way are not followed.
    fn matching(&self, base: &[u8], patterns: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        let Some((first, rest)) = patterns.split_first() else {
            return Ok(vec![base.to_vec()]);
        };
        let place = walk(self.tree.root(), base, Last::Keep, None)?;
        if !place.is_dir() {
            return Ok(Vec::new());
        }
        let dir = openat(&place.dir, &place.name[..], DIRECTORY, Mode::empty()).at("open", base)?;
        let mut found = Vec::new();
        for name in names(dir.as_fd()).at("read", base)? {
            if matches(first, name.name.as_bytes()) {
                let path = join(base, name.name.as_bytes());
                found.extend(self.matching(&path, rest)?);
            }
        }
        Ok(found)
    }

    /// Takes what is at a path, links followed.
    fn named(&mut self, path: &[u8], name: &[u8], include: Option<&Ignore>) -> Result<()> {
        let place = self.find(path)?;
        let base = place.path();
        let Some(stat) = place.stat else {
            return Err(self.missing(path, &place));
        };
        let meta = Meta::from(&stat);
        let is_dir = place.is_dir();
        let entries = if is_dir {
            let opened = openat(&place.dir, &place.name[..], DIRECTORY, Mode::empty());
            let filter = Filter {
                exclude: self.exclude,
                include,
            };
            Walker::walk(self.tree, opened.at("open", &base)?, &base, filter)?
        } else {
            vec![Entry {
                path: Box::default(),
                implied: false,
                meta,
                link: None,
                xattrs: Vec::new(),
            }]
        };
        if is_dir && entries.is_empty() && self.tree.hides(&base, true) {
            return Err(self.missing(path, &place));
        }
        self.found.push(Selected {
            name: name.to_vec(),
            base,
            is_dir,
            entries,
            meta,
        });
        Ok(())
    }

    /// Where a path leads; it is an error if there is nothing, or only something hidden.
    fn find(&self, path: &[u8]) -> Result<Place> {
        let place = match walk(self.tree.root(), path, Last::Follow, None) {
            Err(FilesError::NotADirectory { .. }) => {
                return Err(FilesError::NotFound {
                    path: text(path),
                    ignored: false,
                    nearest: None,
                });
            }
            other => other?,
        };
        let hidden = |path: &Vec<u8>| self.tree.hides(path, false);
        let is_hidden =
            place.links.iter().any(hidden) || (!place.is_dir() && hidden(&place.path()));
        if place.stat.is_none() || is_hidden {
            return Err(self.missing(path, &place));
        }
        Ok(place)
    }

    fn missing(&self, path: &[u8], place: &Place) -> FilesError {
        let exists = place.stat.is_some();
        FilesError::NotFound {
            path: text(path),
            ignored: exists,
            nearest: match exists {
                true => None,
                false => self.nearest(place).map(|p| text(&p)),
            },
        }
    }

    /// The name most like one that is missing, if it is like it at all.
    fn nearest(&self, place: &Place) -> Option<Vec<u8>> {
        let dir = openat(&place.dir, c".", DIRECTORY, Mode::empty()).ok()?;
        let wanted = text(&place.name);
        let limit = (wanted.chars().count() / 3).max(1);
        names(dir.as_fd())
            .ok()?
            .into_iter()
            .filter_map(|entry| {
                let name = entry.name.to_str().ok()?;
                let distance = distance(&wanted, name);
                let path = join(&place.parent, name.as_bytes());
                let shown = !self.tree.hides(&path, entry.kind == FileType::Directory);
                (distance <= limit && shown).then_some((distance, path))
            })
            .min()
            .map(|(_, path)| path)
    }
}

fn parse_patterns(patterns: &str) -> Result<Ignore> {
    Ignore::parse(patterns).map_err(|e| FilesError::Pattern {
        reason: e.to_string(),
    })
}

/// Insertions, removals, replacements and swaps of characters between two names; case is not counted.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut before = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let replaced = row[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                let swapped: usize = before[j - 1];
                least = least.min(swapped + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}
