"""Checks of the service on a good day: installed, active, exact, told of, readable by those who may, hard to break into."""

import json
import re
import time

import frames
from bench import CONFIG, DATA, STARTING, UNIT, Bench, index, ranges, text

RATES = (2000, 5000, 10000, 15000, 20000, 30000)
RATED_SIZE = 400
EXPOSURE = 1.5
# How each is made and mounted, and what `tapkeep check` says of it.
FILE_SYSTEMS = {
    "ext4": ("-q -F", "defaults", "ok"),
    "f2fs": ("-q -f", "defaults", "ok"),
    "vfat": ("", "uid=tapkeep,gid=tapkeep,umask=027", "warning"),
}
# What it may warn of before the interface is named.
UNCONFIGURED = {"still_waiting"}


def installs(bench: Bench):
    """By the guest's own dpkg, which runs the maintainer scripts."""
    mark = bench.mark()
    bench.report.say(bench.sh("dpkg -i /host/tapkeep.deb"))
    assert "install ok installed" in bench.sh("dpkg -s tapkeep")
    assert bench.sh(f"stat -c '%a %U:%G' {DATA}") == "750 tapkeep:tapkeep"
    assert bench.sh(f"systemctl is-enabled {UNIT}") == "enabled"
    bench.sh(f"systemctl start {UNIT}")
    bench.send(100)
    said = bench.show("ActiveState", "StatusText")
    assert said["ActiveState"] == "active" and "interface" in said["StatusText"], said
    assert not bench.names(), "it captured without being told an interface"
    bench.quote(mark)


