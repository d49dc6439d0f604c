"""The hardware watchdog, with the settings of the Yocto image: a board that hangs is reset without anybody's help, and comes up again
like one whose power was cut. Each boot ends here by the board itself; what it has on its card is compared in the next one.
"""

import time

from bench import DATA, UNIT, Bench
from frames import Sender
from powercut import RATE, Card, Cuts

# What the unit's own comment tells to add where a process that hangs in the kernel shall reset the board.
DROP_IN = "[Unit]\\nFailureAction=reboot-force\\n[Service]\\nTimeoutStopFailureMode=kill\\n"


def checks(cuts: Cuts, more: bool):
    card = cuts.cards[0]
    cuts.report.check("the hardware watchdog resets a board whose kernel hangs", resets, cuts, card, "a kernel that hangs", hang, 60)
    if more:
        cuts.report.check("a process that the kernel does not release resets the board", resets, cuts, card, "a process in the kernel",
                          keep_in_the_kernel, 900)


def resets(cuts: Cuts, card: Card, what: str, stick, limit: float):
    bench = cuts.boot(card, watchdog=True)
    try:
        sender = bench.begin_to_send(RATE)
        cuts.look(bench, card)
        dog = bench.sh("cd /sys/class/watchdog/watchdog0 && cat identity state timeout").splitlines()
        assert dog[1:] == ["active", "14"], dog
        time.sleep(5)
        begun = time.monotonic()
        stick(bench, sender)
        bench.guest.wait_reset(limit)
        cuts.report.figure(f"{what} to the reset", f"{time.monotonic() - begun:.0f} s")
    finally:
        bench.guest.cut()
    syncs, seals = cuts.account(bench, card, sender)
    cuts.report.say(f"        | {syncs} syncs and {seals} seals claimed")


def hang(bench: Bench, sender: Sender):
    """The kernel panics, and waits for good, as it does by default."""
    assert bench.sh("cat /proc/sys/kernel/panic") == "0"
    bench.guest.begin_sh("echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger")
    sender.stopped.set()


def keep_in_the_kernel(bench: Bench, sender: Sender):
    """The file system lets no write end, and so no process that writes."""
    folder = f"/run/systemd/system/{UNIT}.d"
    bench.sh(f"mkdir -p {folder} && printf '{DROP_IN}' >{folder}/reset.conf && systemctl daemon-reload && fsfreeze -f {DATA}")
    # What comes now cannot be written, and so keeps the recorder there.
    time.sleep(1)
    sender.stopped.set()
