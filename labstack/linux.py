"""LinuxPeer: a real Linux kernel as the other machine, with a TAP between it and labstack.

    with LinuxPeer() as linux:
        linux.run(["python3", "-m", "http.server", "8000"])
        linux.wait_for_port(8000)
        host = linux.host()
        s = host.connect((linux.address, 8000))

It lives in a network namespace of its own, and never touches the machine's interfaces:

    ┌ this process ───────────┐      ┌ network namespace ──────────────────┐
    │ Host ── RealTime ── Tap ═╪══════╪═ tap0  192.168.77.1   nginx, curl … │
    └─────── 192.168.77.2 ────┘      └─────────────────────────────────────┘

- As root, `unshare` makes the namespace, and a PID namespace with it, so that all that runs in there ends
  together.
- As an ordinary user, a user namespace comes on top, in which one may do so (user_namespaces(7)).
- In a container that may administer its own network, but make no namespaces, that network is used, by one at
  a time.

When the process that made it ends, however it does, nothing is left: see `linux_init`.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from random import SystemRandom
from typing import IO, TYPE_CHECKING, Any, Literal

from labstack.core.addresses import InterfaceAddress, IPAddress
from labstack.drivers.realtime import RealTime
from labstack.link.tap import TUN, Tap, attach, random_mac, why_no_tun
from labstack.linux_namespace import Namespace, Way, begin
from labstack.linux_program import LinuxCommandFailed, LinuxProgram, how_it_ended

if TYPE_CHECKING:
    from labstack.host import Host
    from labstack.observe.linux_flow import LinuxFlow


class LinuxPeer:
    """A Linux kernel at the other end of a TAP.

    - `address`: its own, with the length of the prefix; `host_address`: labstack's, in the same network.
    - `mtu`: of the TAP, in bytes. `queue`: frames that wait in it for labstack. Linux's usual 1,000 are fewer
      than a window of 2 MB takes, and what does not fit is dropped in silence.
    - `name`: of the TAP, in the namespace.

    Afterwards `address` and `host_address` are without prefix, `tap` is the name, `mtu` the MTU, and `way`
    says what it is: "root", "user" (a user namespace: programs see one user, root) or "container". Raises
    OSError where none can be had, in words that `labstack doctor` explains.
    """

    def __init__(
        self,
        address: str = "192.168.77.1/24",
        host_address: str = "192.168.77.2",
        *,
        mtu: int = 1500,
        queue: int = 10_000,
        name: str = "tap0",
    ) -> None:
        own = InterfaceAddress.parse(address)
        if IPAddress.parse(host_address) not in own.prefix or host_address == str(own.address):
            raise ValueError(f"{host_address} must be another address of {own.prefix}, where {address} is")
        if not sys.platform.startswith("linux"):
            raise OSError("LinuxPeer needs Linux: work in simulation, Network(), or in a Linux container")
        self.address, self.length = str(own.address), own.length
        self.host_address = host_address
        self.mtu = mtu
        self._mac = random_mac()
        self._device: Tap | None = None
        self._host: Host | None = None
        self._programs: deque[LinuxProgram] = deque(maxlen=16)
        self._namespace = begin()
        self.way: Way = self._namespace.way
        self._end = weakref.finalize(self, Namespace.close, self._namespace)  # also at the interpreter's exit
        try:
            self.tap = self._make_tap(name, own, queue)
        except BaseException:
            self._end()
            raise

    def _make_tap(self, name: str, own: InterfaceAddress, queue: int) -> str:
        namespace = self._namespace
        try:
            _, (namespace.tun,) = namespace.ask("tun", path=TUN)
        except OSError as error:
            raise OSError(error.errno, why_no_tun(error.errno)) from None
        try:
            name = attach(namespace.tun, name)
        except OSError as error:
            if error.errno == errno.EBUSY and self.way == "container":
                text = "this container's network has a LinuxPeer already: close that one first"
                raise OSError(errno.EBUSY, text) from None
            raise
        namespace.ask(
            "configure",
            name=name,
            address=self.address,
            length=self.length,
            network=str(own.prefix),
            mtu=self.mtu,
            queue=queue,
            own=self.way != "container",
        )
        return name

    # --- labstack's end -------------------------------------------------------------------------------------

    def device(self, offload: bool = False) -> Tap:
        """The TAP, for one who brings a stack of his own. There is one at a time: close it before the
        next."""
        if self._device is not None and self._device.fileno() >= 0:
            raise OSError(f"{self.tap} has a host already: close that one, or make a second LinuxPeer")
        self._namespace.ask("ports")  # raises if the namespace is gone
        device = Tap.from_fd(os.dup(self._namespace.tun), self.tap, self.mtu, offload, self._mac)
        while device.drain():
            pass  # what was meant for whoever was here before
        self._device = device
        return device

    def host(self, name: str = "lab", offload: bool = False, **options: Any) -> Host:
        """A `Host` in real time at this end: interface eth0, and a default route through Linux, which it
        knows by the name "linux". With `offload`, segments of 64 KB cross the TAP in one piece. `options` are
        those of `Host`.
        """
        from labstack.host import Host

        secrets = SystemRandom()
        linux = IPAddress.parse(self.address)
        options.setdefault("random", lambda purpose: secrets.random)
        options.setdefault("resolve", lambda name: linux if name == "linux" else None)
        device = self.device(offload)
        descriptor = device.fileno()
        driver = RealTime()
        try:
            host = Host(name, driver, **options)
            device.node = host.node
            device.on_close = lambda: driver.unwatch(descriptor)
            host.interface("eth0", f"{self.host_address}/{self.length}", device=device)
            host.route("0.0.0.0/0", via=self.address)
            host.on_close(driver.close)
            host.on_close(lambda: self._forget(host))
            driver.watch(descriptor, device.drain)
        except BaseException:
            device.close()
            driver.close()
            raise
        self._host = host
        return host

    def _forget(self, host: Host) -> None:
        # The host holds on to us through this: without us, its TAP would be gone.
        if self._host is host:
            self._host = None

    # --- Linux's end ----------------------------------------------------------------------------------------

    def run(
        self,
        args: Sequence[str | os.PathLike[str]],
        *,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> LinuxProgram:
        """Start a program in the namespace, and return at once.

        `stdin`, `stdout` and `stderr` are as for `subprocess.Popen`, but what is left out is kept for
        `LinuxProgram.output`. Raises FileNotFoundError and the like when it cannot be started.
        """
        program = self._start(args, (stdin, stdout, stderr), env, cwd)
        self._programs.append(program)
        return program

    def _start(
        self,
        args: Sequence[str | os.PathLike[str]],
        streams: Sequence[int | IO[Any] | None],
        env: Mapping[str, str] | None,
        cwd: str | os.PathLike[str] | None,
    ) -> LinuxProgram:
        words = [os.fspath(word) for word in args]
        opened: list[int] = []
        theirs: list[int] = []
        ours: list[IO[bytes] | None] = []
        kept = -1
        try:
            for number, stream in enumerate(streams):
                end: IO[bytes] | None = None
                if stream is None and number:
                    if kept < 0:
                        kept = _appending("output")
                    theirs.append(kept)
                elif stream is None or stream == subprocess.DEVNULL:
                    opened.append(os.open(os.devnull, os.O_RDWR))
                    theirs.append(opened[-1])
                elif stream == subprocess.STDOUT:
                    theirs.append(theirs[1])
                elif stream == subprocess.PIPE:
                    reading, writing = os.pipe()
                    end = os.fdopen(reading, "rb") if number else os.fdopen(writing, "wb")
                    opened.append(writing if number else reading)
                    theirs.append(opened[-1])
                else:
                    theirs.append(stream if isinstance(stream, int) else stream.fileno())
                ours.append(end)
            status, told = os.pipe()
            opened.append(told)
            environment = dict(os.environ if env is None else env)
            where = os.fspath(cwd or os.getcwd())
            try:
                reply, _ = self._namespace.ask("run", [*theirs, told], args=words, env=environment, cwd=where)
            except BaseException:
                os.close(status)
                if kept >= 0:
                    os.close(kept)
                raise
        finally:
            for descriptor in opened:
                os.close(descriptor)
        pid: int = reply["pid"]
        namespace = self._namespace

        def send(number: int) -> None:
            namespace.ask("signal", pid=pid, signal=int(number))

        return LinuxProgram(words, pid, status, send, (ours[0], ours[1], ours[2]), kept)

    def check(
        self,
        args: Sequence[str | os.PathLike[str]],
        *,
        input: str = "",
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; what it wrote is in `stdout` and `stderr` of the result.

        Raises LinuxCommandFailed, with its words, when its status is not 0, and subprocess.TimeoutExpired
        after `timeout` seconds.
        """
        streams = [os.fdopen(_appending(name), "w+b") for name in ("in", "out", "err")]
        try:
            streams[0].write(input.encode())
            streams[0].seek(0)
            program = self._start(args, streams, env, cwd)
            try:
                status = program.wait(timeout)
            except BaseException:
                program.kill()
                raise
            # The program moved the position that it shares with us.
            said = [
                os.pread(s.fileno(), os.fstat(s.fileno()).st_size, 0).decode(errors="replace")
                for s in streams[1:]
            ]
        finally:
            for stream in streams:
                stream.close()
        if status:
            raise LinuxCommandFailed(status, program.args, *said)
        return subprocess.CompletedProcess(program.args, status, *said)

    def sample(self, port: int, every: str | float = "20 ms") -> LinuxFlow:
        """The windows of the connection at `port` of this kernel, asked for `every` so often, to be laid over
        labstack's: `with linux.sample(5000) as flow: …`, then `trace.window(s).beside(flow)`."""
        from labstack.observe.linux_flow import LinuxFlow

        return LinuxFlow(self, port, every)

    def wait_for_port(self, port: int, timeout: float = 10, protocol: Literal["tcp", "udp"] = "tcp") -> None:
        """Wait until a program in the namespace listens at a TCP port, or is bound to a UDP port.

        Raises TimeoutError after `timeout` seconds, or at once when a program ended in failure and nobody
        listens.
        """
        deadline = time.monotonic() + timeout
        while True:
            # Before the ports: a daemon listens, then its starter ends.
            failed = bool(self._programs and self._programs[-1].poll())
            if port in self._namespace.ask("ports")[0][protocol]:
                return
            if failed or time.monotonic() > deadline:
                ran = "; ".join(
                    f"{' '.join(p.args)} {how_it_ended(p.poll())}: {p.output.strip()[-500:]}"
                    for p in self._programs
                )
                told = ran or "no program was started with run()"
                raise TimeoutError(f"nobody listens at {protocol} port {port}: {told}")
            # The kernel tells nobody that a port is listened at, so it must be asked again and again.
            time.sleep(0.005)

    # --- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End everything: the host, all programs, the namespace, the TAP. Closing twice does nothing."""
        host, self._host = self._host, None
        try:
            if host is not None:
                host.close()
        finally:
            if self._device is not None:
                self._device.close()
            self._end()

    def __enter__(self) -> LinuxPeer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LinuxPeer {self.address} on {self.tap}{'' if self._end.alive else ' (closed)'}>"


def _appending(name: str) -> int:
    """A file in memory, to whose end all is written. Otherwise what two threads write at once may lie on one
    another: Linux does not lock the position in such a file."""
    from fcntl import F_SETFL, fcntl  # not every system has it

    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    fcntl(descriptor, F_SETFL, os.O_APPEND)
    return descriptor
