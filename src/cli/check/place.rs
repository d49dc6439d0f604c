//! The data directory: that it is there, whose it is, what it lies on, and what a crash left in it.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;

use super::line::Line;
use super::{Who, as_root};
use crate::cli::table::{bytes, counted};
use crate::config::DataDir;
use crate::store::layout::Layout;
use crate::store::names::{CaptureName, Role};
use crate::sys::fs::{Entry, Fs as _, RealFs};
use crate::sys::mount::Mount;

/// File systems that keep what was synced, and whose it is, through a power cut.
const SOUND: [&str; 8] = ["ext4", "ext3", "f2fs", "xfs", "btrfs", "zfs", "bcachefs", "ubifs"];

/// Those that know no owner and no journal.
const SIMPLE: [&str; 7] = ["vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "hfsplus"];

/// Those of another machine.
const REMOTE: [&str; 13] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "ceph",
    "afs",
    "glusterfs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.ceph",
    "virtiofs",
];

/// Those that are gone after a reboot.
const MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

const ELSEWHERE: &str = "set data_dir to a directory on ext4, f2fs, xfs or btrfs";

/// That the directory is there, and the service's user may write it and nobody else read it.
pub(super) fn directory(place: &DataDir, service: &Who, caller: &Who) -> Line {
    const ID: &str = "data_directory";
    let dir = &place.path;
    let meta = match dir.metadata() {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => return Line::problem(ID, format!("{place} is no directory")).advise("set data_dir to one"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return missing(ID, place, service),
        Err(error) => return Line::unknown(ID, format_args!("{place}: {error}")),
    };
    let line = owned(ID, place, &meta, service);
    let writes = caller.uid == service.uid || caller.is_root();
    match tempfile::tempfile_in(dir).err().filter(|_| writes) {
        Some(error) if line.mend.is_empty() => {
            Line::problem(ID, format!("{place} cannot be written: {error}"))
                .advise("set data_dir to one that can")
        }
        _ => line,
    }
}

fn missing(id: &'static str, place: &DataDir, service: &Who) -> Line {
    let dir = place.path.display();
    let text = format!("{place} is not there; the service makes it, if it may write the directory above");
    let who = &service.name;
    Line::warning(id, text).mend(as_root(&format!("install -d -o {who} -g {who} -m 0750 {dir}")))
}

fn owned(id: &'static str, place: &DataDir, meta: &Metadata, service: &Who) -> Line {
    let (mode, owner) = (meta.permissions().mode() & 0o7777, Who::of(meta.uid()));
    let dir = place.path.display();
    if owner.uid != service.uid && !service.is_root() {
        let (owner, who) = (&owner.name, &service.name);
        let text = format!("{place} belongs to {owner}, and the service runs as {who}");
        return Line::problem(id, text).mend(as_root(&format!("chown -R {who}:{who} {dir}")));
    }
    let right_mode = as_root(&format!("chmod 0750 {dir}"));
    let text = format!("{place}, of {}, mode {mode:04o}", owner.name);
    match () {
        () if mode & 0o700 != 0o700 => {
            Line::problem(id, format!("{text}: its owner cannot write it")).mend(right_mode)
        }
        () if mode & 0o022 != 0 => {
            Line::warning(id, format!("{text}: others than its owner may change what is recorded"))
                .mend(right_mode)
        }
        () if mode & 0o007 != 0 => {
            Line::warning(id, format!("{text}: anybody on this machine may look into it")).mend(right_mode)
        }
        () => Line::ok(id, text),
    }
}

/// What it lies on.
pub(super) fn file_system(mount: io::Result<Option<Mount>>) -> Line {
    const ID: &str = "file_system";
    let Mount { kind, point, read_only } = match mount {
        Ok(Some(mount)) => mount,
        Ok(None) => return Line::unknown(ID, "the kernel does not name it"),
        Err(error) => return Line::unknown(ID, error),
    };
    let at = format!("{kind} on {point}");
    let is = |kinds: &[&str]| kinds.contains(&kind.as_str());
    match () {
        () if read_only => Line::problem(ID, format!("{at}, read only"))
            .mend(as_root(&format!("mount -o remount,rw {point}"))),
        () if is(&SOUND) => Line::ok(ID, at),
        () if is(&SIMPLE) => {
            let text = format!("{at}: knows no owners, and a power cut can cost files that were synced");
            Line::warning(ID, text).advise(ELSEWHERE)
        }
        () if is(&REMOTE) => {
            let text = format!("{at}: on another machine; when that is slow or away, packets are lost");
            Line::warning(ID, text).advise(ELSEWHERE)
        }
        () if is(&MEMORY) => {
            Line::warning(ID, format!("{at}: memory; all is gone after a reboot")).advise(ELSEWHERE)
        }
        () if kind == "overlay" => Line::ok(
            ID,
            format!("{at}: a container's own layer, gone with it unless a volume is mounted there"),
        ),
        () => Line::unknown(ID, format_args!("{at} is none that is known to keep what was synced")),
    }
}

/// What a crash left. `running` is whether a service records into the directory, `booted` whether systemd runs this machine.
pub(super) fn leftovers(dir: &Path, running: bool, booted: bool) -> Line {
    const ID: &str = "leftovers";
    let listing = match RealFs::default().read_dir(&Layout::new(dir).captures()) {
        Ok(listing) => listing,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Line::ok(ID, "none; nothing was recorded yet");
        }
        Err(error) => return Line::unknown(ID, error),
    };
    let parts: Vec<_> = listing.iter().filter(|file| is_part(file)).collect();
    // Of a running service the last one is the growing file.
    match parts.len().saturating_sub(usize::from(running)) {
        0 => Line::ok(ID, "none"),
        left if running => {
            Line::ok(ID, format!("{}, which the service salvages", counted(left as u64, "file")))
        }
        left => {
            let size = bytes(parts.iter().map(|file| file.size).sum());
            let text = format!(
                "{} of {size} that a crash left; salvaged at the next start",
                counted(left as u64, "file")
            );
            let line = Line::warning(ID, text);
            match booted {
                true => line.mend(as_root("systemctl start tapkeep")),
                false => line.advise("start the service again, as it was started before"),
            }
        }
    }
}

