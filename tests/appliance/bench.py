"""The guest with Tapkeep's service in it, and what every check does with them."""

import collections
import contextlib
import json
import re
import shutil
import time
from pathlib import Path

import frames
from guest import Guest
from report import Report

CONFIG = "/etc/tapkeep/tapkeep.toml"
DATA = "/var/lib/tapkeep"
UNIT = "tapkeep.service"
NAME = re.compile(r"capture_\d{8}_\d{6}_(\d{4,})\.pcap(\.part)?")
# systemd's, of a unit that is being started.
STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"


class Bench:
    def __init__(self, guest: Guest, report: Report):
        self.guest, self.report, self.sh = guest, report, guest.sh
        # The number of the next frame: none is injected twice in a run.
        self.next, self.sender = 1, None

    # The data disk, behind the device mapper so that it can stall and fail

    raw, disk = "/dev/vdb", "/dev/mapper/data"

    def mount_data(self):
        sectors = self.sh(f"blockdev --getsz {self.raw}")
        self.sh(f"modprobe dm-mod; dmsetup create data --table '0 {sectors} linear {self.raw} 0' && mkdir -p {DATA} && mount {self.disk} {DATA}")

    def map(self, table: str):
        self.sh(f"dmsetup suspend --nolockfs --noflush data && dmsetup load data --table '{table}' && dmsetup resume data")

    # What is injected

    def send(self, count: int, rate=2000, size=None) -> range:
        sender = self.begin_to_send(rate, size, count)
        sender.wait()
        return self.sent(sender)

    def begin_to_send(self, rate: int, size=None, count=None) -> frames.Sender:
        # One that a failed check has left would write between our frames.
        self.sent(self.sender)
        self.sender = frames.Sender(self.guest, rate, self.next, count, size)
        return self.sender

    def sent(self, sender: frames.Sender | None) -> range:
        first = self.next
        if sender:
            self.next, self.sender = sender.stop(), None
        return range(first, self.next)

    # The service

    def show(self, *properties: str) -> dict[str, str]:
        lines = self.sh(f"systemctl show {UNIT} --timestamp=us+utc -p {','.join(properties)}").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def status(self) -> dict:
        """What the service tells of itself; status speaks Nagios, so its own status says nothing here."""
        return json.loads(self.guest.try_sh("tapkeep status --json")[1].splitlines()[0])["service"]

    def wait_status(self, what: str, told, limit=120) -> dict:
        end = time.monotonic() + limit
        while True:
            service = self.status()
            if service and told(service):
                return service
            assert time.monotonic() < end, f"not within {limit} s: {what}; it tells {json.dumps(service)}"
            time.sleep(0.5)

    def restart(self):
        self.sh(f"systemctl restart {UNIT}")
        self.wait_capturing()

    def wait_capturing(self):
        """Until the process that runs by now tells so: one that has ended leaves what it told last."""
        its = lambda service: str(service["pid"]) == self.show("MainPID")["MainPID"]
        self.wait_status("it captures", lambda service: service["state"] == "capturing" and its(service))

    def settle(self, sent: range):
        """Until everything that was sent has been taken from the ring and written."""
        self.wait_status(f"{len(sent)} frames are written", lambda service: service["written"] >= len(sent), 60)

    def stop(self):
        self.sh(f"systemctl stop {UNIT}")

    @contextlib.contextmanager
    def setting(self, key: str, value: str):
        """A setting for the time of a check, or of a part of it."""
        before = self.sh(f"file=$(mktemp -p /run) && cat {CONFIG} >$file && echo $file").strip()
        self.configure(key, value)
        try:
            yield
        finally:
            self.sh(f"cat {before} >{CONFIG}")

    def configure(self, key: str, value: str):
        """A key of the configuration file, which holds each of them once, commented out or not."""
        self.sh(f"""sed -i -E 's|^(# )?{key} = .*|{key} = {value}|' {CONFIG} && grep -q '^{key} = ' {CONFIG}""")

    def journal(self, mark=0) -> list[dict]:
        return self.guest.journal.of(UNIT, mark)

    def mark(self) -> int:
        return len(self.guest.journal.entries)

    def own(self, mark=0) -> list[dict]:
        """The entries that Tapkeep itself wrote."""
        return [entry for entry in self.journal(mark) if entry.get("_COMM") == "tapkeep" or entry.get("SYSLOG_IDENTIFIER") == "tapkeep"]

    def must_tell(self, mark: int, *events: str) -> set[str]:
        """All these events it has told since then, each with its id; returns all that it told, and shows those of notice and graver."""
        time.sleep(1)
        self.quote(mark)
        told = {entry["TAPKEEP_EVENT"] for entry in self.own(mark) if entry.get("MESSAGE_ID") and entry.get("TAPKEEP_EVENT")}
        assert told >= set(events), f"told is {sorted(told)}, not {sorted(set(events) - told)}"
        return told

    def quote(self, mark: int):
        """Shows what it, or systemd about it, said since then, as an operator reads it."""
        lines = (f"<{entry['PRIORITY']}> {text(entry)}" for entry in self.journal(mark) if int(entry.get("PRIORITY", 6)) <= 5)
        for line, times in collections.Counter(lines).items():
            self.report.say(f"        | {line}" + (f" (×{times})" if times > 1 else ""))

    # The files

    def listed(self, *arguments: str) -> dict:
        return self.guest.json(f"tapkeep list --json {' '.join(arguments)} 2>/dev/null")

    def names(self) -> list[str]:
        return self.sh(f"cd {DATA}/pcaps 2>/dev/null && ls || true").split()

    def fetch(self, names: list[str]) -> list[Path]:
        """Copies of these captures, lowest index number first."""
        copies = self.guest.work / "host/captures"
        shutil.rmtree(copies, ignore_errors=True)
        if names:
            self.sh(f"mkdir -p /host/captures && cd {DATA}/pcaps && cp {' '.join(names)} /host/captures/", 600)
        return [copies / name for name in sorted(names, key=index)]

    def finished(self, above=0) -> list[str]:
        """The names of finished captures with a higher index number."""
        return [name for name in self.names() if name.endswith(".pcap") and index(name) > above]

    def highest(self) -> int:
        return max(map(index, self.names()), default=0)

    def kept(self, above=0) -> list[int]:
        """The numbers of all frames in finished captures of higher index numbers, in the order of the files."""
        return [number for path in self.fetch(self.finished(above)) for number in frames.numbers(path)]

    def must_hold_exactly(self, sent: range, above: int):
        kept = self.kept(above)
        assert kept == list(sent), f"{len(sent)} frames were injected, {len(kept)} kept: {difference(sent, kept)}"

    def device_bytes(self, device: str) -> int:
        """Bytes written to a block device since it is there."""
        return int(self.sh(f"cat /sys/class/block/$(basename $(readlink -f {device}))/stat").split()[6]) * 512


def index(name: str) -> int:
    match = NAME.fullmatch(name)
    return int(match[1]) if match else 0


def text(entry: dict) -> str:
    message = entry.get("MESSAGE", "")
    return bytes(message).decode(errors="replace") if isinstance(message, list) else message


def difference(sent, kept) -> str:
    missing, strange = sorted(set(sent) - set(kept)), sorted(set(kept) - set(sent))
    order = "" if kept == sorted(kept) else "; not in order"
    return f"missing {ranges(missing)}, not injected now {ranges(strange)}{order}"


def ranges(numbers) -> str:
    if not numbers:
        return "none"
    return f"{len(numbers)} from {numbers[0]} to {numbers[-1]}"
