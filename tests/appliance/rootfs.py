"""A Debian arm64 root file system, kernel and initrd, made without running any ARM code.

apt resolves and fetches the packages from the machine's own mirrors (scripts/cross/apt); dpkg-deb unpacks them, and what their maintainer
scripts would have done that matters here is done below. A dpkg database says that they are installed, so that the guest's own dpkg
installs Tapkeep's package for real. Who is not root gets the owners of the files by fakeroot.

The result is kept under a key of its inputs: `make` returns at once if it is there.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OVERLAY = Path(__file__).with_name("guest")
SCRIPTS = Path(__file__).parents[2] / "scripts"
# As the image for boards has it.
SYSTEM_CONF = Path(__file__).parents[2] / "yocto/meta-tapkeep/recipes-tapkeep/tapkeep-appliance/files/system.conf"
PACKAGES = """usr-is-merged base-files base-passwd bash coreutils dash dbus debianutils diffutils dmsetup dosfstools dpkg e2fsprogs ethtool
f2fs-tools findutils grep gzip hostname init-system-helpers iproute2 kmod libc-bin login mawk mount ncurses-base openssh-client openssh-server
passwd perl-base procps sed systemd systemd-sysv tar udev util-linux""".split()
INITRD_MODULES = "virtio_mmio virtio_blk ext4 i6300esb".split()
MODULES = INITRD_MODULES + "virtio_net virtio_console virtio-rng 9p 9pnet_virtio f2fs vfat nls_cp437 nls_ascii dm-mod dm-flakey rtc-pl031 autofs4".split()
# They cost half of the boot under emulation, and nothing here needs them.
MASKED = """e2scrub_all.timer e2scrub_reap.service fstrim.timer dpkg-db-backup.timer getty@tty1.service serial-getty@ttyAMA0.service
systemd-firstboot.service systemd-logind.service systemd-pstore.service systemd-timesyncd.service systemd-update-utmp.service
modprobe@configfs.service modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service dev-hugepages.mount
sys-kernel-debug.mount sys-kernel-tracing.mount""".split()
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
mode=rw
for word in $(/bin/busybox cat /proc/cmdline); do case $word in ro) mode=ro ;; esac; done
while read -r module; do /bin/busybox insmod "/modules/$module"; done </modules/order
tries=0
until [ -b /dev/vda ] || [ $tries = 100 ]; do /bin/busybox sleep 0.1; tries=$((tries + 1)); done
/bin/busybox mount -t ext4 -o $mode /dev/vda /root || /bin/busybox poweroff -f
/bin/busybox umount /proc
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, text=True, **options)


def output(*command, **options) -> str:
    return run(*command, stdout=subprocess.PIPE, **options).stdout


class Apt:
    """apt for arm64 beside the system's own: its mirrors, none of its state."""

    def __init__(self, home: Path):
        self.home, self.archives = home, home / "arm64/cache/archives"
        self.ask("apt-get", "-q", "update")

    def ask(self, *command, **options) -> str:
        return output(SCRIPTS / "cross/apt", self.home.resolve(), "arm64", *command, **options)

    def fetch(self, packages: list[str]) -> list[Path]:
        """Downloads these and all they depend on."""
        self.ask("apt-get", "-y", "--download-only", "install", *packages)
        return sorted(self.archives.glob("*.deb"))

    def fetch_one(self, package: str) -> Path:
        self.ask("apt-get", "download", package, cwd=self.archives)
        return next(self.archives.glob(f"{package}_*.deb"))

    def dependency(self, package: str, pattern: str) -> str:
        return re.search(f"Depends: ({pattern})", self.ask("apt-cache", "depends", package))[1]


def make(cache: Path) -> Path:
    """The folder that holds root.ext4, Image and initrd, made if it is not there."""
    inputs = [Path(__file__), SYSTEM_CONF, *sorted(path for path in OVERLAY.rglob("*") if path.is_file())]
    key = hashlib.sha256(Path("/etc/os-release").read_bytes())
    for path in inputs:
        key.update(path.read_bytes())
    home = cache / f"root-{key.hexdigest()[:12]}"
    if not (home / "done").exists():
        for old in cache.glob("root-*"):
            shutil.rmtree(old)
        if os.geteuid() == 0:
            build(home)
        else:
            run("fakeroot", sys.executable, __file__, home)
        (home / "done").write_text("")
    return home


