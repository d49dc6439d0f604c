//! What a running service tells of itself in its runtime directory, as far as other commands need it. Read with
//! suspicion: what is old, large or makes no sense is as good as not there.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::store::losses::Losses;

/// Age from which a state is not believed.
const MAX_AGE: Duration = Duration::from_secs(10);
/// The largest state that is read, bytes.
const MAX_SIZE: u64 = 1 << 20;

/// What the service says of the file that it is writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Recording {
    /// Its index number.
    pub index: u64,
    /// What it misses so far.
    pub losses: Losses,
    /// Whether the wall clock has been synchronised since it was begun.
    pub clock_synchronised: Option<bool>,
}

/// What a service that writes into `data_dir` says in one of `runtime_dir`'s `state*.json`, if it said so in the last ten
/// seconds.
pub fn recording(runtime_dir: &Path, data_dir: &Path) -> Option<Recording> {
    let data_dir = data_dir.canonicalize().ok()?;
    let files = std::fs::read_dir(runtime_dir).ok()?.filter_map(Result::ok);
    let states = files.filter(|file| {
        let name = file.file_name();
        name.to_str().is_some_and(|name| name.starts_with("state") && name.ends_with(".json"))
    });
    states.filter_map(|file| read(&file.path())).find_map(|state| {
        let same = Path::new(state.get("data_dir")?.as_str()?).canonicalize().ok()? == data_dir;
        same.then(|| Recording::deserialize(state.get("recording")?).ok()).flatten()
    })
}

fn read(path: &Path) -> Option<serde_json::Value> {
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    let fresh = meta.modified().ok()? + MAX_AGE >= SystemTime::now();
    let mut text = String::new();
    (meta.is_file() && fresh).then(|| file.take(MAX_SIZE).read_to_string(&mut text))?.ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_state_of_this_directory_counts() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let losses = r#"{"nic":0,"kernel":4,"queue":0,"write":0,"analysis":null}"#;
        let state =
            |data: &Path| format!(r#"{{"data_dir":{data:?},"recording":{{"index":7,"losses":{losses}}}}}"#);
        let write = |name, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("state.json", "{");
        write("state-eth9.json", &state(dir.path()));
        write("notes.json", &state(&data));
        assert_eq!(recording(dir.path(), &data), None);
        write("state-eth1.json", &state(&data.join("../data")));
        let losses = Losses { kernel: Some(4), analysis: None, ..Losses::NONE };
        let told = Recording { index: 7, losses, clock_synchronised: None };
        assert_eq!(recording(dir.path(), &data), Some(told));
        let old = SystemTime::now() - Duration::from_secs(12);
        File::open(dir.path().join("state-eth1.json")).unwrap().set_modified(old).unwrap();
        assert_eq!(recording(dir.path(), &data), None);
        assert_eq!(recording(&dir.path().join("none"), &data), None);
    }
}
