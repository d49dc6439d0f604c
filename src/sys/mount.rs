//! Which file system a directory lies on, as the kernel tells.

use std::fs::{File, read_to_string};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its type, as `mount -t` takes it.
    pub kind: String,
    /// Where it is mounted.
    pub point: String,
    /// Whether it may be read only.
    pub read_only: bool,
}

/// The file system that holds the directory; `None` if the kernel names none.
pub fn of(dir: &Path) -> io::Result<Option<Mount>> {
    let open = File::open(dir)?;
    let info = read_to_string(format!("/proc/self/fdinfo/{}", open.as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim);
    let mounts = read_to_string("/proc/self/mountinfo")?;
    Ok(id.and_then(|id| mounts.lines().find_map(|line| parse(line, id))))
}

/// A line of `mountinfo` (proc(5)), if it is of the mount with that id.
fn parse(line: &str, id: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ');
    (mount.next()? == id).then_some(())?;
    let point = mount.nth(3)?;
    let mut file_system = file_system.split(' ');
    let (kind, options) = (file_system.next()?, [mount.next()?, file_system.nth(1)?]);
    let read_only = options.iter().any(|options| options.split(',').any(|option| option == "ro"));
    Some(Mount { kind: kind.to_owned(), point: point.replace("\\040", " "), read_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_known_by_its_id() {
        let line = r"36 35 98:0 /root /media/my\040card rw,noatime master:1 shared:2 - vfat /dev/sda1 rw,errors=remount-ro";
        let mount = Mount { kind: "vfat".into(), point: "/media/my card".into(), read_only: false };
        assert_eq!((parse(line, "36"), parse(line, "3")), (Some(mount.clone()), None));
        for read_only in [line.replacen("rw,", "ro,", 1), line.replace(" rw,errors", " ro,errors")] {
            assert_eq!(parse(&read_only, "36"), Some(Mount { read_only: true, ..mount.clone() }));
        }
        assert_eq!(parse("36 35 98:0 /", "36"), None);
    }

    #[test]
    fn proc_is_told_from_the_root() {
        let kind = |path: &str| of(Path::new(path)).unwrap().unwrap().kind;
        assert_eq!(kind("/proc"), "proc");
        assert_ne!(kind("/"), "proc");
        assert!(of(Path::new("/no/such/place")).is_err());
    }
}
