"""`with host:` makes programs that know nothing of labstack use the host's stack.

    with a:
        page = urllib.request.urlopen("http://b/").read()      # over a's TCP, in virtual time

Python's own network modules all end in a few names: `socket.socket`, `select.select`, `time.sleep`, … While
a host is selected anywhere, each of these is replaced by one that looks who asks:

    socket.socket(…) ──► is a host selected here? ──► yes: a Socket of that host
                                                  └─► no:  the operating system's, as ever

*Here* is a context (`contextvars`): this thread, or this asyncio task. A thread that is started under a host
carries it along; everybody else in the process, such as the notebook's own kernel, goes on as before. In
simulation time and threads are the host's as well (`compat_threads`), in real time they are the machine's.

Not reached: names that a module took by `from socket import socket` before a host was selected, and programs
in C with descriptors of their own.
"""

from __future__ import annotations

import errno
import functools
import os
import select
import selectors
import socket as posix
import time
from _thread import allocate_lock
from collections.abc import Callable
from contextvars import ContextVar
from socket import fromfd as os_fromfd
from types import TracebackType
from typing import Any, Protocol

from labstack.core.addresses import ANY, IPAddress
from labstack.core.clock import Program
from labstack.core.units import SECOND
from labstack.sockets.kinds import AF_PACKET
from labstack.sockets.selector import Selector
from labstack.sockets.socket import Socket
from labstack.sockets.stack import Stack

EPOCH = 1_767_225_600
"""What `time.time()` says at the beginning of a simulation: 2026-01-01, 0:00 UTC, so that dates look like
dates and are the same in each run."""


class Machine(Stack, Protocol):
    """A host, as programs see it."""

    name: str

    def socket(
        self, type: int = posix.SOCK_STREAM, proto: int = 0, family: int = posix.AF_INET
    ) -> Socket: ...

    def adopt(self, fileno: int) -> Socket: ...

    def selector(self) -> Selector: ...

    def spawn(self, fn: Callable[..., object], *args: object, name: str = "") -> Program: ...


# The machines selected here, the innermost last. Whose stack a program uses is a property of the running
# program, not of a host; so this one thing no host can own.
_SELECTED: ContextVar[tuple[Machine, ...]] = ContextVar("labstack hosts", default=())


def selected() -> Machine | None:
    """The host whose stack the running program uses; None: the operating system's."""
    machines = _SELECTED.get()
    return machines[-1] if machines else None


def selected_virtual() -> Machine | None:
    """The selected host, if it lives in virtual time."""
    machine = selected()
    return machine if machine is not None and machine.driver.virtual else None


def enter(machine: Machine) -> None:
    """Use this machine's stack from now on, here."""
    PATCH.enter()
    select_here(machine)


def select_here(machine: Machine) -> None:
    """What `enter` does, where somebody else has entered already and stays until we are done."""
    _SELECTED.set((*_SELECTED.get(), machine))


def leave() -> None:
    """Use again what was used before the last `enter`."""
    _SELECTED.set(_SELECTED.get()[:-1])
    PATCH.leave()


def on(machine: Machine, fn: Callable[..., object]) -> Callable[..., object]:
    """`fn`, but run on this machine's stack."""
    replacements()  # now, at the caller's cost: the new program is to begin at once

    @functools.wraps(fn)
    def run(*args: object) -> object:
        enter(machine)
        try:
            return fn(*args)
        finally:
            leave()

    return run


class outside:
    """Inside of this, no host is selected: for the threads and locks of the drivers themselves."""

    def __enter__(self) -> None:
        self._token = _SELECTED.set(())

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        _SELECTED.reset(self._token)


class Patch:
    """The replaced names. They are put in place by the first who enters, and taken away by the last who
    leaves."""

    def __init__(self) -> None:
        self._users = 0
        self._lock = allocate_lock()
        self._put: list[tuple[Any, str, object, object]] = []

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            for owner, name, new in replacements():
                self._put.append((owner, name, new, getattr(owner, name)))
                setattr(owner, name, new)

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            while not self._users and self._put:
                owner, name, new, before = self._put.pop()
                if getattr(owner, name) is new:  # else somebody has replaced it meanwhile, and knows why
                    setattr(owner, name, before)


PATCH = Patch()


