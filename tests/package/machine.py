"""Debian systems to install a package into: a bare root to change into, and one that systemd-nspawn boots.

Roots are made by mmdebstrap from the machine's own package sources, once, and kept as archives. Whoever uses this runs in a
network namespace of its own: the tap port's wire must not lie among the machine's own interfaces.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

PATIENCE = 60.0  # seconds; whatever takes longer on a busy machine hangs
WIRE, TAP = "wire0", "tap0"  # the far end of the tap port's cable, and the port in the machine
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """A check that did not hold."""


def sources() -> list[str]:
    """The files that tell the machine's apt where packages come from."""
    places = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    return [str(path) for path in places if path.suffix in (".list", ".sources") and path.exists()]


def codename() -> str:
    told = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return told["VERSION_CODENAME"]


def make_root(archive: Path, packages: list[str]) -> None:
    """A minimal root of the machine's own release with these packages, as an archive; nothing is done if it is there."""
    if archive.exists():
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    new = archive.with_suffix(".new.tar")
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(packages)}"]
    command += ["--aptopt=APT::Install-Recommends false", "--dpkgopt=path-exclude=/usr/share/locale/*"]
    subprocess.run([*command, codename(), str(new), *sources()], check=True)
    new.rename(archive)


class Root:
    """A root unpacked into a folder of its own; commands run in it by chroot, with /proc as image builders give it."""

    def __init__(self, archive: Path, folder: Path):
        self.path = folder
        folder.mkdir(parents=True)
        subprocess.run(["tar", "-C", folder, "--numeric-owner", "--xattrs", "-xf", archive], check=True)

    def enter(self) -> list[str]:
        inside = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        return ["unshare", "--mount", "sh", "-c", inside, str(self.path)]

    def run(self, *command: str, ok: bool = True, env: dict[str, str] | None = None) -> str:
        """What a command says; an error if it fails while it should not."""
        base = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run([*self.enter(), *command], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=PATIENCE, env=base | (env or {}))
        if ok and done.returncode:
            raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def put(self, file: Path) -> str:
        """Copies a file into the root; its name there."""
        (self.path / "root" / file.name).write_bytes(file.read_bytes())
        return f"/root/{file.name}"

    def files(self) -> set[str]:
        """Every path, but for what any installation leaves: logs, caches, dpkg's and systemd's own records."""
        own = ("root/", "var/log/", "var/cache/", "var/lib/dpkg/", "var/lib/systemd/", "run/", "proc/", "sys/", "dev/")
        paths = {str(path.relative_to(self.path)) for path in self.path.rglob("*")}
        # The users' files and their backups stay: a user is not removed, so that its number is not given away.
        users = {"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-"}
        return {path for path in paths if not path.startswith(own) and path not in users and not path.startswith("etc/.pwd")}


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Machine(Root):
    """A root that runs its own systemd, with one tap port whose cable ends in this namespace."""

    def __init__(self, archive: Path, folder: Path):
        super().__init__(archive, folder)
        self.log = open(folder.with_suffix(".log"), "wb")
        command = ["systemd-nspawn", "--quiet", f"--directory={folder}", "--register=no", "--keep-unit", "--console=pipe",
                   "--private-network", f"--network-veth-extra={WIRE}:{TAP}", "--boot"]
        self.nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                       preexec_fn=die_with_parent)
        self.init = 0
        self.until(self.is_up, "the machine's systemd to be up")
        for command in (["sysctl", "-qw", f"net.ipv6.conf.{TAP}.disable_ipv6=1"], ["ip", "link", "set", TAP, "up"]):
            subprocess.run(["nsenter", f"--target={self.init}", "--net", *command], check=True)
        subprocess.run(["ip", "link", "set", WIRE, "up"], check=True)

    def enter(self) -> list[str]:
        return ["nsenter", f"--target={self.init}", "--all"]

    def is_up(self) -> bool:
        if self.nspawn.poll() is not None:
            raise Failed(f"systemd-nspawn ended with {self.nspawn.returncode}; its log: {self.log.name}")
        self.init = self.init or self.find_init()
        return bool(self.init) and self.run("systemctl", "is-system-running", ok=False).strip() in ("running", "degraded")

    def find_init(self) -> int:
        waiting = [self.nspawn.pid]
        for pid in waiting:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                    return pid
                waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return 0

    def until(self, holds, what: str):
        """Waits until something holds; its value."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if value := holds():
                return value
            time.sleep(0.2)
        raise Failed(f"waited {PATIENCE:.0f} s for {what}")

    def show(self, unit: str, what: str) -> str:
        return self.run("systemctl", "show", unit, "--property", what, "--value").strip()

    def send(self, count: int, payload: bytes = b"\x88\xb5" + bytes(range(86))) -> None:
        """Puts frames on the tap port's wire, of an experimental EtherType unless told otherwise."""
        frame = b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + payload
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind((WIRE, 0))
            for _ in range(count):
                wire.send(frame)

    def off(self) -> None:
        if self.init and self.nspawn.poll() is None:
            self.run("systemctl", "poweroff", ok=False)
        try:
            self.nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()
        self.log.close()
