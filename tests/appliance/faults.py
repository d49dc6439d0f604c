"""Checks of bad days: wrong settings, a port that goes, a disk that is full, read-only, failing or slow, a clock in 1970, a thread that
sticks. Each gives a clear line in the journal, which the run shows, and costs no more than it must."""

import time

from bench import DATA, UNIT, Bench, index, text

STALL = 30
# Frames that fill the queue within seconds: what a disk does not take waits there before it is lost.
FLOOD = {"rate": 6000, "size": 1400}


def refuses_wrong_settings(bench: Bench):
    """An invalid value: told with file and line, status 2, and no restart, which would not mend it."""
    mark = bench.mark()
    with bench.setting("snaplen", '"a lot"'):
        assert bench.guest.try_sh(f"systemctl restart {UNIT}")[0] != 0, "it starts"
        time.sleep(6)
        shown = bench.show("ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "2", "NRestarts": "0"}, shown
    bench.must_tell(mark, "failed")
    assert any("tapkeep.toml:" in text(entry) and "snaplen" in text(entry) for entry in bench.own(mark)), "file and line are not told"


def waits_for_a_port(bench: Bench):
    """The port is unplugged and plugged in again: waited for, told, and a gap in the list says how long."""
    bench.restart()
    above, mark = bench.highest(), bench.mark()
    before = bench.send(300)
    bench.settle(before)
    device = bench.sh("basename $(readlink /sys/class/net/eth1/device)")
    bench.sh(f"echo {device} >/sys/bus/virtio/drivers/virtio_net/unbind")
    bench.wait_status("it waits for the port", lambda service: service["state"] == "waiting")
    shown = bench.show("ActiveState", "StatusText")
    assert shown["ActiveState"] == "active" and "eth1" in shown["StatusText"], shown
    bench.report.say(f"        | {shown['StatusText']}")
    time.sleep(3)
    bench.sh(f"echo {device} >/sys/bus/virtio/drivers/virtio_net/bind")
    bench.wait_capturing()
    after = bench.send(300)
    bench.settle(range(before.start, after.stop))
    bench.stop()
    bench.must_hold_exactly(range(before.start, after.stop), above)
    gap = bench.listed()["gaps"][-1]
    assert "eth1" in gap["reason"] and gap["duration_ms"] >= 3000, gap
    bench.must_tell(mark, "interface_gone", "link_back")


def bridges_a_stall(bench: Bench):
    """The disk answers nothing for 30 s: told, and costs neither a packet nor a restart."""
    bench.restart()
    above, mark, before = bench.highest(), bench.mark(), bench.show("MainPID", "NRestarts")
    sender = bench.begin_to_send(500)
    time.sleep(2)
    bench.sh("dmsetup suspend --nolockfs --noflush data")
    try:
        time.sleep(STALL)
        age = bench.status()["oldest_unsynced_ms"] or 0
    finally:
        bench.sh("dmsetup resume data")
    time.sleep(2)
    sent = bench.sent(sender)
    bench.settle(sent)
    assert age > 0.6 * STALL * 1000, f"status tells of {age} ms unsynced after {STALL} s: the disk did not stall"
    assert bench.show("MainPID", "NRestarts") == before, "it was restarted"
    assert not any(bench.status()["losses"].values()), bench.status()["losses"]
    bench.must_tell(mark, "thread_stalled", "thread_moves")
    bench.stop()
    bench.must_hold_exactly(sent, above)


def outlives_a_failing_device(bench: Bench):
    """Every write and read gives EIO for a while: told and counted; what was kept before is there when the disk is mended."""
    bench.restart()
    above, mark, before = bench.highest(), bench.mark(), bench.show("MainPID", "NRestarts")
    safe = bench.send(2000)
    bench.settle(safe)
    bench.wait_status("everything is synced", lambda service: not service["oldest_unsynced_ms"], 30)
    sectors = bench.sh(f"blockdev --getsz {bench.raw}")
    bench.map(f"0 {sectors} error")
    try:
        sender = bench.begin_to_send(**FLOOD)
        service = bench.wait_status("losses are counted", lambda service: service["losses"]["write"] or service["losses"]["queue"])
        sent = bench.sent(sender)
        bench.report.say(f"        | losses by then: {service['losses']}, {len(sent)} frames sent")
        assert bench.show("MainPID", "NRestarts") == before, "it was restarted"
        # Which of them comes first depends on what the device refuses first: a write, or a sync.
        told = bench.must_tell(mark, "loss")
        assert told & {"disk_trouble", "sync_failed", "seal_delayed"}, told
    finally:
        bench.map(f"0 {sectors} linear {bench.raw} 0")
        bench.sh(f"systemctl stop {UNIT}; umount {DATA}; e2fsck -p {bench.disk}; [ $? -lt 4 ] && mount {bench.disk} {DATA}", 200)
    bench.restart()
    bench.wait_status("salvage has ended", lambda service: service["busy_with"] is None)
    bench.stop()
    missing = set(safe) - set(bench.kept(above))
    assert not missing, f"{len(missing)} of {len(safe)} synced frames are gone"


def says_that_a_disk_is_full(bench: Bench):
    """Others fill the disk: recording goes on as soon as there is room, and what was lost is counted."""
    bench.restart()
    above, mark = bench.highest(), bench.mark()
    kept_before = bench.send(1000)
    bench.settle(kept_before)
    bench.guest.try_sh(f"cat /dev/zero >{DATA}/fill 2>/dev/null; sync")
    sender = bench.begin_to_send(**FLOOD)
    bench.wait_status("writes are counted as lost", lambda service: (service["losses"]["write"] or 0) > 0, 180)
    bench.sent(sender)
    bench.sh(f"rm {DATA}/fill")
    time.sleep(10)
    after = bench.send(500)
    bench.guest.until("it records again", f"tapkeep status --json | grep -q '\"state\":\"capturing\"'")
    bench.wait_status("everything is synced", lambda service: not service["oldest_unsynced_ms"], 60)
    lost = bench.status()["losses"]["write"]
    bench.stop()
    kept = bench.kept(above)
    missing = sorted(set(range(kept_before.start, after.stop)) - set(kept))
    assert not set(missing) & set(after), "frames are missing that came when there was room"
    assert len(missing) == lost, f"{len(missing)} frames are missing, {lost} were counted"
    bench.must_tell(mark, "disk_trouble", "loss", "disk_back")


def says_that_a_disk_is_read_only(bench: Bench):
    """It does not run, says why, is tried again, and runs by itself once the disk is mended."""
    bench.stop()
    mark = bench.mark()
    bench.sh(f"mount -o remount,ro {bench.disk} {DATA}")
    try:
        bench.guest.try_sh(f"systemctl start --no-block {UNIT}")
        time.sleep(12)
        shown = bench.show("ActiveState", "Result")
    finally:
        bench.sh(f"mount -o remount,rw {bench.disk} {DATA}")
    assert shown["ActiveState"] != "active", f"{shown}: where does it write?"
    bench.must_tell(mark, "failed")
    assert any("ead-only" in text(entry) for entry in bench.own(mark)), "why is not told"
    bench.guest.until("it runs by itself", f"systemctl is-active {UNIT}", 60)
    bench.wait_capturing()


def records_in_1970(bench: Bench):
    """A board without a clock: recorded all the same, ordered by index number, marked, and the step is told when the time is known."""
    bench.stop()
    above, mark = bench.highest(), bench.mark()
    bench.sh("date -s @100000")
    try:
        bench.restart()
        first = bench.send(300)
        bench.settle(first)
    finally:
        bench.sh(f"date -s @{int(time.time())}")
    time.sleep(3)
    second = bench.send(300)
    bench.settle(range(first.start, second.stop))
    bench.stop()
    bench.must_hold_exactly(range(first.start, second.stop), above)
    new = [name for name in bench.names() if index(name) > above]
    assert any("_1970" in name for name in new), new
    bench.report.say("        | " + " ".join(new))
    bench.report.say("\n".join(f"        | {line}" for line in bench.sh("tapkeep list | tail -3").splitlines()))
    bench.must_tell(mark, "clock_step")


def restarts_what_is_stuck(bench: Bench, thread: str):
    """One thread is held for good: the watchdog has the service started anew, and recording goes on."""

    def hold(pid: str):
        task = bench.sh(f"grep -l '^{thread}' /proc/{pid}/task/*/comm | cut -d/ -f5 | head -1")
        assert task, f"no thread {thread}"
        bench.sh(f"setsid /host/hold {task} >/run/hold 2>&1 & sleep 2; cat /proc/{task}/wchan | grep -q ptrace")

    mark = bench.mark()
    is_started_anew(bench, f"stuck {thread} thread", hold)
    bench.must_tell(mark, "thread_stalled", "thread_stuck", "salvage")


def restarts_what_is_stopped(bench: Bench):
    """The whole process is stopped, so that it cannot tell: systemd has it started anew by itself."""
    mark = bench.mark()
    is_started_anew(bench, "stopped process", lambda pid: bench.sh(f"kill -STOP {pid}"))
    bench.must_tell(mark, "salvage")


def is_started_anew(bench: Bench, what: str, stick):
    bench.restart()
    pid = bench.show("MainPID")["MainPID"]
    sender = bench.begin_to_send(100)
    bench.wait_status("a file grows", lambda service: service["recording"] is not None)
    begun = time.monotonic()
    stick(pid)
    limit = 60 + 45 + 30
    bench.guest.until("it is started anew", f"[ $(systemctl show -p NRestarts --value {UNIT}) = 1 ]", limit)
    bench.wait_capturing()
    took = time.monotonic() - begun
    bench.sent(sender)
    assert bench.show("MainPID")["MainPID"] != pid
    bench.report.figure(f"{what} to recording again", f"{took:.0f} s")
    above = bench.highest()
    again = bench.send(300)
    bench.wait_status("it records again", lambda service: service["written"] >= len(again))
    bench.wait_status("salvage has ended", lambda service: service["busy_with"] is None)
    bench.stop()
    kept = bench.kept(above - 1)
    assert set(again) <= set(kept), "frames after the restart are missing"
