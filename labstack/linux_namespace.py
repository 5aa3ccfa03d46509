"""The network namespace of a `LinuxPeer`: how this machine lets us have one, and the process in which it
lives.

That process is `linux_init`, started through unshare(1). It is asked for things over a socket: one JSON
message a request and one an answer, with file descriptors beside them.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal

Way = Literal["root", "user", "container"]

# From <linux/capability.h> and <linux/proc_ns.h>
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21
PROC_PID_INIT_INO = 0xEFFFFFFC

_NEW = ["unshare", "--net", "--pid", "--fork", "--kill-child"]
_MAX_MESSAGE = 1 << 20


class Namespace:
    """A running namespace. `tun` is the descriptor of its TAP, which we keep for as long as it lives."""

    def __init__(self, way: Way, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self.way = way
        self.tun = -1
        self._process = process
        self._control = control
        self._numbers = count(1)
        self._one_at_a_time = threading.Lock()
        self._made_by = os.getpid()

    def ask(
        self, do: str, descriptors: Sequence[int] = (), **request: object
    ) -> tuple[dict[str, Any], list[int]]:
        """Have something done there. Returns the answer and its descriptors; raises OSError with what came of
        it."""
        with self._one_at_a_time:
            if self._control.fileno() < 0:
                raise OSError("this LinuxPeer is closed: make a new one")
            number = next(self._numbers)
            message = json.dumps({"number": number, "do": do, **request}).encode()
            try:
                socket.send_fds(self._control, [message], descriptors)
                while True:
                    reply, received = self._answer()
                    if reply["number"] == number:
                        break
                    for descriptor in received:  # the answer to a request that Ctrl-C broke off
                        os.close(descriptor)
            except (BrokenPipeError, ConnectionResetError):
                raise OSError("the network namespace has ended: make a new LinuxPeer") from None
        if "error" in reply:
            raise OSError(reply["errno"], reply["error"], reply["file"])
        return reply, received

    def _answer(self) -> tuple[dict[str, Any], list[int]]:
        message, descriptors, _, _ = socket.recv_fds(self._control, _MAX_MESSAGE, 1)
        if not message:
            raise BrokenPipeError
        return json.loads(message), list(descriptors)

    def close(self) -> None:
        """End it, with all that runs in it."""
        with self._one_at_a_time:
            if os.getpid() == self._made_by:
                # Closing is not enough where a process that we forked has the socket as well.
                self._control.shutdown(socket.SHUT_RDWR)
            self._control.close()
        if os.getpid() != self._made_by:
            return  # we are that process: it is not ours to end
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()  # and its child with it: --kill-child
            self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
        if self.tun >= 0:
            os.close(self.tun)
            self.tun = -1


def begin() -> Namespace:
    """Start a namespace in the first way that this machine allows. Raises OSError with what each of them
    said."""
    said: list[str] = []
    for way, command in ways():
        try:
            return _start(way, command)
        except OSError as error:
            text = error.strerror or str(error)
            if text not in said:
                said.append(text)
    told = "; ".join(said)
    text = f"no network namespace can be made here ({told}): `labstack doctor` says what can be done about it"
    raise PermissionError(errno.EPERM, text)


def ways() -> Iterator[tuple[Way, list[str]]]:
    """What to try, the best first, each with the words to put before the command."""
    if has_capability(CAP_SYS_ADMIN):
        yield "root", [*_NEW, "--mount-proc"]
        # Some containers that may make namespaces may not mount /proc. All but `ps` does without.
        yield "root", _NEW
    yield "user", [*_NEW, "--user", "--map-root-user", "--mount-proc"]
    yield "user", [*_NEW, "--user", "--map-root-user"]
    if has_capability(CAP_NET_ADMIN):
        yield "container", []


def has_capability(number: int) -> bool:
    """Whether this process has a capability (capabilities(7)), by its number."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> number & 1)


def in_container() -> bool:
    """Whether this seems to be a container: process numbers of its own, or the mark that an engine leaves."""
    try:
        if os.stat("/proc/self/ns/pid").st_ino != PROC_PID_INIT_INO:
            return True
    except OSError:
        pass  # no /proc, or an old kernel
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def _start(way: Way, command: list[str]) -> Namespace:
    if command and not shutil.which("unshare"):
        raise FileNotFoundError(errno.ENOENT, "there is no unshare: install util-linux")
    if way == "container":
        _refuse_real_interfaces()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_MESSAGE)
    descriptors = [theirs.fileno()]
    try:
        # The end of the socket tells that we are gone; but a process that we forked may hold on to it.
        descriptors.append(os.pidfd_open(os.getpid()))
    except OSError:
        pass  # before Linux 5.3
    program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("linux_init.py"))]
    try:
        process = subprocess.Popen(
            [*command, *program, *map(str, descriptors)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C in a terminal is meant for us alone
        )
    finally:
        theirs.close()
        for descriptor in descriptors[1:]:
            os.close(descriptor)
    namespace = Namespace(way, process, ours)
    try:
        namespace._answer()
    except OSError:
        process.wait()
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
        namespace.close()
        raise OSError(f"{way}: {said or 'ended at once'}") from None
    return namespace


def _refuse_real_interfaces() -> None:
    """A container's network is made of software. Where there is hardware, it is the machine's own."""
    try:
        shown = subprocess.run(
            ["ip", "-json", "-details", "link", "show"], capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        raise FileNotFoundError(errno.ENOENT, "there is no ip: install iproute2") from None
    for interface in json.loads(shown):
        if "parentdev" in interface:
            text = f"this network has {interface['ifname']}, a real interface, and is left alone"
            raise PermissionError(errno.EPERM, text)
