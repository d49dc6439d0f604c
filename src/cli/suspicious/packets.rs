//! Where a finding's packets are, and the command that extracts them.

use std::path::{Path, PathBuf};

use super::super::ask;
use super::super::format::Places;
use super::super::table::count;
use super::number;
use crate::detect::Finding;
use crate::packet::Nanos;

/// Where the packets of an answer's findings are.
#[derive(Default)]
pub(in crate::cli) struct Whereabouts {
    /// The capture files.
    pub(in crate::cli) places: Places,
    /// The files that were analysed for it, if any is from elsewhere: then `extract` analyses them too.
    pub(in crate::cli) files: Vec<PathBuf>,
    /// The flags by which the data directory was named, as a shell takes them, each behind a blank: the command needs them too.
    pub(in crate::cli) typed: String,
    /// The stamp from which on findings may have grown since they were told; `None` if all are over.
    pub(in crate::cli) counted_on: Option<Nanos>,
}

/// What is left of a finding's packets.
pub(in crate::cli) enum Packets {
    /// Nobody knows where they are.
    Unknown,
    /// Nothing.
    Evicted,
    /// This command extracts them.
    There {
        /// As a shell takes it.
        command: String,
        /// Whether some are evicted.
        partly: bool,
    },
}

impl Whereabouts {
    /// The rest of what is told of a finding, line by line.
    pub(in crate::cli) fn details(&self, finding: &Finding) -> Vec<String> {
        let ends = [&finding.src, &finding.dst].map(|end| end.as_deref().unwrap_or("many"));
        let port = finding.port.map_or_else(String::new, |port| format!(", port {port}"));
        let (observed, threshold) = (number(finding.observed), number(finding.threshold));
        let so_far = if ask::may_have_grown(finding, self.counted_on) { " so far" } else { "" };
        let mut lines = vec![
            finding.summary.clone(),
            format!("{} -> {}{port}", ends[0], ends[1]),
            format!("observed {observed}, threshold {threshold}; counted {}{so_far}", count(finding.count)),
            format!("filter  {}", finding.filter),
        ];
        match self.of(finding) {
            Packets::Unknown => {}
            Packets::Evicted => lines.push("packets evicted".to_owned()),
            Packets::There { command, partly } => {
                let partly = if partly { "  (some evicted)" } else { "" };
                lines.push(format!("packets {command}{partly}"));
            }
        }
        lines
    }

    /// What is left of a finding's packets.
    pub(in crate::cli) fn of(&self, finding: &Finding) -> Packets {
        let stretches = &finding.captures.0;
        let evicted = stretches.iter().filter(|stretch| self.places.is_evicted(stretch.0)).count();
        match (self.places.recorded, evicted, stretches.len()) {
            (_, _, 0) => Packets::Unknown,
            (false, ..) if self.files.is_empty() => Packets::Unknown,
            (true, gone, all) if gone == all => Packets::Evicted,
            _ => Packets::There { command: self.extraction(finding), partly: evicted > 0 },
        }
    }

    /// The command that extracts a finding's packets; from files elsewhere it names all of them, for only so it is the same finding.
    fn extraction(&self, finding: &Finding) -> String {
        let files: String = self.files.iter().map(|file| format!(" --file {}", for_shell(file))).collect();
        format!("tapkeep extract{}{files} --finding {}", self.typed, finding.id)
    }
}

/// A path as a shell takes it.
pub(in crate::cli) fn for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
