"""What a run says: each check as it ends, and the figures at its end. A check that fails does not end the run."""

import time
import traceback

from guest import GuestError


class Report:
    def __init__(self):
        self.begun, self.figures, self.failed, self.passed = time.monotonic(), [], [], 0

    def say(self, text: str):
        for line in text.splitlines():
            print(f"{time.monotonic() - self.begun:7.1f}  {line}", flush=True)

    def check(self, words: str, check, *arguments) -> bool:
        """Runs one check: any exception is its failure; whether it passed."""
        begun = time.monotonic()
        try:
            check(*arguments)
        except (AssertionError, GuestError, OSError, LookupError, ValueError) as failure:
            self.failed.append(words)
            where = "".join(traceback.format_tb(failure.__traceback__)[-1:]).strip()
            self.say(f"FAILED  {words}: {failure or type(failure).__name__}\n{where}")
            return False
        self.passed += 1
        self.say(f"ok      {words} ({time.monotonic() - begun:.1f} s)")
        return True

    def figure(self, name: str, value: str):
        self.figures.append((name, value))
        self.say(f"        {name}: {value}")

    def end(self) -> int:
        """The table of figures, and the status to exit with."""
        width = max((len(name) for name, _ in self.figures), default=0)
        print("\nmeasured on the emulated board, which says nothing of the speed of a real one:")
        for name, value in self.figures:
            print(f"  {name:<{width}}  {value}")
        print(f"\n{self.passed} checks passed, {len(self.failed)} failed, {time.monotonic() - self.begun:.0f} s")
        for words in self.failed:
            print(f"  failed: {words}")
        return 1 if self.failed or not self.passed else 0
