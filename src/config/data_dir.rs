//! Which data directory is meant, and why that one: an answer that finds nothing names both.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mistake::Origin;

/// The data directory of an installed service.
pub const USUAL: &str = "/var/lib/tapkeep";
/// The one used where nothing is installed and nothing configured.
pub const FALLBACK: &str = "./output";
pub use crate::store::layout::FLOW_FILE;

/// The file in the runtime directory that tells the service's state.
pub const STATE_FILE: &str = "state.json";

/// The largest state file that is read, bytes.
const MAX_STATE: u64 = 1 << 20;

/// Age from which a state file is a dead service's.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Why a directory was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The command line names it.
    Flag(Origin),
    /// It is the folder of `OUTPUT_FILE`.
    OutputFile,
    /// `data_dir` names it, in the environment or the file.
    Configured(Origin),
    /// The running service told it, in this file.
    Service(PathBuf),
    /// It is the usual one, and exists.
    Usual,
    /// Nothing else told one.
    Fallback,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(origin) => write!(f, "from {origin}"),
            Self::OutputFile => f.write_str("the folder of OUTPUT_FILE"),
            Self::Configured(origin) => write!(f, "data_dir from {origin}"),
            Self::Service(state) => write!(f, "told by the running service in {}", state.display()),
            Self::Usual => f.write_str("the usual place; none is configured"),
            Self::Fallback => write!(f, "none is configured, and {USUAL} does not exist"),
        }
    }
}

/// A data directory and why it is the one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir {
    /// The directory; it need not exist.
    pub path: PathBuf,
    /// Why this one.
    pub why: Why,
}

impl fmt::Display for DataDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.why)
    }
}

impl DataDir {
    /// What the user asked for: the flag, then the folder of the flow file, then `data_dir` in environment or
    /// file.
    pub(super) fn configured(
        data_dir: Option<(PathBuf, Origin)>,
        output_file: Option<&Path>,
    ) -> Option<DataDir> {
        match (data_dir, output_file) {
            (Some((path, origin @ Origin::Flag(_))), _) => Some(Self { path, why: Why::Flag(origin) }),
            (_, Some(file)) => Some(Self { path: folder(file), why: Why::OutputFile }),
            (Some((path, origin)), None) => Some(Self { path, why: Why::Configured(origin) }),
            (None, None) => None,
        }
    }

    /// The first of: what is configured, what a running service told, `usual` if it exists, [`FALLBACK`].
    pub(super) fn choose(configured: Option<DataDir>, told: Option<DataDir>, usual: &Path) -> DataDir {
        let usual = || usual.is_dir().then(|| Self { path: usual.to_owned(), why: Why::Usual });
        let fallback = || Self { path: FALLBACK.into(), why: Why::Fallback };
        configured.or(told).or_else(usual).unwrap_or_else(fallback)
    }

    /// What the running service tells in its runtime directory; nothing if there is none, or none that makes
    /// sense.
    pub(super) fn told_in(runtime_dir: &Path) -> Option<DataDir> {
        let state = runtime_dir.join(STATE_FILE);
        let mut text = String::new();
        let file = File::open(&state).ok()?;
        let fresh = file.metadata().ok()?.modified().ok()?.elapsed().is_ok_and(|age| age <= MAX_AGE);
        file.take(MAX_STATE).read_to_string(&mut text).ok().filter(|_| fresh)?;
        let value: serde_json::Value = serde_json::from_str(&text).ok()?;
        let path = PathBuf::from(value.get("data_dir")?.as_str()?);
        path.is_absolute().then_some(Self { path, why: Why::Service(state) })
    }
}

/// The folder that a file lies in.
fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(origin: Origin) -> Option<(PathBuf, Origin)> {
        Some(("/typed".into(), origin))
    }

    fn chosen(
        data_dir: Option<(PathBuf, Origin)>,
        output_file: Option<&str>,
        told: bool,
        usual: &Path,
    ) -> String {
        let told = told.then(|| DataDir { path: "/told".into(), why: Why::Service("/r/state.json".into()) });
        DataDir::choose(DataDir::configured(data_dir, output_file.map(Path::new)), told, usual).to_string()
    }

    #[test]
    fn the_first_that_is_set_is_chosen_and_says_why() {
        let (here, gone) = (Path::new("/"), Path::new("/no/such/place"));
        let flag = || typed(Origin::Flag("--data-dir".to_owned()));
        let env = || typed(Origin::Environment("TAPKEEP_DATA_DIR".to_owned()));
        let file = || typed(Origin::File("/e/t.toml".into(), 3));
        let output = Some("/out/traffic_flows.jsonb");
        for (answer, expected) in [
            (chosen(flag(), output, true, here), "/typed (from --data-dir)"),
            (chosen(env(), output, true, here), "/out (the folder of OUTPUT_FILE)"),
            (chosen(None, Some("flows"), true, here), ". (the folder of OUTPUT_FILE)"),
            (chosen(env(), None, true, here), "/typed (data_dir from environment TAPKEEP_DATA_DIR)"),
            (chosen(file(), None, true, here), "/typed (data_dir from /e/t.toml:3)"),
            (chosen(None, None, true, here), "/told (told by the running service in /r/state.json)"),
            (chosen(None, None, false, here), "/ (the usual place; none is configured)"),
            (
                chosen(None, None, false, gone),
                "./output (none is configured, and /var/lib/tapkeep does not exist)",
            ),
        ] {
            assert_eq!(answer, expected);
        }
    }

    #[test]
    fn a_service_is_believed_only_if_it_makes_sense() {
        let dir = tempfile::tempdir().unwrap();
        let told = |text: &[u8]| {
            std::fs::write(dir.path().join(STATE_FILE), text).unwrap();
            DataDir::told_in(dir.path()).map(|told| told.path)
        };
        assert_eq!(DataDir::told_in(dir.path()), None, "no service");
        assert_eq!(told(br#"{"data_dir":"/data/tap","pid":1}"#), Some(PathBuf::from("/data/tap")));
        for nonsense in
            [&b"{"[..], b"[]", b"{}", br#"{"data_dir":1}"#, br#"{"data_dir":"output"}"#, b"\xff\0"]
        {
            assert_eq!(told(nonsense), None);
        }
    }
}
