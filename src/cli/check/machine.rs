//! The machine around the service: its clock, the watchdog that starts it again, and the journal beside the captures.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::io;
use std::path::{Path, PathBuf};

use super::line::Line;
use super::{as_root, systemd};
use crate::sys::clock;

/// Whether captures get the right times.
fn clock(synchronised: Option<bool>, container: Option<&str>, booted: bool) -> Line {
    const ID: &str = "clock";
    match synchronised {
        Some(true) => Line::ok(ID, "synchronised"),
        None => Line::unknown(ID, "the kernel does not say whether it is synchronised"),
        Some(false) => {
            let text = "not synchronised: packets get the times of a clock that may be wrong, and lists mark them with ~";
            let line = Line::warning(ID, text);
            match container {
                Some(_) => line.advise("synchronise the clock of the container's host"),
                None if booted => line.mend(as_root("timedatectl set-ntp true")),
                None => line.advise("run something that sets it from the network, such as chrony"),
            }
        }
    }
}

/// All of it.
pub(super) fn lines() -> Vec<Line> {
    let (container, booted) = (systemd::container(), systemd::is_booted());
    let watchdog = Watchdog::of(Path::new("/"), booted.then(runtime_watchdog));
    vec![
        clock(clock::synchronised(), container.as_deref(), booted),
        watchdog.line(container.as_deref()),
        journal(Path::new("/"), booted),
    ]
}

fn runtime_watchdog() -> io::Result<String> {
    const PROPERTY: &str = "RuntimeWatchdogUSec";
    let found = systemd::show(None, &[PROPERTY])?.remove(PROPERTY);
    found.ok_or_else(|| io::Error::other("this systemd does not tell of its watchdog"))
}

/// The hardware watchdog, as far as it can be seen.
struct Watchdog {
    /// Its name, if there is one.
    name: Option<String>,
    /// Whether somebody has it open; unknown where the driver does not tell.
    is_open: Option<bool>,
    /// After which time systemd has it fire; none without systemd.
    systemd: Option<io::Result<String>>,
}

impl Watchdog {
    fn of(root: &Path, systemd: Option<io::Result<String>>) -> Self {
        let class = root.join("sys/class/watchdog");
        let mut names: Vec<_> = std::fs::read_dir(&class).into_iter().flatten().flatten().collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        let device = names.first().map(std::fs::DirEntry::path);
        let attribute =
            |what| read_to_string(device.as_ref()?.join(what)).ok().map(|text| text.trim().to_owned());
        let plain = || root.join("dev/watchdog").exists().then(|| "/dev/watchdog".to_owned());
        let unnamed = || device.as_ref().map(|device: &PathBuf| device.display().to_string());
        Self {
            name: attribute("identity").filter(|name| !name.is_empty()).or_else(unnamed).or_else(plain),
            is_open: attribute("state").map(|state| state == "active"),
            systemd,
        }
    }

    fn line(self, container: Option<&str>) -> Line {
        const ID: &str = "watchdog";
        if let Some(kind) = container {
            return Line::skipped(ID, format!("this is a container ({kind}): its host has one, or not"));
        }
        let Some(name) = self.name else {
            let text = "no hardware watchdog: a machine that hangs stays so until somebody comes";
            return Line::warning(ID, text).advise("load the driver of the board's, such as bcm2835_wdt");
        };
        match (self.systemd, self.is_open) {
            (Some(Ok(after)), _) if !matches!(&*after, "0" | "infinity") => {
                Line::ok(ID, format!("{name}, fed by systemd; fires after {after}"))
            }
            (_, Some(true)) => Line::ok(ID, format!("{name}, in use")),
            (Some(Ok(_)), _) => Line::warning(ID, format!("{name} is there, and systemd does not use it"))
                .advise("set RuntimeWatchdogSec=15 in /etc/systemd/system.conf, under [Manager]")
                .mend(as_root("systemctl daemon-reexec")),
            (Some(Err(error)), _) => Line::unknown(ID, format_args!("{name} is there; {error}")),
            (None, Some(false)) => Line::warning(ID, format!("{name} is there, and nothing uses it"))
                .advise("run a watchdog daemon"),
            (None, None) => Line::unknown(ID, format_args!("{name} is there; who uses it, it does not say")),
        }
    }
}

/// Whether the journal stays small beside the captures.
fn journal(root: &Path, booted: bool) -> Line {
    const ID: &str = "journal";
    if !booted {
        return Line::skipped(ID, "no systemd here, and no journal of its");
    }
    let settings = journal_settings(root);
    let is = |key: &str| settings.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let persistent = match is("Storage") {
        Some("none") => return Line::ok(ID, "Storage=none: messages are not kept"),
        Some("volatile") => false,
        Some("persistent") => true,
        _ => root.join("var/log/journal").is_dir(),
    };
    let (key, where_to) = match persistent {
        true => ("SystemMaxUse", "on disk"),
        false => ("RuntimeMaxUse", "in memory"),
    };
    match is(key) {
        Some(bound) => Line::ok(ID, format!("{where_to}, at most {bound} ({key})")),
        None => {
            let text = format!(
                "{where_to}, unbounded but for systemd's default: a tenth of its file system, 4 GB at most"
            );
            Line::warning(ID, text)
                .advise(format!("set {key}=32M in /etc/systemd/journald.conf, under [Journal]"))
                .mend(as_root("systemctl restart systemd-journald"))
        }
    }
}

