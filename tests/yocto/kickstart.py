"""Reads wks files: the partitions that wic would make."""

import argparse
import shlex
from pathlib import Path

MIB = 1 << 20


def kickstart(path: Path):
    """The partitions and the boot loader line of a wks file; an option that wic does not document is an error."""
    part = argparse.ArgumentParser(prog="part", allow_abbrev=False)
    part.add_argument("mountpoint", nargs="?")
    for option in "--source --sourceparams --ondisk --fstype --fsoptions --label --mkfs-extraopts --part-name --part-type --system-id".split():
        part.add_argument(option)
    part.add_argument("--align", type=int)
    part.add_argument("--active", action="store_true")
    part.add_argument("--fixed-size", type=lambda text: int(text.removesuffix("M")) * MIB, required=True)
    loader = argparse.ArgumentParser(prog="bootloader", allow_abbrev=False)
    loader.add_argument("--ptable", choices=("msdos", "gpt"))
    loader.add_argument("--append")
    parts, table = [], None
    for line in path.read_text().splitlines():
        word, *rest = shlex.split(line, comments=True) or [""]
        if word == "part":
            parts.append(part.parse_args(rest))
        elif word == "bootloader":
            table = loader.parse_args(rest).ptable
        elif word:
            raise AssertionError(f"{path.name}: {line}")
    return parts, table
