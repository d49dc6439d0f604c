"""Power cuts: the emulator is killed while packets flow, at random moments, and booted again, root read-only, nobody lending a hand.

What Tapkeep called synced or sealed before a cut must be there afterwards under its final name, every packet of it what was injected,
byte for byte and without a hole; the list agrees with the files, and numbering goes on. Now and then the next cut comes while the last
one is still being mended. A cut loses the guest's page cache; that a device forgets what it was told to flush is not shown by this.
"""

import random
import re
import subprocess
import time
from pathlib import Path

import frames
from bench import DATA, Bench, difference, index, ranges, text
from guest import Guest
from report import Report

RATE = 400
SYNCED = re.compile(r"synced (capture_\w+\.pcap)\S*: (\d+) bytes")
SETTINGS = """NETWORK_INTERFACE=eth1
PCAP_ROTATION_SIZE=4
PCAP_RETENTION_COUNT=0
TAPKEEP_RECORDER_SYNC_INTERVAL=2s
TAPKEEP_SERVICE_LOG_LEVEL=debug
"""


class Card:
    """A data disk over its cuts, and what is known to be on it."""

    def __init__(self, path: Path, filesystem: str):
        self.path, self.filesystem = path, filesystem
        # Bytes that Tapkeep called safe, by final name; frames sent in each boot since the last look; names seen, and those compared.
        self.claims, self.boots, self.seen, self.compared = {}, [], set(), set()
        subprocess.run(["truncate", "-s", "256M", path], check=True)
        maker = {"ext4": ["mke2fs", "-q", "-F", "-t", "ext4", "-L"], "f2fs": ["mkfs.f2fs", "-q", "-f", "-l"]}[filesystem]
        subprocess.run([*maker, "tapkeep", path], check=True, stdout=subprocess.DEVNULL)

    def claim(self, bench: Bench) -> tuple[int, int]:
        """Takes the service at its word: how many syncs and seals it told of in this boot."""
        syncs = [match.groups() for entry in bench.own() if (match := SYNCED.match(text(entry)))]
        seals = [(entry["TAPKEEP_FILE"], entry["TAPKEEP_SIZE"]) for entry in bench.own() if entry.get("TAPKEEP_EVENT") == "seal"]
        for name, size in syncs + seals:
            self.claims[name] = max(int(size), self.claims.get(name, 0))
        return len(syncs), len(seals)


