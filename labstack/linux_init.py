"""The first process of a `LinuxPeer`'s network namespace: it starts the programs there, and they die with it.

Run as a file of its own, on the standard library alone: `python -I -S linux_init.py SOCKET [PARENT]`. It
answers requests that come over a socket as JSON, with file descriptors beside them; it ends when the socket
is closed or the parent is gone, however the parent ended. Process number 1 of a PID namespace takes all
others in there with it (pid_namespaces(7)). Where it may not have a namespace of its own, in a container, it
adopts what its children leave behind (PR_SET_CHILD_SUBREAPER, prctl(2)) and kills it before it goes.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

MAX_MESSAGE = 1 << 20

# From <linux/prctl.h>
PR_SET_CHILD_SUBREAPER = 36


class Init:
    """The programs that run, by their process number, and the pipe on which the end of each is told."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self.control = control
        self.parent = parent
        self.number = 0  # of the request
        self.programs: dict[int, tuple[subprocess.Popen[bytes], int]] = {}

    def serve(self) -> None:
        """Answer until nobody is left who could ask."""
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        watched = [self.control.fileno(), woken] + ([self.parent] if self.parent >= 0 else [])
        self.answer({})
        while True:
            ready, _, _ = select.select(watched, (), ())
            if self.parent in ready:
                return
            if woken in ready:
                os.read(woken, 4096)
                self.reap()
            if self.control.fileno() in ready:
                message, descriptors, _, _ = socket.recv_fds(self.control, MAX_MESSAGE, 4)
                if not message:
                    return
                self.handle(json.loads(message), descriptors)

    def handle(self, request: dict[str, Any], descriptors: list[int]) -> None:
        kept: list[int] = []
        self.number = request.pop("number")
        try:
            match request.pop("do"):
                case "tun":
                    self.open_tun(**request)
                case "configure":
                    configure(**request)
                    self.answer({})
                case "run":
                    self.answer({"pid": self.run(descriptors, **request)})
                    kept = descriptors[3:]
                case "signal":
                    # A process that we have not reaped yet still has its number: no other can be hit.
                    if request["pid"] in self.programs:
                        os.kill(request["pid"], request["signal"])
                    self.answer({})
                case "ports":
                    self.answer({name: sorted(ports(name)) for name in ("tcp", "udp")})
        except (OSError, ValueError) as error:
            code, text = getattr(error, "errno", 0) or 0, getattr(error, "strerror", "") or str(error)
            self.answer({"errno": code, "error": text, "file": getattr(error, "filename", None)})
        finally:
            for descriptor in descriptors:
                if descriptor not in kept:
                    os.close(descriptor)

    def answer(self, reply: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        try:
            socket.send_fds(
                self.control, [json.dumps({"number": self.number, **reply}).encode()], descriptors
            )
        except OSError:
            pass  # the parent went in the meantime: the next select tells

    def open_tun(self, path: str) -> None:
        """A descriptor belongs to the network namespace in which it was opened: that is why we do it."""
        tun = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.answer({}, (tun,))
        os.close(tun)

    def run(self, descriptors: list[int], args: list[str], env: dict[str, str], cwd: str) -> int:
        stdin, stdout, stderr, status = descriptors
        started = subprocess.Popen(
            args, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, start_new_session=True
        )
        self.programs[started.pid] = started, status
        return started.pid

    def reap(self) -> None:
        """Children that ended, also those whose parent left them to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.programs:
                program, told = self.programs.pop(pid)
                program.returncode = os.waitstatus_to_exitcode(status)
                try:
                    os.write(told, b"%d" % program.returncode)
                except BrokenPipeError:
                    pass  # nobody asks any more
                os.close(told)

    def end_all(self) -> None:
        """Kill every child, and theirs as they become ours, until there is none."""
        while True:
            for pid in children():
                os.kill(pid, signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return


def children() -> Iterator[int]:
    """The processes whose parent we are."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    # The name, in brackets, may hold anything; behind it come the state and the parent.
                    if int(stat.read().rpartition(")")[2].split()[1]) == os.getpid():
                        yield int(name)
            except OSError:
                pass  # it ended while we looked


def ports(protocol: str) -> set[int]:
    """The ports at which somebody in this network namespace listens (TCP) or is bound (UDP)."""
    waiting = "0A" if protocol == "tcp" else "07"  # TCP_LISTEN and TCP_CLOSE of <net/tcp_states.h>
    found = set()
    for family in ("", "6"):
        try:
            with open(f"/proc/self/net/{protocol}{family}") as table:
                lines = table.read().splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        for line in lines:
            _, local, _, state, *_ = line.split()
            if state == waiting:
                found.add(int(local.rpartition(":")[2], 16))
    return found


def configure(name: str, address: str, length: int, network: str, mtu: int, queue: int, own: bool) -> None:
    """Bring the interface up with this address, and say nothing on it that nobody asked for."""
    if not own and taken(address):
        raise FileExistsError(errno.EEXIST, f"{address} is an address here already: choose another")
    # IPv6 would send frames at once. In a container, whose /proc/sys is read-only, it is only left without an
    # address.
    write(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "1")
    ipv6 = os.path.exists(f"/proc/sys/net/ipv6/conf/{name}")
    commands = [
        # Before the MTU is set: below 1,280 bytes there is no IPv6 that could be asked to be silent.
        *([f"link set dev {name} addrgenmode none"] if ipv6 else []),
        f"link set dev {name} mtu {mtu} txqueuelen {queue} up",
        f"address add {address}/{length} broadcast + dev {name}",
    ]
    if own:
        commands.append("link set dev lo up")
        # Each connection is to start afresh, not from what an earlier one measured.
        write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1")
    try:
        ip = ["ip", "-batch", "-"]
        subprocess.run(ip, input="\n".join(commands), capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "there is no ip: install iproute2") from None
    except subprocess.CalledProcessError as error:
        raise OSError(errno.EINVAL, f"{name} cannot be set up: {error.stderr.strip()}") from None
    # Linux's usual congestion control, also where the machine's is another. It is asked for on the route, for
    # a namespace may not set all that it may use. A kernel without CUBIC keeps its own.
    route = f"ip route change {network} dev {name} proto kernel scope link src {address} congctl cubic"
    subprocess.run(route.split(), stdin=subprocess.DEVNULL, capture_output=True, check=False)


def taken(address: str) -> bool:
    """Whether some interface of this network namespace has the address."""
    try:
        with open("/proc/self/net/fib_trie") as routes:
            return any(line.strip() == f"|-- {address}" for line in routes)
    except OSError:
        return False  # no interface has any


def write(path: str, value: str) -> bool:
    try:
        with open(path, "w") as file:
            file.write(value)
        return True
    except OSError:
        return False  # not ours to set here


def main() -> None:
    for descriptor in map(int, sys.argv[1:]):
        os.set_inheritable(descriptor, False)
    init = Init(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]) if len(sys.argv) > 2 else -1)
    if os.getpid() == 1:
        init.serve()
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        init.serve()
    finally:
        init.end_all()


if __name__ == "__main__":
    main()
