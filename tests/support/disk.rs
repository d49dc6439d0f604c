//! A small real disk: an ext4 image mounted over a loop device, which can be filled and can lose power.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{must, run, wait_until};

/// What the fixture needs, for [`super::require`].
pub const NEEDS: [&str; 6] = ["root", "loop", "mkfs.ext4", "e2fsck", "python3", "fallocate"];

/// EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: nothing that is not on the device gets there any more.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))";

/// A mounted image; unmounted and gone when dropped.
pub struct Disk {
    mount: PathBuf,
    image: PathBuf,
    dir: Option<tempfile::TempDir>,
}

impl Disk {
    /// Makes and mounts a file system of `bytes` (8 MiB or more), all of it for anyone to use.
    pub fn new(bytes: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("tapkeep-disk-").tempdir().unwrap();
        let disk =
            Self { mount: dir.path().join("shared/mount"), image: dir.path().join("image"), dir: Some(dir) };
        std::fs::File::create(&disk.image).unwrap().set_len(bytes).unwrap();
        // Everything is laid out now, so that nothing writes behind a test's back.
        let now = "lazy_itable_init=0,lazy_journal_init=0";
        must("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", now, text(&disk.image)]);
        // `ip netns exec` copies all mounts; below a shared mount the copies go when the original does, else they would
        // keep the file system alive across what is meant as a power cut.
        let shared = disk.mount.parent().unwrap();
        std::fs::create_dir_all(shared).unwrap();
        must("mount", &["--bind", text(shared), text(shared)]);
        must("mount", &["--make-shared", text(shared)]);
        std::fs::create_dir(&disk.mount).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(disk.image.parent().unwrap(), open).unwrap();
        disk.attach();
        disk
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Bytes that anyone may still write.
    pub fn free(&self) -> u64 {
        let vfs = rustix::fs::statvfs(&self.mount).unwrap();
        vfs.f_bavail * vfs.f_frsize
    }

    /// Another process fills the disk until about `left` bytes are free; 0 is until nothing more can be written.
    pub fn fill_to(&self, left: u64) {
        let take = self.free().saturating_sub(left);
        if take > 0 {
            let name = (0..).map(|n| self.filler(n)).find(|name| !name.exists()).unwrap();
            // Others may be faster, or need some of it to describe the rest: then it is as full as can be.
            run(Command::new("fallocate").args(["--length", &take.to_string(), text(&name)]));
            if left == 0 {
                run(Command::new("dd")
                    .args(["if=/dev/zero", "bs=4096", "conv=notrunc", "oflag=append", "status=none"])
                    .arg(format!("of={}", text(&name))));
            }
        }
    }

    /// Another process frees what [`Self::fill_to`] took.
    pub fn unfill(&self) {
        let fillers: Vec<PathBuf> = (0..).map(|n| self.filler(n)).take_while(|name| name.exists()).collect();
        for name in fillers {
            must("rm", &[text(&name)]);
        }
    }

    fn filler(&self, n: u32) -> PathBuf {
        self.mount.join(format!("filler.{n}"))
    }

    /// Cuts the power: every write from now on fails and what was not synced is lost. Processes that have files open there
    /// must end before [`Self::restore`].
    pub fn shutdown(&self) {
        must("python3", &["-c", SHUTDOWN, text(&self.mount)]);
    }

    /// Mounts it again, as after a reboot; the journal is replayed.
    pub fn restore(&self) {
        self.detach();
        self.attach();
    }

    /// Unmounts, checks that the file system is sound once its journal is replayed, and mounts again.
    pub fn check(&self) {
        self.detach();
        let answer = run(Command::new("e2fsck").args(["-f", "-y"]).arg(&self.image));
        assert!(matches!(answer.code, Some(0 | 1)), "{}{}", answer.text(), answer.stderr);
        self.attach();
    }

    fn attach(&self) {
        must("mount", &["-o", "loop", text(&self.image), text(&self.mount)]);
    }

    fn detach(&self) {
        wait_until("the disk to be unmounted", || {
            run(Command::new("umount").arg(&self.mount)).code == Some(0)
        });
        wait_until("the loop device to go", || must("losetup", &["-j", text(&self.image)]).text().is_empty());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").args(["--lazy", text(&self.mount)]));
        let _ = run(Command::new("umount").args(["--lazy", text(self.mount.parent().unwrap())]));
        if let Some(dir) = self.dir.take() {
            let _ = dir.close();
        }
    }
}

/// Another kind of file system, mounted in a folder of its own; unmounted and gone when dropped.
pub struct Mounted {
    dir: tempfile::TempDir,
}

impl Mounted {
    /// Mounts it; `options` come before the folder, as for `mount`, and may hold `DIR` for the one that contains the folder.
    pub fn new(options: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("tapkeep-mount-").tempdir().unwrap();
        for name in ["mount", "lower", "upper", "work"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let fill = |option: &&str| option.replace("DIR", text(dir.path()));
        let words: Vec<_> = options.iter().map(fill).chain([fill(&"DIR/mount")]).collect();
        must("mount", &words.iter().map(String::as_str).collect::<Vec<_>>());
        Self { dir }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mount")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").args(["--lazy", text(&self.path())]));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