def build(home: Path):
    apt, tree, kernel = Apt(home / "apt"), home / "tree", home / "kernel"
    packages = apt.fetch(PACKAGES)
    unpack(packages, tree)
    busybox = apt.fetch_one("busybox-static")
    image = apt.fetch_one(apt.dependency("linux-image-arm64", r"linux-image-\S+"))
    for package in (busybox, image):
        run("dpkg-deb", "-x", package, kernel)
    version = next((kernel / "lib/modules").iterdir()).name
    run("depmod", "-b", kernel, version)
    shutil.copy(kernel / f"boot/vmlinuz-{version}", home / "Image")
    make_initrd(kernel, version, home)
    for module in load_order(kernel, version, MODULES):
        copy(module, tree / module.relative_to(kernel))
    for listing in (kernel / "lib/modules" / version).glob("modules.*"):
        copy(listing, tree / listing.relative_to(kernel))
    run("depmod", "-b", tree, version)
    finish(tree)
    run("truncate", "-s", "1G", home / "root.ext4")
    run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", tree, home / "root.ext4")
    for folder in (apt.home, tree, kernel, home / "initrd.d"):
        shutil.rmtree(folder)


def copy(source: Path, target: Path):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def unpack(packages: list[Path], tree: Path):
    for folder in ("bin", "sbin", "lib"):
        (tree / "usr" / folder).mkdir(parents=True)
        (tree / folder).symlink_to(f"usr/{folder}")
    info = tree / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "format").write_text("1\n")
    status = []
    for package in packages:
        control = output("dpkg-deb", "-f", package)
        names = output("bash", "-c", 'dpkg-deb --fsys-tarfile "$1" | tar -C "$2" -xv --keep-directory-symlink --numeric-owner', "-", package, tree)
        field = dict(re.findall(r"^(Package|Multi-Arch): (.*)$", control, re.M))
        list_name = field["Package"] + (":arm64" if field.get("Multi-Arch") == "same" else "")
        (info / f"{list_name}.list").write_text("".join(f"{name[1:].rstrip('/') or '/.'}\n" for name in names.splitlines()))
        status.append(control.rstrip("\n") + "\nStatus: install ok installed\n")
    (tree / "var/lib/dpkg/status").write_text("\n".join(status))


def load_order(kernel: Path, version: str, modules: list[str]) -> list[Path]:
    """Their files and those of what they depend on, in the order in which they load; what is built in has none."""
    lines = output("modprobe", "-d", kernel, "-S", version, "--show-depends", "-a", *modules).splitlines()
    return list(dict.fromkeys(Path(line.split()[1]) for line in lines if line.startswith("insmod ")))


def make_initrd(kernel: Path, version: str, home: Path):
    tree = home / "initrd.d"
    for folder in ("bin", "dev", "proc", "root", "modules"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(kernel / "bin/busybox", tree / "bin")
    modules = load_order(kernel, version, INITRD_MODULES)
    for module in modules:
        shutil.copy(module, tree / "modules")
    (tree / "modules/order").write_text("".join(f"{module.name}\n" for module in modules))
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    run("bash", "-c", 'find . | cpio -o -H newc --quiet -R 0:0 | gzip -1 >"$1"', "-", home.resolve() / "initrd", cwd=tree)


def finish(tree: Path):
    """What the maintainer scripts would have done, and what makes it this guest."""
    etc = tree / "etc"
    for name in ("passwd", "group"):
        shutil.copy(tree / f"usr/share/base-passwd/{name}.master", etc / name)
    users = [line.split(":")[0] for line in (etc / "passwd").read_text().splitlines()]
    (etc / "shadow").write_text("".join(f"{user}:*:19000:0:99999:7:::\n" for user in users))
    (etc / "shadow").chmod(0o640)
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
    (tree / "usr/bin/awk").symlink_to("mawk")
    shutil.copytree(OVERLAY, tree, dirs_exist_ok=True, symlinks=True)
    copy(SYSTEM_CONF, etc / "systemd/system.conf.d/appliance.conf")
    units = etc / "systemd/system"
    for unit in MASKED:
        (units / unit).symlink_to("/dev/null")
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    for unit in units.glob("appliance-*.service"):
        (wants / unit.name).symlink_to(f"/etc/systemd/system/{unit.name}")
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    (etc / "machine-id").write_text(hashlib.md5(b"appliance").hexdigest() + "\n")
    run("systemd-sysusers", f"--root={tree}")
    # pam-auth-update makes these four.
    for kind in ("account", "auth", "password", "session"):
        (etc / f"pam.d/common-{kind}").write_text(f"{kind} required pam_permit.so\n")
    (etc / "mtab").symlink_to("../proc/self/mounts")
    for stamp in (etc / ".updated", tree / "var/.updated"):
        stamp.write_text("")
    for folder in ("host", "srv", "var/log/journal"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("man", "doc", "locale", "info"):
        shutil.rmtree(tree / "usr/share" / folder, ignore_errors=True)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