@functools.cache
def replacements() -> list[tuple[Any, str, object]]:
    """All that is replaced: in which module or class, by which name, by what. Made once, before anything is
    replaced, so that who kept one of them finds the same again."""
    import _thread
    import asyncio
    import queue
    import socketserver
    import ssl
    import threading

    from labstack.sockets import aio, compat_threads, tls

    found: list[tuple[Any, str, object]] = [
        (posix, "socket", either(posix.socket, _socket, (Socket, tls.TLSSocket))),
        (posix, "fromfd", _either(posix.fromfd, fromfd)),
        (posix, "socketpair", _either(posix.socketpair, socketpair)),
        (posix, "gethostname", _either(posix.gethostname, lambda host: host.name)),
        (posix, "gethostbyname", _either(posix.gethostbyname, lambda host, name: str(host.resolve(name)))),
        (posix, "gethostbyname_ex", _either(posix.gethostbyname_ex, _by_name)),
        (posix, "gethostbyaddr", _either(posix.gethostbyaddr, _by_name)),
        (posix, "getaddrinfo", _either(posix.getaddrinfo, getaddrinfo)),
        (posix, "getnameinfo", _either(posix.getnameinfo, getnameinfo)),
        (posix, "if_nameindex", _either(posix.if_nameindex, if_nameindex)),
        (posix, "if_nametoindex", _either(posix.if_nametoindex, if_nametoindex)),
        (posix, "if_indextoname", _either(posix.if_indextoname, if_indextoname)),
        (ssl.SSLContext, "sslsocket_class", tls.either(ssl.SSLSocket)),
        (select, "select", _either(select.select, compat_threads.select)),
        (select, "poll", _either(select.poll, compat_threads.Poll)),
    ]
    for name in ("DefaultSelector", "SelectSelector", "PollSelector", "EpollSelector"):
        if original := getattr(selectors, name, None):
            new = either(original, lambda host: host.selector(), (Selector,))
            found.append((selectors, name, new))
            if getattr(socketserver, "_ServerSelector", None) is original:
                found.append((socketserver, "_ServerSelector", new))
    run = asyncio.run
    loops = either(asyncio.SelectorEventLoop, lambda host, *_: aio.HostLoop(host), (aio.HostLoop,))
    new_loop = _either(asyncio.new_event_loop, aio.HostLoop)
    found += [
        (asyncio, "SelectorEventLoop", loops),
        (asyncio, "new_event_loop", new_loop),
        (asyncio.events, "new_event_loop", new_loop),
        (
            asyncio,
            "run",
            _either(asyncio.run, lambda host, *args, **options: aio.run_nested(run, *args, **options)),
        ),
        (_thread, "start_new_thread", _either(_thread.start_new_thread, compat_threads.start_new_thread)),
        *compat_threads.replacements(threading, queue),
    ]
    clocks: dict[str, Callable[[Machine], float]] = {
        "time": lambda host: EPOCH + host.driver.now / SECOND,
        "monotonic": lambda host: host.driver.now / SECOND,
        "perf_counter": lambda host: host.driver.now / SECOND,
        "time_ns": lambda host: EPOCH * SECOND + host.driver.now,
        "monotonic_ns": lambda host: host.driver.now,
        "perf_counter_ns": lambda host: host.driver.now,
    }
    for name, clock in clocks.items():
        found.append((time, name, _either(getattr(time, name), clock, selected_virtual)))
    found.append((time, "sleep", _either(time.sleep, compat_threads.sleep, selected_virtual)))
    # These took theirs by `from time import monotonic`.
    monotonic = next(new for owner, name, new in found if owner is time and name == "monotonic")
    found += [(threading, "_time", monotonic), (queue, "time", monotonic), (socketserver, "time", monotonic)]
    return found


def _either(
    original: Callable[..., Any],
    here: Callable[..., Any],
    which: Callable[[], Machine | None] = selected,
) -> Callable[..., Any]:
    """A function that calls `here(host, …)` under a host, and `original(…)` elsewhere."""

    @functools.wraps(original)
    def call(*args: Any, **options: Any) -> Any:
        machine = which()
        if machine is None:
            return original(*args, **options)
        return here(machine, *args, **options)

    return call


def either(original: Any, here: Callable[..., Any], kinds: tuple[type, ...]) -> Any:
    """A class in place of `original`: calling it under a host gives what `here(host, …)` returns (None: as
    elsewhere), and what is of one of `kinds` counts as an instance of it."""
    base: Any = type(original)

    class Either(base):  # type: ignore[misc]
        def __call__(cls, *args: Any, **options: Any) -> Any:
            if cls is not new:
                return super().__call__(*args, **options)
            machine = selected()
            made = here(machine, *args, **options) if machine is not None else None
            return made if made is not None else original(*args, **options)

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, (original, *kinds) if cls is new else ()) or (
                cls is not new and super().__instancecheck__(instance)
            )

        def __subclasscheck__(cls, other: type) -> bool:
            return issubclass(other, original) if cls is new else super().__subclasscheck__(other)

    told = {"__module__": original.__module__, "__doc__": original.__doc__}
    new = Either(original.__name__, (original,), told)
    return new