fn is_part(file: &Entry) -> bool {
    CaptureName::parse(&file.name).is_some_and(|(_, role)| role == Role::Part)
}

#[cfg(test)]
mod tests {
    use super::super::line::Verdict::{self, Ok as Good, Problem, Unknown, Warning};
    use super::*;
    use crate::config::data_dir::Why;

    #[test]
    fn file_systems_are_told_apart() {
        let of = |kind: &str, read_only| {
            file_system(Ok(Some(Mount { kind: kind.to_owned(), point: "/data".to_owned(), read_only })))
                .result
        };
        for (kind, verdict) in [
            ("ext4", Good),
            ("f2fs", Good),
            ("overlay", Good),
            ("vfat", Warning),
            ("exfat", Warning),
            ("nfs4", Warning),
            ("fuse.sshfs", Warning),
            ("tmpfs", Warning),
            ("squirrelfs", Unknown),
        ] {
            assert_eq!(of(kind, false), verdict, "{kind}");
        }
        assert_eq!(of("ext4", true), Problem);
        assert_eq!(
            [file_system(Ok(None)), file_system(Err(io::ErrorKind::NotFound.into()))].map(|l| l.result),
            [Unknown; 2]
        );
    }

    #[test]
    fn an_owner_a_mode_and_a_place_are_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let place = |path: &Path| DataDir { path: path.to_owned(), why: Why::Usual };
        let caller = Who::caller();
        let with = |mode: u32, service: &Who| {
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
            directory(&place(dir.path()), service, &caller)
        };
        let results = [0o750, 0o770, 0o755, 0o500].map(|mode| with(mode, &caller).result);
        assert_eq!(results, [Good, Warning, Warning, Problem]);
        let other = Who { uid: caller.uid + 54_321, name: "tapkeep".to_owned() };
        let line = with(0o750, &other);
        assert_eq!(line.result, Problem);
        assert_eq!(line.mend, [as_root(&format!("chown -R tapkeep:tapkeep {}", dir.path().display()))]);
        let absent = directory(&place(&dir.path().join("none")), &other, &caller);
        assert_eq!(absent.result, Warning);
        assert!(absent.mend[0].contains("install -d -o tapkeep -g tapkeep -m 0750 /"), "{absent:?}");
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(directory(&place(&dir.path().join("file")), &caller, &caller).result, Problem);
        let beyond = directory(&place(&dir.path().join("file/none")), &caller, &caller);
        assert_eq!(beyond.result, Unknown);
    }

    #[test]
    fn what_a_crash_left_is_told_unless_a_service_sees_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let of = |running| leftovers(dir.path(), running, true).result;
        assert_eq!(of(false), Good);
        std::fs::create_dir(dir.path().join("pcaps")).unwrap();
        let put = |name: &str| std::fs::write(dir.path().join("pcaps").join(name), "x").unwrap();
        put("capture_20241231_143052_0001.pcap");
        put("notes.part");
        assert_eq!([of(false), of(true)], [Good, Good]);
        put("capture_20241231_143052_0002.pcap.part");
        assert_eq!([of(false), of(true)], [Warning, Good]);
        put("capture_20241231_143052_0003.pcap.part");
        let [here, elsewhere] = [true, false].map(|booted| leftovers(dir.path(), false, booted));
        assert_eq!(here.text, "2 files of 2 B that a crash left; salvaged at the next start");
        assert_eq!((&here.mend[..], here.advice.len()), (&[as_root("systemctl start tapkeep")][..], 0));
        assert_eq!((elsewhere.mend.len(), elsewhere.advice.len()), (0, 1), "no systemd, no systemctl");
        assert!(leftovers(dir.path(), true, true).text.contains("1 file, which the service salvages"));
        let _: Verdict = of(true);
        std::fs::remove_dir_all(dir.path().join("pcaps")).unwrap();
        std::fs::write(dir.path().join("pcaps"), "").unwrap();
        assert_eq!(of(false), Unknown);
    }
}