def starts(bench: Bench):
    bench.configure("interface", '"eth1"')
    mark, above = bench.mark(), bench.highest()
    sender = bench.begin_to_send(500)
    bench.restart()
    sent = bench.sent(sender)
    shown = bench.show("ActiveState", "StatusText", "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    assert shown["ActiveState"] == "active" and "eth1" in shown["StatusText"], shown
    took = (int(shown["ActiveEnterTimestampMonotonic"]) - int(shown["ExecMainStartTimestampMonotonic"])) / 1e6
    bench.report.figure("service start to READY", f"{took:.2f} s")
    bench.stop()
    first = frames.records(bench.fetch(bench.finished(above))[0])[0]
    begun = [entry for entry in bench.journal(mark) if entry.get("MESSAGE_ID") == STARTING][-1]
    bench.report.figure("service start to first captured packet", f"{first.time - int(begun['__REALTIME_TIMESTAMP']) / 1e6:.2f} s")
    kept = bench.kept(above)
    assert kept == list(range(kept[0], sent.stop)), f"injected up to {sent.stop}, kept {ranges(kept)}"
    bench.report.say(f"        | {shown['StatusText']}")


def counts_exactly(bench: Bench):
    """Everything that is injected is in the captures, byte for byte and in order, and every count says so."""
    bench.restart()
    above, before = bench.highest(), bench.device_bytes(bench.disk)
    sent = bench.send(40_000, 2000)
    bench.settle(sent)
    service = bench.status()
    assert service["packets"] == service["written"] == len(sent), service
    assert not any(service["losses"].values()), service["losses"]
    bench.stop()
    bench.must_hold_exactly(sent, above)
    assert not any(name.endswith(".part") for name in bench.names()), bench.names()
    new = [row for row in bench.listed()["files"] if row["kind"] == "capture" and row["index"] > above]
    assert all(row["state"] == "sealed" for row in new) and sum(row["packets"] for row in new) == len(sent), new
    written = bench.device_bytes(bench.disk) - before
    kept = sum(path.stat().st_size for path in bench.fetch(bench.finished(above)))
    bench.report.figure("device bytes per byte kept", f"{written / kept:.3f} (1.5 MB/s for 20 s, start and stop included)")


def keeps_a_journal(bench: Bench):
    """Each line has its event, with its id and its facts; of a quiet day there is no warning."""
    own = [entry for entry in bench.own() if int(entry["PRIORITY"]) < 7]
    bare = [text(entry) for entry in own if not entry.get("MESSAGE_ID") or not entry.get("TAPKEEP_EVENT")]
    assert not bare, f"without MESSAGE_ID or TAPKEEP_EVENT: {bare}"
    loud = [text(entry) for entry in own if int(entry["PRIORITY"]) <= 4 and entry["TAPKEEP_EVENT"] not in UNCONFIGURED]
    assert not loud, f"warnings on a healthy day: {loud}"
    told = {entry["TAPKEEP_EVENT"]: entry for entry in own}
    assert {"start", "waiting", "capturing", "seal", "stopping", "stopped"} <= set(told), sorted(told)
    seal = told["seal"]
    assert {"TAPKEEP_FILE", "TAPKEEP_PACKETS", "TAPKEEP_SIZE", "TAPKEEP_LOST"} <= set(seal), seal
    sealed = {row["name"]: (str(row["packets"]), str(row["size"])) for row in bench.listed()["files"] if row["kind"] == "capture"}
    assert sealed[seal["TAPKEEP_FILE"]] == (seal["TAPKEEP_PACKETS"], seal["TAPKEEP_SIZE"]), seal
    bench.report.say("        | " + " ".join(f"{key}={value}" for key, value in sorted(seal.items()) if key.startswith("TAPKEEP_")))


def is_hard_to_break_into(bench: Bench):
    line = bench.sh(f"systemd-analyze security --no-pager {UNIT} | tail -1", 600)
    score = float(re.search(r"(\d+\.\d+)", line)[1])
    bench.report.figure("systemd-analyze security", f"{score}")
    assert score <= EXPOSURE, line


def answers_its_readers(bench: Bench):
    """A member of the group who comes by SSH needs neither flag nor variable; others are refused."""
    ssh = open_ssh(bench, "reader", "stranger")
    bench.restart()
    sent = bench.send(200)
    bench.settle(sent)
    for command in ("list", "status", "suspicious"):
        status, said = bench.guest.try_sh(f"{ssh} reader@127.0.0.1 tapkeep {command}")
        assert status == 0, f"tapkeep {command}: status {status}\n{said}"
        bench.report.say("\n".join(f"        | {line}" for line in said.splitlines()[-2:]))
    status, said = bench.guest.try_sh(f"{ssh} stranger@127.0.0.1 tapkeep list")
    assert status == 1 and "capture_" not in said, f"a stranger: status {status}\n{said}"


def open_ssh(bench: Bench, member: str, *others: str) -> str:
    """Users who log in with root's key, the first one of group tapkeep; returns the command that logs in."""
    key = "/root/key"
    bench.sh(f"ssh-keygen -qt ed25519 -N '' -f {key}; ssh-keygen -qt ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; useradd -rd /run/sshd sshd")
    for user in (member, *others):
        groups = "-G tapkeep" if user == member else ""
        bench.sh(f"useradd -m -s /bin/bash -p '*' {groups} {user}; install -D -o {user} -m 600 {key}.pub ~{user}/.ssh/authorized_keys")
    bench.sh("cp /usr/share/openssh/sshd_config /etc/ssh/; ip link set lo up; systemctl start ssh")
    return f"ssh -i {key} -o StrictHostKeyChecking=no -o LogLevel=ERROR"


def checks_the_machine(bench: Bench):
    """`tapkeep check` finds no problem on a board that is set up, and tells what could be better."""
    bench.restart()
    answer = json.loads(bench.guest.try_sh("tapkeep check --json")[1].splitlines()[0])
    for line in answer["checks"]:
        if line["result"] != "ok":
            bench.report.say(f"        | {line['result']}: {line['id']}: {line['text']}")
    assert answer["result"] in ("ok", "warning"), answer["result"]


def judge_of_file_system(bench: Bench) -> str:
    """What `tapkeep check` says of the data disk."""
    answer = json.loads(bench.guest.try_sh("tapkeep check --no-disk-test --json")[1].splitlines()[0])
    line = next(line for line in answer["checks"] if line["id"] == "file_system")
    bench.report.say(f"        | {line['result']}: {line['text']}")
    return line["result"]


def reloads(bench: Bench):
    """A new setting comes into force in the same process; one that is wrong is told, and the old one stays."""
    bench.restart()
    before, mark, above = bench.show("MainPID"), bench.mark(), bench.highest()
    sender = bench.begin_to_send(200)
    with bench.setting("rotation_interval", '"2s"'):
        bench.sh(f"systemctl reload {UNIT}")
        bench.guest.until("a file is sealed by the new interval", f"[ $(ls {DATA}/pcaps | grep -c 'pcap$') -gt {len(bench.finished()) + 1} ]", 60)
        with bench.setting("rotation_interval", '"2 parsecs"'):
            bench.guest.try_sh(f"systemctl reload {UNIT}")
            time.sleep(2)
    bench.sh(f"systemctl reload {UNIT}")
    sent = bench.sent(sender)
    bench.settle(sent)
    assert bench.show("MainPID") == before, "it was restarted"
    bench.must_tell(mark, "reloaded", "reload_refused")
    bench.stop()
    bench.must_hold_exactly(sent, above)


def keeps_up(bench: Bench):
    """The highest rate of the ladder that is kept without loss, and the memory that it takes."""
    bench.restart()
    rest = memory(bench)
    best, total = 0, 0
    for rate in RATES:
        sender = bench.begin_to_send(rate, RATED_SIZE, rate * 4)
        reached = sender.wait()
        total += len(bench.sent(sender))
        service = bench.wait_status("everything is written or lost", lambda told: told["written"] + lost(told) >= total)
        if any(service["losses"].values()):
            bench.report.say(f"        | at {rate} pps: {service['losses']}")
            break
        best = reached
    loaded = memory(bench)
    bench.report.figure("held without loss", f"{best:.0f} pps of {RATED_SIZE} bytes for 4 s; {RATES[-1]} was the most that was tried")
    for name in ("VmRSS", "memory.current", "memory.peak"):
        bench.report.figure(f"memory of the service, {name}", f"{rest[name] / 1e6:.0f} MB at rest, {loaded[name] / 1e6:.0f} MB after")
    assert best, f"{RATES[0]} pps were not held"


def lost(service: dict) -> int:
    return sum(count or 0 for count in service["losses"].values())


def memory(bench: Bench) -> dict[str, int]:
    group = f"/sys/fs/cgroup{bench.show('ControlGroup')['ControlGroup']}"
    figures = {name: int(bench.sh(f"cat {group}/{name}")) for name in ("memory.current", "memory.peak")}
    figures["VmRSS"] = int(bench.sh(f"grep VmRSS /proc/{bench.show('MainPID')['MainPID']}/status").split()[1]) * 1024
    return figures


def retains(bench: Bench, filesystem: str):
    """More traffic than the disk holds: the oldest files go, told and counted; the newest are all there, and room is kept."""
    bench.stop()
    force, options, judged = FILE_SYSTEMS[filesystem]
    bench.sh(f"umount {DATA}; mkfs.{filesystem} {force} {bench.disk} >/dev/null && mount -o {options} {bench.disk} {DATA}")
    with bench.setting("count", "0"):
        bench.restart()
    assert judge_of_file_system(bench) == judged
    size = int(bench.sh(f"df --output=size -B1 {DATA} | tail -1"))
    sent = bench.send(int(size * 1.3 / 1416), 8000, 1400)
    bench.settle(sent)
    service = bench.status()
    assert not any(service["losses"].values()), service["losses"]
    bench.stop()
    evicted = [row for row in bench.listed("--all")["files"] if row["state"] == "evicted"]
    assert evicted and all(row["reason"] and row["evicted_at"] for row in evicted), evicted
    kept = bench.kept()
    assert kept == list(range(kept[0], sent.stop)), f"injected up to {sent.stop}, kept {ranges(kept)}"
    assert sum(row["packets"] for row in evicted) == kept[0] - sent.start, "evicted files and kept ones are not all"
    free = int(bench.sh(f"df --output=avail -B1 {DATA} | tail -1"))
    assert free >= 0.03 * size, f"{free} of {size} bytes are free"
    bench.report.say(f"        | {len(evicted)} files evicted ({evicted[0]['reason']}), {len(kept)} of {len(sent)} frames kept, {free / size:.0%} free")
