"""Checks whether this user may open a board's USB devices: the serial port, and the chip that loads bitstreams."""

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
"""Names that Linux gives to serial ports of USB chips."""

GROUPS = ("dialout", "uucp")
"""Groups that may own serial ports, of which the first that exists is the owner. Debian has both, Arch the second."""

RULES = tuple(map(Path, ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")))
VENDOR = "0403"
"""USB vendor ID of FTDI, whose chips load the ULX3S and the ECPIX-5."""

OPENS = re.compile(r'TAG\+="uaccess"|MODE:?="0?666"|GROUP:?="')
"""Matches a udev rule that gives users access to a device."""

RULE = f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{VENDOR}", MODE="0660", GROUP="plugdev", TAG+="uaccess"'


def _port(path: Path) -> HostFinding:
    """Finding for a serial port that exists."""
    number = path.stat().st_gid
    group = next((entry.gr_name for entry in grp.getgrall() if entry.gr_gid == number), str(number))
    open_to_us = os.access(path, os.R_OK | os.W_OK)
    text = str(path) if open_to_us else f"{path} is not accessible to this user, only to group {group}"
    return HostFinding("serial port", open_to_us, text, "a board on that port", _join(group))


def _join(group: str) -> str:
    return f"sudo usermod -aG {group} $USER, then log in again"


def _group() -> HostFinding:
    """Finding if no serial port exists: whether this user is in the group that will own a port."""
    uses = "a board on a serial port"
    known = {entry.gr_name: entry.gr_gid for entry in grp.getgrall()}
    there = [name for name in GROUPS if name in known]
    if os.geteuid() == 0 or not there:
        return HostFinding("serial ports", True, "no port found; this user may open every port", uses, "")
    name = there[0]
    if known[name] in {os.getegid(), *os.getgroups()}:
        return HostFinding("serial ports", True, f"no port found; this user is in group {name}", uses, "")
    return HostFinding("serial ports", False, f"no port found, and this user is not in group {name}, which owns serial "
                       "ports", uses, _join(name))


def _lines(file: Path) -> list[str]:
    """Lines of a text file; an empty list if the file cannot be read."""
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _rules(folders: Sequence[Path]) -> HostFinding:
    """Finding for a udev rule that gives users other than root access to FTDI chips."""
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.rules"))]
    found = [file for file in files for line in _lines(file)
             if not line.startswith("#") and f'"{VENDOR}"' in line and OPENS.search(line)]
    uses = "`flash` for an ULX3S or ECPIX-5 by a user other than root"
    root = os.geteuid() == 0
    remedy = f"echo '{RULE}' | sudo tee /etc/udev/rules.d/60-ftdi.rules, and plug the board in again"
    if found:
        return HostFinding("udev rules", True, str(found[0]), uses, remedy)
    return HostFinding("udev rules", root, "no rule for FTDI; root needs none" if root else "", uses, remedy)


def permissions(devices: Path = DEVICES, rules: Sequence[Path] = RULES) -> Iterator[HostFinding]:
    """Yield findings for access to the serial ports and to the chips that load bitstreams."""
    ports = sorted(path for pattern in PORTS for path in devices.glob(pattern))
    yield from map(_port, ports) if ports else [_group()]
    yield _rules(rules)