/// The settings in force: of files with one name the first folder's counts, of settings the last file's (journald.conf(5)).
fn journal_settings(root: &Path) -> BTreeMap<String, String> {
    const FOLDERS: [&str; 4] = ["etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd"];
    let mut files: BTreeMap<_, PathBuf> = BTreeMap::new();
    for folder in FOLDERS.map(|folder| root.join(folder)) {
        let entries = std::fs::read_dir(folder.join("journald.conf.d")).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| path.extension() == Some("conf".as_ref()))
        {
            files.entry(path.file_name().map(ToOwned::to_owned)).or_insert(path);
        }
    }
    let main =
        FOLDERS.map(|folder| root.join(folder).join("journald.conf")).into_iter().find(|path| path.is_file());
    let texts = main.into_iter().chain(files.into_values()).filter_map(|path| read_to_string(path).ok());
    texts.flat_map(|text| text.lines().filter_map(setting).collect::<Vec<_>>()).collect()
}

fn setting(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once('=')?;
    let is_comment = line.trim_start().starts_with(['#', ';']);
    (!is_comment).then(|| (key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::line::Verdict::{Ok as Good, Skipped, Unknown, Warning};
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_clock_is_synchronised_or_not_or_does_not_say() {
        assert_eq!(
            [Some(true), Some(false), None].map(|is| clock(is, None, true).result),
            [Good, Warning, Unknown]
        );
        let [here, elsewhere] = [true, false].map(|booted| clock(Some(false), None, booted));
        assert_eq!(here.mend, [as_root("timedatectl set-ntp true")]);
        assert_eq!((elsewhere.mend.len(), elsewhere.advice.len()), (0, 1), "no systemd, no timedatectl");
    }

    #[test]
    fn a_watchdog_helps_when_somebody_feeds_it() {
        let dir = tempfile::tempdir().unwrap();
        let of = |systemd| Watchdog::of(dir.path(), systemd).line(None);
        let says = |value: &str| Some(Ok(value.to_owned()));
        assert_eq!([of(None), of(says("15s"))].map(|line| line.result), [Warning; 2], "there is none");
        let inside = Watchdog::of(dir.path(), None).line(Some("docker"));
        assert_eq!(inside.result, Skipped);
        write(dir.path(), "dev/watchdog", "");
        assert_eq!(of(None).result, Unknown);
        let line = of(says("15s"));
        assert_eq!((line.result, &*line.text), (Good, "/dev/watchdog, fed by systemd; fires after 15s"));
        write(dir.path(), "sys/class/watchdog/watchdog0/identity", "Broadcom BCM2835 Watchdog timer\n");
        write(dir.path(), "sys/class/watchdog/watchdog0/state", "inactive\n");
        let results = [of(None), of(says("0")), of(says("infinity"))].map(|line| line.result);
        assert_eq!(results, [Warning; 3]);
        assert_eq!(of(Some(Err(io::ErrorKind::TimedOut.into()))).result, Unknown);
        assert!(of(says("15s")).text.starts_with("Broadcom BCM2835 Watchdog timer, fed"));
        write(dir.path(), "sys/class/watchdog/watchdog0/state", "active\n");
        assert_eq!([of(None), of(says("0"))].map(|line| line.result), [Good; 2]);
    }

    #[test]
    fn a_journal_is_bounded_by_the_last_word_of_its_settings() {
        let dir = tempfile::tempdir().unwrap();
        let of = || journal(dir.path(), true);
        assert_eq!(journal(dir.path(), false).result, Skipped);
        assert_eq!(of().result, Warning);
        write(dir.path(), "etc/systemd/journald.conf", "[Journal]\n#SystemMaxUse=1G\nRuntimeMaxUse=8M\n");
        assert_eq!((of().result, &*of().text), (Good, "in memory, at most 8M (RuntimeMaxUse)"));
        std::fs::create_dir_all(dir.path().join("var/log/journal")).unwrap();
        assert_eq!(of().advice[0], "set SystemMaxUse=32M in /etc/systemd/journald.conf, under [Journal]");
        write(dir.path(), "usr/lib/systemd/journald.conf.d/10-b.conf", "[Journal]\nSystemMaxUse = 64M\n");
        write(dir.path(), "usr/lib/systemd/journald.conf.d/20-a.conf", "[Journal]\nSystemMaxUse=128M\n");
        assert_eq!(of().text, "on disk, at most 128M (SystemMaxUse)");
        write(dir.path(), "etc/systemd/journald.conf.d/20-a.conf", "[Journal]\nSystemMaxUse=32M\n");
        write(dir.path(), "etc/systemd/journald.conf.d/30.conf.bak", "SystemMaxUse=1M\n");
        assert_eq!(of().text, "on disk, at most 32M (SystemMaxUse)");
        write(dir.path(), "etc/systemd/journald.conf.d/40.conf", "Storage=none");
        assert_eq!(of().result, Good);
    }
}
