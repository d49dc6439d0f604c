"""Packets of capture files, told by a reader that shares no code with the product.

    digest.py FILE...

prints for each file a JSON object: by link type the number of packets and a SHA-256 over stamp (nanoseconds), lengths and
bytes of each in order, and the unit of the stamps ("micro", "nano"; of pcapng none).
"""

import gzip
import hashlib
import json
import struct
import sys

MAGICS = {b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\xa1\xb2\xc3\xd4": (">", 1000),
          b"\x4d\x3c\xb2\xa1": ("<", 1), b"\xa1\xb2\x3c\x4d": (">", 1)}


def pcap(data):
    order, unit = MAGICS[data[:4]]
    link, at = struct.unpack_from(order + "I", data, 20)[0], 24
    while at < len(data):
        sec, frac, kept, wire = struct.unpack_from(order + "4I", data, at)
        assert at + 16 + kept <= len(data), "cut"
        yield link, sec * 10**9 + frac * unit, wire, data[at + 16:at + 16 + kept]
        at += 16 + kept


def pcapng(data):
    at, order, interfaces = 0, "<", []
    while at < len(data):
        kind = data[at:at + 4]
        if kind == b"\x0a\x0d\x0d\x0a":
            order, interfaces = ("<" if data[at + 8:at + 12] == b"\x4d\x3c\x2b\x1a" else ">"), []
        kind, length = struct.unpack_from(order + "2I", data, at)
        if kind == 1:
            interfaces.append((struct.unpack_from(order + "H", data, at + 8)[0],
                               resolution(data[at + 16:at + length - 4], order)))
        if kind == 6:
            interface, high, low, kept, wire = struct.unpack_from(order + "5I", data, at + 8)
            link, per_second = interfaces[interface]
            ticks = high << 32 | low
            yield link, ticks * 10**9 // per_second, wire, data[at + 28:at + 28 + kept]
        at += length


def resolution(options, order):
    at = 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from(order + "2H", options, at)
        if code == 9:
            value = options[at + 4]
            return 2 ** (value & 0x7F) if value & 0x80 else 10**value
        at += 4 + (length + 3) // 4 * 4
    return 10**6


for path in sys.argv[1:]:
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        data = file.read()
    known = data[:4] in MAGICS
    links = {}
    for link, stamp, wire, packet in (pcap if known else pcapng)(data):
        told = links.setdefault(link, [0, hashlib.sha256()])
        told[0] += 1
        told[1].update(struct.pack("<QII", stamp, len(packet), wire) + packet)
    unit = {1: "nano", 1000: "micro"}[MAGICS[data[:4]][1]] if known else None
    print(json.dumps({"links": {link: [n, sha.hexdigest()] for link, (n, sha) in links.items()}, "unit": unit}))
