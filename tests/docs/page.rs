//! A page of the book: its blocks of commands, the commands between backticks, its headings and links.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Where the book begins.
pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// README.md, the chapters, and what else has commands beside them.
pub(crate) fn pages() -> Vec<Page> {
    let root = Path::new(ROOT);
    let mut paths: Vec<_> = std::fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.sort();
    paths.insert(0, root.join("README.md"));
    paths.into_iter().map(Page::read).collect()
}

/// A page as it is written.
pub(crate) struct Page {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A fenced block.
pub(crate) struct Block<'a> {
    pub(crate) language: &'a str,
    /// The number of its first line, from 0.
    pub(crate) first: usize,
    pub(crate) lines: Vec<&'a str>,
}

impl Page {
    /// Reads a page.
    pub(crate) fn read(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).unwrap();
        Self { path, text }
    }

    /// As a failure names it.
    pub(crate) fn name(&self) -> String {
        self.path.strip_prefix(ROOT).unwrap_or(&self.path).display().to_string()
    }

    /// The fenced blocks.
    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<Block<'_>> = None;
        for (number, line) in self.text.lines().enumerate() {
            match (line.strip_prefix("```"), open.take()) {
                (Some(language), None) => {
                    open = Some(Block { language: language.trim(), first: number + 1, lines: Vec::new() });
                }
                (Some(_), Some(block)) => blocks.push(block),
                (None, Some(mut block)) => {
                    block.lines.push(line);
                    open = Some(block);
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block is never closed", self.name());
        blocks
    }

    /// The commands of each block of shell lines, those that a backslash ends joined with the next.
    pub(crate) fn scripts(&self) -> Vec<Vec<String>> {
        let shell = self.blocks().into_iter().filter(|block| block.language == "sh");
        shell.map(|block| commands(&block.lines)).collect()
    }

    /// All that is outside of fenced blocks.
    pub(crate) fn prose(&self) -> Vec<&str> {
        let mut fenced = false;
        let mut prose = Vec::new();
        for line in self.text.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                prose.push(line);
            }
        }
        prose
    }

    /// What stands between backticks, line ends as spaces.
    pub(crate) fn spans(&self) -> Vec<String> {
        let prose = self.prose().join("\n");
        let paragraphs = prose.split("\n\n").map(str::to_owned).collect::<Vec<_>>();
        paragraphs
            .iter()
            .flat_map(|text| text.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")))
            .collect()
    }

    /// The anchors of its headings, as forges make them.
    pub(crate) fn anchors(&self) -> HashSet<String> {
        let headings = self.prose().into_iter().filter(|line| line.starts_with('#'));
        headings.map(|line| slug(line.trim_start_matches('#').trim())).collect()
    }

    /// The targets of its links.
    pub(crate) fn links(&self) -> Vec<String> {
        let prose = self.prose().join("\n");
        prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
    }
}

/// Commands of lines: without empty lines and remarks, those that a backslash ends joined with the next.
pub(crate) fn commands(lines: &[&str]) -> Vec<String> {
    let joined = lines.join("\n").replace("\\\n", " ");
    let commands = joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    commands.map(str::to_owned).collect()
}

fn slug(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
        .collect::<String>();
    kept.replace(' ', "-")
}
