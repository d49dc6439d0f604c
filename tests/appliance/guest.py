"""The emulated board: qemu-system-aarch64 with two processors of a Raspberry Pi 4's kind, a gigabyte, a management port without a wire,
a tap port whose wire is a socket of ours, disks that are files, and a shared folder under /host.

A script runs in it by `sh`, its journal comes out line by line as it is written, and `cut` takes its power away: SIGKILL, by which the
guest's page cache is lost. The host keeps what the guest's disk had taken, so a flush that a device forgets is not what this shows.
"""

import base64
import ctypes
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
ROOT = "root=/dev/vda console=ttyAMA0 quiet loglevel=4 net.ifnames=0 systemd.show_status=0"
READ_ONLY = "ro systemd.volatile=state"
# The root file system is writable, and no other disk is in fstab.
WRITABLE = "rw fstab=no"


# A reset ends the emulator, which does not reboot.
WATCHDOG = ["-device", "i6300esb", "-action", "watchdog=reset"]


class GuestError(Exception):
    """What the guest did not do, with what it said."""


class Guest:
    def __init__(self, root: Path, work: Path, image: Path, *, disks=(), read_only=False, watchdog=False):
        self.work, self.numbers, self.journal = work, itertools.count(1), Journal()
        (work / "host").mkdir(parents=True, exist_ok=True)
        for name in ("agent", "journal", "monitor", "tap"):
            (work / name).unlink(missing_ok=True)
        wire = socket.socket(socket.AF_UNIX)
        wire.bind(str(work / "tap"))
        wire.listen(1)
        self.begun = time.monotonic()
        with open(work / "qemu.log", "w") as log:
            self.process = subprocess.Popen(
                self.command(root, image, disks, read_only) + WATCHDOG * watchdog, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=die_with_parent)
        wire.settimeout(30)
        self.wire = wire.accept()[0]
        self.agent, self.buffer = connect(work / "agent"), b""
        threading.Thread(target=self.journal.read, args=(connect(work / "journal"),), daemon=True).start()

    def command(self, root, image, disks, read_only):
        work = self.work
        command = ["qemu-system-aarch64", "-machine", "virt,gic-version=3", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024",
                   "-accel", "tcg,thread=multi", "-nodefaults", "-no-reboot", "-display", "none",
                   "-kernel", root / "Image", "-initrd", root / "initrd",
                   "-append", f"{ROOT} {READ_ONLY if read_only else WRITABLE}", "-serial", f"file:{work}/console",
                   "-object", "rng-random,filename=/dev/urandom,id=random", "-device", "virtio-rng-device,rng=random",
                   "-fsdev", f"local,id=host,path={work}/host,security_model=none", "-device", "virtio-9p-device,fsdev=host,mount_tag=host",
                   "-device", "virtio-serial-device"]
        for port in ("agent", "journal"):
            command += ["-chardev", f"socket,id={port},path={work}/{port},server=on,wait=off",
                        "-device", f"virtserialport,chardev={port},name={port}"]
        # The guest finds what comes last first: so that disks and ports have their names in order.
        for number, disk in reversed(list(enumerate([image, *disks]))):
            mode = "on" if read_only and number == 0 else "off"
            command += ["-drive", f"if=none,id=disk{number},file={disk},format=raw,cache=writeback,readonly={mode}",
                        "-device", f"virtio-blk-device,drive=disk{number}"]
        ports = {"management": "user,id=management,restrict=on", "tap": f"stream,id=tap,server=off,addr.type=unix,addr.path={work}/tap"}
        for number, (name, backend) in reversed(list(enumerate(ports.items(), 1))):
            command += ["-netdev", backend, "-device", f"virtio-net-device,netdev={name},mac=52:54:00:00:00:0{number}"]
        return [str(word) for word in command]

    def wait_ready(self, limit=600) -> float:
        """Until the agent answers; seconds since the power came on."""
        while not self.line(limit).startswith("ready "):
            pass
        took = time.monotonic() - self.begun
        self.sh("mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 host /host")
        return took

    def line(self, limit: float) -> str:
        end = time.monotonic() + limit
        while b"\n" not in self.buffer:
            if time.monotonic() > end:
                raise GuestError(f"silent for {limit:.0f} s; its console:\n{self.console()}")
            if select.select([self.agent], [], [], 1)[0]:
                more = self.agent.recv(65536)
                if not more and self.process.poll() is not None:
                    raise GuestError(f"the emulator ended: {(self.work / 'qemu.log').read_text()}\n{self.console()}")
                self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode(errors="replace").strip()

    def console(self) -> str:
        return (self.work / "console").read_text(errors="replace")[-2000:]

    def begin_sh(self, script: str) -> str:
        """Has a script begun that may never end: its number."""
        number = str(next(self.numbers))
        self.agent.sendall(f"{number} {base64.b64encode(script.encode()).decode()}\n".encode())
        return number

    def try_sh(self, script: str, limit=300) -> tuple[int, str]:
        """Runs a script as root: its status and all that it said."""
        number = self.begin_sh(script)
        while True:
            words = self.line(limit).split(" ")
            if words[0] == number:
                return int(words[1]), base64.b64decode("".join(words[2:])).decode(errors="replace").strip()

    def sh(self, script: str, limit=300) -> str:
        status, said = self.try_sh(script, limit)
        if status:
            raise GuestError(f"status {status} of: {script}\n{said}")
        return said

    def json(self, script: str):
        return json.loads(self.sh(script))

    def until(self, what: str, script: str, limit=120) -> str:
        """Until the script succeeds."""
        end = time.monotonic() + limit
        while True:
            status, said = self.try_sh(script)
            if status == 0:
                return said
            if time.monotonic() > end:
                raise GuestError(f"not within {limit} s: {what}\n{said}")
            time.sleep(0.3)

    def cut(self):
        """Takes the power away."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def wait_reset(self, limit: float):
        """Until the board has reset itself."""
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise GuestError(f"not reset within {limit:.0f} s; its console:\n{self.console()}") from None

    def off(self):
        """Shuts down in order."""
        try:
            self.try_sh("systemctl poweroff --no-block")
        except GuestError:
            pass  # gone before it could answer
        try:
            self.process.wait(180)
        except subprocess.TimeoutExpired:
            self.cut()
            raise GuestError(f"does not shut down; its console:\n{self.console()}") from None


class Journal:
    """What the guest's journal has told so far, entry by entry."""

    def __init__(self):
        self.entries = []

    def read(self, port: socket.socket):
        with port.makefile("rb") as lines:
            for line in lines:
                try:
                    self.entries.append(json.loads(line))
                except ValueError:
                    continue

    def of(self, unit: str, begin=0) -> list[dict]:
        return [entry for entry in self.entries[begin:] if unit in (entry.get("_SYSTEMD_UNIT"), entry.get("UNIT"))]


def connect(path: Path) -> socket.socket:
    port = socket.socket(socket.AF_UNIX)
    for _ in range(100):
        try:
            port.connect(str(path))
            return port
        except OSError:
            time.sleep(0.1)
    raise GuestError(f"the emulator does not open {path}")


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
