"""Runs a command on many files, two at a time, and tells what became of each.

    ordeal.py SECONDS FILE... -- COMMAND...

runs COMMAND for each FILE, with {file} in it replaced by the file and {dir} by a fresh directory, and prints a JSON object a
line: file, code (negative: the signal), memory (most resident bytes), stdout, stderr. Ends what takes longer than SECONDS.
"""

import concurrent.futures
import json
import os
import signal
import sys
import tempfile
import threading

split = sys.argv.index("--")
seconds, files, command = float(sys.argv[1]), sys.argv[2:split], sys.argv[split + 1:]


def run(file):
    with tempfile.TemporaryDirectory() as fresh, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        words = [word.replace("{file}", file).replace("{dir}", fresh) for word in command]
        actions = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, err.fileno(), 2)]
        child = os.posix_spawnp(words[0], words, os.environ, file_actions=actions)
        timer = threading.Timer(seconds, os.kill, (child, signal.SIGKILL))
        timer.start()
        _, status, usage = os.wait4(child, 0)
        timer.cancel()
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode("utf-8", "replace"))
        return {"file": file, "code": os.waitstatus_to_exitcode(status), "memory": usage.ru_maxrss * 1024,
                "stdout": said[0], "stderr": said[1]}


with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for told in pool.map(run, files):
        print(json.dumps(told))