def _socket(
    host: Machine, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
) -> Socket | None:
    """`socket.socket(…)` on a host; None for what is no matter of the network."""
    if fileno is not None:
        return host.adopt(fileno) if fileno in host.sockets else None
    if family not in (-1, posix.AF_INET, posix.AF_INET6, AF_PACKET):
        return None
    kind = posix.SOCK_STREAM if type == -1 else type
    plain = kind & ~(posix.SOCK_NONBLOCK | posix.SOCK_CLOEXEC)
    new = host.socket(plain, max(proto, 0), posix.AF_INET if family == -1 else family)
    if kind & posix.SOCK_NONBLOCK:
        new.setblocking(False)
    return new


def fromfd(host: Machine, fd: int, *kind: int) -> Any:
    """`socket.fromfd`: a copy of the host's socket with this number, or of the machine's."""
    ours = host.sockets.get(fd)
    return ours.dup() if ours is not None else os_fromfd(fd, *kind)


def socketpair(host: Machine, *args: object) -> tuple[Socket, Socket]:
    """Two sockets of the host, connected to each other: programs wake themselves with such a pair, in a
    `select` over it and the host's other sockets."""
    with host.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        one = host.socket()
        one.connect(listener.getsockname())
        other, _ = listener.accept()
    return one, other


# --- names --------------------------------------------------------------------------------------------------

PROTOCOLS = {posix.SOCK_STREAM: posix.IPPROTO_TCP, posix.SOCK_DGRAM: posix.IPPROTO_UDP}


def getaddrinfo(
    host: Machine,
    name: str | bytes | None,
    port: str | bytes | int | None,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    """`socket.getaddrinfo` with the names that the host knows."""
    if family not in (0, posix.AF_INET):
        raise posix.gaierror(posix.EAI_ADDRFAMILY, f"{host.name} has no addresses of family {family}")
    text = name.decode() if isinstance(name, bytes) else name
    if text is None:
        address = ANY if flags & posix.AI_PASSIVE else IPAddress.parse("127.0.0.1")
    elif flags & posix.AI_NUMERICHOST:
        try:
            address = IPAddress.parse(text)
        except ValueError:
            raise posix.gaierror(posix.EAI_NONAME, "Name or service not known") from None
    else:
        address = host.resolve(text)
    kinds = [
        (kind, number) for kind, number in PROTOCOLS.items() if type in (0, kind) and proto in (0, number)
    ]
    if not kinds:
        raise posix.gaierror(posix.EAI_SOCKTYPE, "ai_socktype not supported")
    canonical = (text or "") if flags & posix.AI_CANONNAME else ""
    return [
        (posix.AF_INET, kind, number, canonical, (str(address), _service(port, number)))
        for kind, number in kinds
    ]


def _service(port: str | bytes | int | None, protocol: int) -> int:
    text = port.decode() if isinstance(port, bytes) else port
    if text is None or isinstance(text, int):
        return text or 0
    if text.isdecimal():
        return int(text)
    try:
        return posix.getservbyname(text, "tcp" if protocol == posix.IPPROTO_TCP else "udp")
    except OSError:
        raise posix.gaierror(posix.EAI_SERVICE, f"no service has the name {text!r}") from None


def getnameinfo(host: Machine, address: tuple[Any, ...], flags: int) -> tuple[str, str]:
    """`socket.getnameinfo`: numbers, since a host knows addresses of names, but not names of addresses."""
    if flags & posix.NI_NAMEREQD:
        raise posix.gaierror(posix.EAI_NONAME, "Name or service not known")
    return str(host.resolve(address[0])), str(address[1])


def _by_name(host: Machine, name: str) -> tuple[str, list[str], list[str]]:
    return name, [], [str(host.resolve(name))]


def if_nameindex(host: Machine) -> list[tuple[int, str]]:
    """The interfaces, numbered from 1 in the order in which they were added."""
    return list(enumerate(host.interfaces, 1))


def if_nametoindex(host: Machine, name: str) -> int:
    if name not in host.interfaces:
        raise OSError("no interface with this name")
    return [*host.interfaces].index(name) + 1


def if_indextoname(host: Machine, index: int) -> str:
    if not 0 < index <= len(host.interfaces):
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
    return [*host.interfaces][index - 1]