class Cuts:
    def __init__(self, root: Path, work: Path, image: Path, report: Report, seed: int):
        self.root, self.work, self.image, self.report, self.random = root, work, image, report, random.Random(seed)
        self.cards = [Card(work / f"{filesystem}.img", filesystem) for filesystem in ("ext4", "f2fs")]
        self.journal = work / "journal.img"
        subprocess.run(["truncate", "-s", "64M", self.journal], check=True)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "journal", self.journal], check=True)
        # Seconds from power on until the last cut was mended, the last time.
        self.mending = 30.0
        self.next, self.sums = 1 << 24, dict.fromkeys(("cuts", "syncs", "seals", "salvaged", "packets", "seconds"), 0)

    def run(self, cuts: int):
        for number in range(cuts):
            card = self.cards[number % len(self.cards)]
            self.report.check(f"power cut {number + 1} ({card.filesystem})", self.cut, card)

    def finish(self, cuts: int):
        for card in self.cards[:cuts]:
            self.report.check(f"everything is well at the end ({card.filesystem})", self.end, card)
        self.report.check("the cuts put something to the test", self.weigh)
        self.report.figure("power cuts", "{cuts}; {syncs} syncs and {seals} seals claimed, all kept; {salvaged} files salvaged; {packets} packets "
                           "compared; at most {seconds:.1f} s of packets lost".format(**self.sums))

    def weigh(self):
        sums = self.sums
        assert sums["packets"] and 2 * (sums["syncs"] + sums["seals"]) >= sums["cuts"], sums
        # Of a few cuts none may have hit a file between its first sync and its end.
        assert sums["salvaged"] or sums["cuts"] < 10, sums

    def boot(self, card: Card, watchdog=False) -> Bench:
        guest = Guest(self.root, self.work, self.image, disks=(card.path, self.journal), read_only=True, watchdog=watchdog)
        bench = Bench(guest, self.report)
        bench.next = self.next
        return bench

    def cut(self, card: Card):
        bench = self.boot(card)
        try:
            sender = bench.begin_to_send(RATE)
            early = bool(card.boots) and self.random.random() < 0.25
            if early:
                time.sleep(self.random.uniform(0.4, 1.2) * self.mending)
            else:
                self.look(bench, card)
                time.sleep(self.random.uniform(2, 14))
            after = time.monotonic() - bench.guest.begun
        finally:
            bench.guest.cut()
        syncs, seals = self.account(bench, card, sender)
        self.sums["cuts"] += 1
        moment = f"{after:.1f} s after power came on{', perhaps while mending' if early else ''}"
        self.report.say(f"        | {moment}: {syncs} syncs and {seals} seals claimed")

    def account(self, bench: Bench, card: Card, sender: frames.Sender) -> tuple[int, int]:
        """What a boot that has ended has sent and claimed; how many syncs and seals."""
        card.boots.append(bench.sent(sender))
        self.next = bench.next
        syncs, seals = card.claim(bench)
        self.sums["syncs"] += syncs
        self.sums["seals"] += seals
        return syncs, seals

    def wait_mended(self, bench: Bench):
        """Until the service runs, by itself, and salvage has ended."""
        bench.guest.wait_ready()
        bench.guest.until("the service runs by itself", "systemctl is-active tapkeep", 120)
        bench.wait_capturing()
        bench.wait_status("salvage has ended", lambda service: service["busy_with"] is None)
        failed = bench.sh("systemctl --failed --no-legend --plain")
        assert not failed, failed
        assert bench.guest.try_sh("touch /nobody")[0], "the root file system is not read-only"

    def look(self, bench: Bench, card: Card):
        """At all that has come since the last look: the list, the index numbers, what was claimed, every packet."""
        self.wait_mended(bench)
        self.mending = time.monotonic() - bench.guest.begun
        listing = bench.listed("--all")
        rows = {row["name"]: row for row in listing["files"] if row["kind"] == "capture"}
        growing = [name for name in bench.names() if name.endswith(".part")]
        assert len(growing) <= 1 and "damaged" not in {row["state"] for row in rows.values()}, (growing, listing)
        names = [name.removesuffix(".part") for name in rows]
        assert len(set(map(index, names))) == len(names) and names == sorted(names, key=index), names
        new, highest = set(names) - card.seen, max(map(index, card.seen), default=0)
        assert all(index(name) > highest for name in new), f"behind {highest}: {new}"
        # A file that was begun and never synced may be gone without a trace, and its number is the next one's.
        card.seen |= {name for name in new if rows.get(name, {}).get("state") in ("sealed", "salvaged", "evicted")}
        self.compare(bench, card, rows)

    def compare(self, bench: Bench, card: Card, rows: dict[str, dict]):
        """The finished files that are new since the last look, with what was sent and what was claimed."""
        sizes = dict(line.split() for line in bench.sh(f"cd {DATA}/pcaps && stat -c '%n %s' *.pcap").splitlines()) if card.boots else {}
        for name, claimed in card.claims.items():
            gone = rows.get(name, {}).get("state") == "evicted"
            assert gone or int(sizes.get(name, 0)) >= claimed, f"{name}: {claimed} bytes were synced, {sizes.get(name)} are there"
        card.claims.clear()
        finished = [name for name, row in rows.items() if row["state"] in ("sealed", "salvaged") and name not in card.compared]
        kept = []
        for path in bench.fetch(finished):
            found = frames.numbers(path)
            row = rows[path.name]
            assert row["packets"] == len(found) and row["size"] == path.stat().st_size, (row, len(found))
            kept += found
            self.sums["salvaged"] += row["state"] == "salvaged"
        card.compared.update(finished)
        assert kept == sorted(set(kept)), "a frame is there twice, or not in order"
        for sent in card.boots:
            mine = [number for number in kept if number in sent]
            assert mine == list(range(mine[0], mine[-1] + 1)) if mine else True, f"a hole: {difference(range(mine[0], mine[-1] + 1), mine)}"
            if mine:
                self.sums["seconds"] = max(self.sums["seconds"], (sent.stop - 1 - mine[-1]) / RATE)
                self.report.say(f"        | kept {ranges(mine)}; {(sent.stop - 1 - mine[-1]) / RATE:.1f} s lost")
        self.sums["packets"] += len(kept)
        card.boots.clear()

    def end(self, card: Card):
        """Every packet on the disk is still what was injected; the list of the index, of the files alone, and of an index made anew are one."""
        bench = self.boot(card)
        try:
            self.look(bench, card)
            bench.stop()
            kept = bench.kept()
            assert kept == sorted(set(kept)), "a frame is there twice, or not in order"
            told = bench.listed("--all")
            bench.sh(f"rm {DATA}/index.sqlite3*")
            alone = bench.listed("--all")
            bench.sh("runuser -u tapkeep -- tapkeep index rebuild")
            rebuilt = bench.listed("--all")
            assert told == alone, "index and files disagree"
            assert told == rebuilt, "index and rebuilt index disagree"
        finally:
            bench.guest.off()
