"""Frames that carry their number, the wire they come in by, and the captures in which they must be found again, byte for byte."""

import functools
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

MAGIC = {0xA1B2C3D4: 1_000, 0xA1B23C4D: 1}
PORT = 4000
HEAD = 14 + 20 + 8
SENDER = b"\x02\x00\x00\x00\x00\x01"
FLOWS = 64


def frame(number: int, size: int | None = None) -> bytes:
    """A UDP frame of one of a few flows, of 64 to 1363 bytes unless told, filled with its number and size again and again."""
    size = size or 64 + number * 37 % 1300
    return head(size, number % FLOWS) + ((number << 16 | size).to_bytes(8, "big") * (size // 8))[: size - HEAD]


@functools.cache
def head(size: int, flow: int) -> bytes:
    udp = struct.pack(">HHHH", 40000 + flow, PORT, size - 34, 0)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, size - 14, 0, 0, 64, 17, 0, b"\x0a\x09\x00\x01", b"\x0a\x09\x00\x02")
    total = sum(struct.unpack(">10H", ip))
    total = (total >> 16) + (total & 0xFFFF)
    ip = ip[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + ip[12:]
    return b"\x52\x54\x00\x00\x00\x02" + SENDER + b"\x08\x00" + ip + udp


def number_of(data: bytes) -> int | None:
    """The number of a frame that is ours, byte for byte; None of any other."""
    if len(data) < HEAD + 8:
        return None
    number, size = divmod(int.from_bytes(data[HEAD : HEAD + 8], "big"), 1 << 16)
    return number if size == len(data) and data == frame(number, size) else None


@dataclass
class Record:
    time: float
    data: bytes


def records(path: Path) -> list[Record]:
    """All packets of a finished capture file. Anything that is not whole is an error."""
    data = path.read_bytes()
    magic, _, _, _, _, snaplen, link = struct.unpack_from("<IHHiIII", data)
    assert magic in MAGIC and link == 1, f"{path.name}: no Ethernet capture"
    found, at = [], 24
    while at < len(data):
        assert at + 16 <= len(data), f"{path.name}: a cut record at {at}"
        seconds, fraction, length, original = struct.unpack_from("<IIII", data, at)
        assert length == original <= snaplen and at + 16 + length <= len(data), f"{path.name}: a damaged record at {at}"
        found.append(Record(seconds + fraction * MAGIC[magic] / 1e9, data[at + 16 : at + 16 + length]))
        at += 16 + length
    return found


def numbers(path: Path) -> list[int]:
    """The numbers of a capture's frames, each of which is what was injected, byte for byte; no other frame is in it."""
    found = [(number_of(record.data), record.data) for record in records(path)]
    for number, data in found:
        assert number is not None, f"{path.name}: a frame that nobody injected: {data.hex()}"
    return [number for number, _ in found]


class Sender:
    """Injects frames in the order of their numbers, at a steady rate, from a thread of its own until it is told to stop."""

    def __init__(self, guest, rate: int, first=0, count: int | None = None, size: int | None = None):
        self.first = self.next = first
        self.rate, self.size, self.stopped = rate, size, threading.Event()
        self.end = None if count is None else first + count
        # A cut takes the wire away.
        self.wire, self.begun = guest.wire, time.monotonic()
        self.thread = threading.Thread(target=self.send, daemon=True)
        self.thread.start()

    def send(self):
        while not self.stopped.is_set() and self.next != self.end:
            due = self.first + int((time.monotonic() - self.begun) * self.rate) + 1
            batch = range(self.next, min(due, self.next + 64, self.end or due))
            sized = (frame(number, self.size) for number in batch)
            try:
                self.wire.sendall(b"".join(struct.pack(">I", len(data)) + data for data in sized))
            except OSError:
                return
            self.next = batch.stop if batch else self.next
            if due <= self.next:
                time.sleep(0.002)

    def wait(self) -> float:
        """Until all are on the wire; frames per second."""
        self.thread.join()
        return (self.next - self.first) / (time.monotonic() - self.begun)

    def stop(self) -> int:
        """The first number that was not sent."""
        self.stopped.set()
        self.thread.join()
        return self.next
