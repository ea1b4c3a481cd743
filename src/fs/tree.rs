//! Directories, files, and the way along a path.
//!
//! Most of the tree is constant. Some directories are there once for each of something, which is
//! known at run time: areas of CMA, nodes. Those have names by number, and files that are
//! told whose they are.

use super::{FsError, debugfs, proc, sysfs, tracing};
use arrayvec::{ArrayString, ArrayVec};
use core::fmt;

/// Directories in each other.
const MAX_DEPTH: usize = 16;
/// Bytes of the longest path of a file.
const PATH_MAX: usize = 128;

/// Writes a file's text. The number is whose it is, in a directory of many.
pub(super) type Show = fn(usize, &mut dyn fmt::Write) -> fmt::Result;
/// Acts on a text.
#[derive(Clone, Copy)]
pub(super) enum Store {
    One(fn(&str) -> Result<(), FsError>),
    /// Told whose file it is.
    Of(fn(usize, &str) -> Result<(), FsError>),
}

/// A file.
pub(super) struct File {
    pub name: &'static str,
    pub mode: u16,
    pub show: Show,
    pub store: Option<Store>,
}

impl File {
    /// A file that anybody may read.
    pub const fn new(name: &'static str, show: Show) -> Self {
        Self { name, mode: 0o444, show, store: None }
    }
    /// A file that its owner alone may read.
    pub const fn private(name: &'static str, show: Show) -> Self {
        Self { name, mode: 0o400, show, store: None }
    }
    /// A file that its owner may write and nobody read, in a directory of many.
    pub const fn write_only_of(
        name: &'static str,
        store: fn(usize, &str) -> Result<(), FsError>,
    ) -> Self {
        Self { name, mode: 0o200, show: |_, _| Ok(()), store: Some(Store::Of(store)) }
    }
    /// A file as `self`, to be written by its owner.
    pub const fn with_store(self, store: fn(&str) -> Result<(), FsError>) -> Self {
        Self { mode: self.mode | 0o200, store: Some(Store::One(store)), ..self }
    }
    /// Like [`File::with_store`], in a directory of many.
    pub const fn with_store_of(self, store: fn(usize, &str) -> Result<(), FsError>) -> Self {
        Self { mode: self.mode | 0o200, store: Some(Store::Of(store)), ..self }
    }
}

/// Entry of a directory.
pub(super) enum Node {
    Dir(&'static str, &'static [Node]),
    File(File),
    /// A directory for each number that `name` knows, counted from 0; those without one are
    /// left out up to as many as `count` returns.
    Each {
        count: fn() -> usize,
        name: fn(usize) -> Option<&'static str>,
        files: &'static [File],
    },
}

pub(super) const ROOT: Dir = Dir::Static(&[
    Node::Dir("proc", proc::FILES),
    Node::Dir(
        "sys",
        &[
            Node::Dir("devices", sysfs::DEVICES),
            Node::Dir(
                "kernel",
                &[Node::Dir("debug", debugfs::FILES), Node::Dir("tracing", tracing::FILES)],
            ),
        ],
    ),
]);

/// A directory.
#[derive(Clone, Copy)]
pub(super) enum Dir {
    Static(&'static [Node]),
    /// Directory with this number in a family with the same files.
    Of(usize, &'static [File]),
}

/// Result of a path lookup.
pub(super) enum Found {
    Dir(Dir),
    /// A file, and whose it is.
    File(&'static File, usize),
}

/// Entry as `ls` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Name of the entry, without a path.
    pub name: &'a str,
    /// Permissions of the entry.
    pub mode: u16,
    /// True if it is a directory.
    pub is_dir: bool,
}

impl Dir {
    /// Looks `path` up from here.
    pub fn find(self, path: &str) -> Result<Found, FsError> {
        let mut dirs = ArrayVec::<Dir, MAX_DEPTH>::new();
        dirs.push(self);
        let mut file = None;
        for part in path.split('/') {
            // What comes behind a file, if only a slash, takes it for a directory.
            if file.is_some() {
                return Err(FsError::NotADirectory);
            }
            match part {
                "" | "." => {}
                ".." => {
                    if dirs.len() > 1 {
                        dirs.pop();
                    }
                }
                name => {
                    let here = dirs.last().copied().unwrap_or(self);
                    match here.get(name).ok_or(FsError::NotFound)? {
                        Found::Dir(dir) => dirs.try_push(dir).map_err(|_| FsError::NotFound)?,
                        Found::File(found, of) => file = Some((found, of)),
                    }
                }
            }
        }
        Ok(match file {
            Some((file, of)) => Found::File(file, of),
            None => Found::Dir(dirs.last().copied().unwrap_or(self)),
        })
    }

    /// Looks an entry up by `name`.
    pub fn get(self, name: &str) -> Option<Found> {
        let mut found = None;
        self.visit(&mut |called, what| {
            if found.is_none() && called == name {
                found = Some(what);
            }
        });
        found
    }

    /// Calls `f` with all that is in it.
    pub fn visit(self, f: &mut dyn FnMut(&'static str, Found)) {
        match self {
            Self::Of(n, files) => files.iter().for_each(|file| f(file.name, Found::File(file, n))),
            Self::Static(nodes) => {
                for node in nodes {
                    match node {
                        Node::Dir(name, nodes) => f(name, Found::Dir(Self::Static(nodes))),
                        Node::File(file) => f(file.name, Found::File(file, 0)),
                        Node::Each { count, name, files } => (0..count())
                            .filter_map(|n| Some((n, name(n)?)))
                            .for_each(|(n, name)| f(name, Found::Dir(Self::Of(n, files)))),
                    }
                }
            }
        }
    }

    /// Calls `f` with all that is in it, as `ls` shows it.
    pub fn for_each(self, f: &mut dyn FnMut(Entry<'_>)) {
        self.visit(&mut |name, what| match what {
            Found::Dir(_) => f(Entry { name, mode: 0o555, is_dir: true }),
            Found::File(file, _) => f(Entry { name, mode: file.mode, is_dir: false }),
        });
    }

    /// Calls `f` with the path of each file in it and below.
    pub fn for_each_file(self, f: &mut dyn FnMut(&str)) {
        self.walk(&mut ArrayString::new(), f);
    }

    fn walk(self, path: &mut ArrayString<PATH_MAX>, f: &mut dyn FnMut(&str)) {
        let above = path.len();
        self.visit(&mut |name, what| {
            // What does not fit has no name that could be asked for.
            if path.try_push('/').is_ok() && path.try_push_str(name).is_ok() {
                match what {
                    Found::Dir(dir) => dir.walk(path, f),
                    Found::File(..) => f(path),
                }
            }
            path.truncate(above);
        });
    }
}
