//! The names of a simulated file system: as programs see them, as a power cut surely keeps them, and the edits between.
//!
//! Invariant: `seen` is `kept` with all pending edits done in order. A power cut does, in each directory, the first few of
//! its edits; an edit of two directories happens in both or in neither, and holds up what comes after it in both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir,
    /// The file with this number.
    File(u64),
}

/// A change of names.
#[derive(Debug, Clone)]
pub enum Edit {
    /// A new name.
    Put(PathBuf, Node),
    /// A name that goes.
    Take(PathBuf),
    /// A rename over whatever is there.
    Move(PathBuf, PathBuf, Node),
}

impl Edit {
    fn dirs(&self) -> BTreeSet<PathBuf> {
        let paths = match self {
            Self::Put(path, _) | Self::Take(path) => vec![path],
            Self::Move(from, to, _) => vec![from, to],
        };
        paths.into_iter().filter_map(|path| path.parent()).map(Path::to_owned).collect()
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Put(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Take(path) => {
                names.remove(path);
            }
            Self::Move(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }

    fn node(&self) -> Option<Node> {
        match self {
            Self::Put(_, node) | Self::Move(_, _, node) => Some(*node),
            Self::Take(_) => None,
        }
    }
}

/// All names.
#[derive(Debug, Clone, Default)]
pub struct Names {
    seen: BTreeMap<PathBuf, Node>,
    kept: BTreeMap<PathBuf, Node>,
    pending: Vec<Edit>,
}

impl Names {
    /// Durable names.
    pub fn durable(names: BTreeMap<PathBuf, Node>) -> Self {
        Self { seen: names.clone(), kept: names, pending: Vec::new() }
    }

    /// Adds a durable name.
    pub fn plant(&mut self, path: &Path, node: Node) {
        self.seen.insert(path.to_owned(), node);
        self.kept.insert(path.to_owned(), node);
    }

    /// What programs see under a name.
    pub fn get(&self, path: &Path) -> Option<Node> {
        self.seen.get(path).copied()
    }

    /// What a power cut surely leaves under a name.
    pub fn get_kept(&self, path: &Path) -> Option<Node> {
        self.kept.get(path).copied()
    }

    /// The files that programs see, by path.
    pub fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.seen.iter().filter_map(|(path, node)| match node {
            Node::File(number) => Some((path.as_path(), *number)),
            Node::Dir => None,
        })
    }

    /// Whether programs see the file under any name.
    pub fn is_seen(&self, number: u64) -> bool {
        self.files().any(|(_, other)| other == number)
    }

    /// Whether the file has a name now or may have one after a power cut.
    pub fn may_be_seen(&self, number: u64) -> bool {
        let file = Node::File(number);
        self.is_seen(number)
            || self.kept.values().any(|node| *node == file)
            || self.pending.iter().any(|edit| edit.node() == Some(file))
    }

    /// Does an edit, not durably.
    pub fn edit(&mut self, edit: Edit) {
        edit.apply(&mut self.seen);
        self.pending.push(edit);
    }

    /// Makes the edits of a directory durable, and those of others on which they depend.
    pub fn sync(&mut self, dir: &Path) {
        let mut dirs = BTreeSet::from([dir.to_owned()]);
        let mut due = vec![false; self.pending.len()];
        for (edit, due) in self.pending.iter().zip(&mut due).rev() {
            let touched = edit.dirs();
            if !touched.is_disjoint(&dirs) {
                *due = true;
                dirs.extend(touched);
            }
        }
        let mut later = Vec::new();
        for (edit, due) in self.pending.drain(..).zip(due) {
            if due {
                edit.apply(&mut self.kept);
            } else {
                later.push(edit);
            }
        }
        self.pending = later;
    }

    /// The names after a power cut; `choose` says how many of a directory's pending edits, at most, were done.
    pub fn survive(&self, mut choose: impl FnMut(u64) -> u64) -> Self {
        let mut left: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for dir in self.pending.iter().flat_map(Edit::dirs) {
            *left.entry(dir).or_default() += 1;
        }
        left.values_mut().for_each(|count| *count = choose(*count));
        let mut names = self.kept.clone();
        for edit in &self.pending {
            let dirs = edit.dirs();
            let done = dirs.iter().all(|dir| left[dir] > 0);
            for dir in dirs {
                left.entry(dir).and_modify(|count| *count = if done { *count - 1 } else { 0 });
            }
            if done {
                edit.apply(&mut names);
            }
        }
        // A directory that is lost takes with it what was in it. Parents sort before their children.
        let mut rooted: BTreeMap<PathBuf, Node> = BTreeMap::new();
        for (path, node) in names {
            if path.parent().is_none_or(|dir| rooted.get(dir) == Some(&Node::Dir)) {
                rooted.insert(path, node);
            }
        }
        Self::durable(rooted)
    }
}
