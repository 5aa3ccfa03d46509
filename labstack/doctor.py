"""`labstack doctor`: what this machine can do, and what to do where it cannot.

Simulation needs Python alone. A real Linux kernel at the other end of a TAP needs Linux, and a kernel or a
container engine that lets us have a network namespace; whether it does is found out by making one.
"""

from __future__ import annotations

import importlib.metadata
import json as json_format
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from labstack.link.tap import TUN, open_tun
from labstack.linux import LinuxPeer
from labstack.linux_namespace import Way, in_container

Purpose = Literal["simulation", "linux", "notebooks", "programs"]

PURPOSES: dict[Purpose, str] = {
    "simulation": "Simulation",
    "linux": "A real Linux kernel at the other end (LinuxPeer)",
    "notebooks": "Python packages for the book",
    "programs": "Programs that tests and chapters use where they are there",
}

PACKAGES = ("jupyterlab", "ipywidgets", "matplotlib", "pandas", "scapy")
PROGRAMS = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "curl": "curl",
    "nginx": "nginx-light",
    "iperf3": "iperf3",
    "nmap": "nmap",
    "hping3": "hping3",
    "tshark": "tshark",
}
"""Each with the package of Debian and Ubuntu that has it."""

TAP = "a TAP in a network namespace"
WAYS: dict[Way, str] = {
    "root": "can be made, as root",
    "user": "can be made, in a user namespace: the programs in it see one user, root",
    "container": "can be made in this container's own network, one at a time",
}

CONTAINER_REMEDY = f"start the container with `--cap-add NET_ADMIN --device {TUN}`"

# Switches by which a kernel denies user namespaces to ordinary users: the file, what it then holds, and the
# remedy.
SWITCHES = (
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
     "Ubuntu: `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0",
     "Debian: `sudo sysctl -w kernel.unprivileged_userns_clone=1`"),
    ("/proc/sys/user/max_user_namespaces", "0", "`sudo sysctl -w user.max_user_namespaces=10000`"),
)  # fmt: skip


@dataclass(slots=True)
class Check:
    """One thing that was looked at: whether it is there, what was seen, and the remedy where it is not."""

    purpose: Purpose
    name: str
    ok: bool
    seen: str
    remedy: str = ""


def diagnose() -> list[Check]:
    """Look at everything. Takes half a second, and leaves nothing behind."""
    checks = [_python(), _simulation(), _tun(), _tap()]
    checks += [_package(name) for name in PACKAGES]
    checks += [_program(name, package) for name, package in PROGRAMS.items()]
    return checks


def main(json: bool = False) -> int:
    """Print the diagnosis; the exit status is 0 when simulation works, also where a TAP does not."""
    checks = diagnose()
    if json:
        print(json_format.dumps({"checks": [asdict(check) for check in checks]}, indent=2))
    else:
        print("\n".join(_lines(checks)))
    return 0 if all(check.ok for check in checks if check.purpose == "simulation") else 1


def _lines(checks: list[Check]) -> list[str]:
    lines: list[str] = []
    for purpose, title in PURPOSES.items():
        lines += ["", title] if lines else [title]
        for check in checks:
            if check.purpose == purpose:
                lines.append(f"  {'✓' if check.ok else '✗'} {check.name}: {check.seen}")
                if check.remedy:
                    lines.append(f"      → {check.remedy}")
    return lines


def tap_remedy() -> str:
    """What to do where no TAP can be made: one sentence for this machine."""
    if not sys.platform.startswith("linux"):
        return f"work in simulation, or in a Linux container or virtual machine; there, {CONTAINER_REMEDY}"
    if in_container():
        return CONTAINER_REMEDY
    if not Path(TUN).exists():
        return "`sudo modprobe tun`"
    if not os.access(TUN, os.R_OK | os.W_OK):
        return f"`sudo chmod 666 {TUN}`, as most distributions have it, or run as root"
    if not shutil.which("unshare"):
        return "install util-linux, which has `unshare`"
    for file, denied, remedy in SWITCHES:
        if _content(file) == denied:
            return remedy
    return "run as root, or in a container: " + CONTAINER_REMEDY


def _python() -> Check:
    seen = "{}.{}.{}".format(*sys.version_info[:3])
    ok = sys.version_info >= (3, 11)
    return Check("simulation", "Python", ok, seen, "" if ok else "install Python 3.11 or later")


def _simulation() -> Check:
    from labstack.network import Network

    try:
        with Network() as net:
            a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
            net.wire(a, b, delay="20 ms")
            (took,) = a.ping("b")
    except Exception as error:
        return Check("simulation", "two hosts and a wire", False, repr(error), "install labstack anew")
    seen = f"a ping over 20 ms of wire and back took {took} s of virtual time, ARP included"
    return Check("simulation", "two hosts and a wire", took is not None, seen)


def _tun() -> Check:
    try:
        os.close(open_tun())
    except OSError as error:
        return Check("linux", TUN, False, error.strerror or str(error), tap_remedy())
    return Check("linux", TUN, True, "can be opened")


def _tap() -> Check:
    try:
        with LinuxPeer() as linux:
            way = linux.way
    except OSError as error:
        return Check("linux", TAP, False, error.strerror or str(error), tap_remedy())
    return Check("linux", TAP, True, WAYS[way])


def _package(name: str) -> Check:
    try:
        return Check("notebooks", name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        remedy = f"`pip install {name}`, or `make lab` for all"
        return Check("notebooks", name, False, "not installed", remedy)


def _program(name: str, package: str) -> Check:
    # An ordinary user's PATH often lacks the places where programs for administrators are.
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    remedy = "" if found else f"`apt install {package}`"
    return Check("programs", name, bool(found), found or "not found", remedy)


def _content(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""
