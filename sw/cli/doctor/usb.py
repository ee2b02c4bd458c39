"""Whether this user may open what a board has on USB: its serial port, and the chip that loads it."""

from __future__ import annotations

import grp
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sw.cli.doctor.finding import HostFinding

__all__ = ["permissions"]

DEVICES = Path("/dev")
PORTS = ("ttyUSB*", "ttyACM*")
"""What Linux calls the serial ports of USB chips."""

GROUPS = ("dialout", "uucp")
"""Owner of serial ports: the first of these that there is; Debian has both, Arch the second."""

RULES = tuple(map(Path, ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")))
VENDOR = "0403"
"""FTDI, whose chips load the ULX3S and the ECPIX-5."""

OPENS = re.compile(r'TAG\+="uaccess"|MODE:?="0?666"|GROUP:?="')
"""What makes a rule of udev give a device to a user."""

RULE = f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{VENDOR}", MODE="0660", GROUP="plugdev", TAG+="uaccess"'


def _port(path: Path) -> HostFinding:
    """A port that is there."""
    number = path.stat().st_gid
    group = next((entry.gr_name for entry in grp.getgrall() if entry.gr_gid == number), str(number))
    open_to_us = os.access(path, os.R_OK | os.W_OK)
    text = str(path) if open_to_us else f"{path} is closed to this user, open to group {group}"
    return HostFinding("serial port", open_to_us, text, "a board on that line", _join(group))


def _join(group: str) -> str:
    return f"sudo usermod -aG {group} $USER, then log in again"


def _group() -> HostFinding:
    """Where no port is there to look at: the group that will own it."""
    uses = "a board on a serial line"
    known = {entry.gr_name: entry.gr_gid for entry in grp.getgrall()}
    there = [name for name in GROUPS if name in known]
    if os.geteuid() == 0 or not there:
        return HostFinding("serial ports", True, "no port is there; none is closed to this user", uses, "")
    name = there[0]
    if known[name] in {os.getegid(), *os.getgroups()}:
        return HostFinding("serial ports", True, f"no port is there; this user is in group {name}", uses, "")
    return HostFinding("serial ports", False, f"no port is there, and this user is not in group {name}, which will own "
                       "it", uses, _join(name))


def _lines(file: Path) -> list[str]:
    """Of a text; none of one that cannot be read."""
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _rules(folders: Sequence[Path]) -> HostFinding:
    """A rule of udev that opens the chips of FTDI to others than root."""
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.rules"))]
    found = [file for file in files for line in _lines(file)
             if not line.startswith("#") and f'"{VENDOR}"' in line and OPENS.search(line)]
    uses = "`flash` of an ULX3S or ECPIX-5 as another user than root"
    root = os.geteuid() == 0
    remedy = f"echo '{RULE}' | sudo tee /etc/udev/rules.d/60-ftdi.rules, and plug the board in again"
    if found:
        return HostFinding("udev rules", True, str(found[0]), uses, remedy)
    return HostFinding("udev rules", root, "none for FTDI; root needs none" if root else "", uses, remedy)


def permissions(devices: Path = DEVICES, rules: Sequence[Path] = RULES) -> Iterator[HostFinding]:
    """What there is of serial ports, and whether it is open; whether programmers will be."""
    ports = sorted(path for pattern in PORTS for path in devices.glob(pattern))
    yield from map(_port, ports) if ports else [_group()]
    yield _rules(rules)
