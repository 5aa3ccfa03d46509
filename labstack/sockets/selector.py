"""Selector: one program waits for many sockets at once. The interface is that of Python's `selectors`.

It is level-triggered: a socket is reported for as long as it is ready, not once when it becomes so. And it
does not look at all of its sockets each time, as `select(2)` does, but only at those that something happened
to, as `epoll(7)` does:

    candidates   perhaps ready: looked at by each `select`. What is ready is reported, and stays here.
    armed        was not ready when last looked at: its socket's `Waiters` make it a candidate again.

So a server with a thousand quiet clients works only for the few that speak. In real time the machine's own
files may be among them: a terminal, a pipe, a UNIX-domain socket. Chapter 26 of the book.
"""

from __future__ import annotations

import errno
import math
import select
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector, SelectorKey
from typing import TYPE_CHECKING, Any, Protocol

from labstack.core.clock import Waiters
from labstack.core.units import SECOND
from labstack.sockets.socket import Socket

if TYPE_CHECKING:
    from labstack.sockets.stack import Stack

NAMED = 4
"""How many of its sockets a selector names when it says what it waits for."""


class HasFileno(Protocol):
    def fileno(self) -> int: ...


FileObject = int | HasFileno
"""A socket of this host, or something around one (a TLS socket), or its `fileno()`."""


class Watching(Protocol):
    """What a driver in real time can do besides: tell when a descriptor of the machine's can be read."""

    def watch(self, fileno: int, drain: Callable[[], object]) -> None: ...

    def unwatch(self, fileno: int) -> None: ...


class _Entry:
    """One registered socket."""

    __slots__ = ("key", "selector", "socket")

    def __init__(self, selector: Selector, socket: Socket, key: SelectorKey) -> None:
        self.selector = selector
        self.socket = socket
        self.key = key

    def ready(self) -> int:
        """Which of the events asked for have come."""
        wanted, socket = self.key.events, self.socket
        return (EVENT_READ if wanted & EVENT_READ and socket.readable() else 0) | (
            EVENT_WRITE if wanted & EVENT_WRITE and socket.writable() else 0
        )

    def arm(self) -> None:
        """Hear of it when something happens to the socket."""
        wanted = self.key.events
        for waiters in self.socket.waiters(bool(wanted & EVENT_READ), bool(wanted & EVENT_WRITE)):
            if self.wake not in waiters:
                waiters.append(self.wake)

    def disarm(self) -> None:
        for waiters in self.socket.waiters(True, True):
            if self.wake in waiters:
                waiters.remove(self.wake)

    def wake(self) -> None:
        self.selector._suspect(self)


class _MachineFile(_Entry):
    """One registered file of the machine's. An epoll of its own looks at it, and can itself be read when the
    file is ready; so the driver can wait for it as for a device."""

    __slots__ = ("_driver", "_epoll", "_number")

    def __init__(self, selector: Selector, driver: Watching, key: SelectorKey) -> None:
        super().__init__(selector, key.fileobj, key)  # type: ignore[arg-type]
        self._driver = driver
        self._epoll = select.epoll()
        self._number = self._epoll.fileno()
        self._epoll.register(key.fd, 0)

    def ready(self) -> int:
        wanted, reading, writing = self.key.events, select.EPOLLIN, select.EPOLLOUT
        try:
            self._epoll.modify(
                self.key.fd, bool(wanted & EVENT_READ) * reading | bool(wanted & EVENT_WRITE) * writing
            )
        except FileNotFoundError:
            return 0  # the program has closed it
        found = 0
        for _, came in self._epoll.poll(0):  # at its end, or in trouble, it is ready for whatever was asked
            found |= bool(came & ~writing) * EVENT_READ | bool(came & ~reading) * EVENT_WRITE
        return found & wanted

    def arm(self) -> None:
        self._driver.watch(self._number, self._came)

    def _came(self) -> None:
        self._driver.unwatch(self._number)
        self.wake()

    def disarm(self) -> None:
        self._driver.unwatch(self._number)
        self._epoll.close()


class Selector(BaseSelector):
    """Made by `host.selector()`. Takes this host's sockets and, in real time, files of the machine that epoll
    can wait for. Another host's sockets are not its to wait for.

    `woken` wakes when a socket may have become ready: for who waits for several things at once, such as an
    event loop.
    """

    def __init__(self, stack: Stack) -> None:
        self.woken = Waiters()
        self._stack = stack
        self._driver = stack.driver
        self._entries: dict[int, _Entry] = {}
        self._candidates: dict[int, _Entry] = {}  # in the order in which something happened to them
        self._map = _Map(self)

    def register(self, fileobj: FileObject, events: int, data: Any = None) -> SelectorKey:
        """Watch a socket for EVENT_READ, EVENT_WRITE or both. Raises KeyError if it is watched already,
        ValueError if it is closed or no socket of this host, PermissionError for a file of the machine's that
        nobody can wait for."""
        _check(events)
        fd = self._number(fileobj)
        with self._driver:
            if fd in self._entries:
                raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
            entry = self._make(SelectorKey(fileobj, fd, events, data))
            self._entries[fd] = entry
            self._suspect(entry)
        return entry.key

    def _make(self, key: SelectorKey) -> _Entry:
        socket, fileobj = self._stack.sockets.get(key.fd), key.fileobj
        # Two machines number their sockets alike: another's with this number is not meant.
        if socket is not None and (fileobj is socket or not isinstance(fileobj, Socket)):
            return _Entry(self, socket, key)
        if not self._driver.virtual and not isinstance(fileobj, Socket):
            driver: Any = self._driver
            try:
                return _MachineFile(self, driver, key)
            except OSError as error:
                # EINVAL: nothing had the number, so that the epoll itself has it now.
                if error.errno not in (errno.EBADF, errno.EINVAL):
                    raise
        raise ValueError(f"Invalid file object: {fileobj!r} is no open socket of {self._stack.node.name}")

    def unregister(self, fileobj: FileObject) -> SelectorKey:
        """Watch it no more. Raises KeyError if it is not watched."""
        with self._driver:
            entry = self._entry(fileobj)
            del self._entries[entry.key.fd]
            self._candidates.pop(entry.key.fd, None)
            entry.disarm()
        return entry.key

    def modify(self, fileobj: FileObject, events: int, data: Any = None) -> SelectorKey:
        """Watch it for other events, or keep other data with it."""
        _check(events)
        with self._driver:
            entry = self._entry(fileobj)
            entry.key = entry.key._replace(events=events, data=data)
            self._suspect(entry)
        return entry.key

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Wait until a socket is ready, at most `timeout` seconds (None: for ever; 0 or less: not at all).
        Each ready socket's key, and which of its events have come; an empty list when the time is up."""
        with self._driver:
            found = self._look()
        if found or (timeout is not None and timeout <= 0):
            return found
        # Rounded up: whoever is woken a nanosecond early would ask, and wait, in vain.
        limit = None if timeout is None else math.ceil(timeout * SECOND)

        def ready() -> bool:
            nonlocal found
            found = self._look()
            return bool(found)

        self._driver.block(ready, [self.woken], limit, self._what())
        return found

    def get_map(self) -> Mapping[FileObject, SelectorKey]:
        """What is watched: from the objects registered to their keys. After `close`, None."""
        return self._map

    def get_key(self, fileobj: FileObject) -> SelectorKey:
        """The key of a watched object. Raises KeyError if it is none, RuntimeError after `close`."""
        if self._map is None:
            raise RuntimeError("Selector is closed")
        return self._map[fileobj]

    def close(self) -> None:
        """Watch nothing more. The sockets stay open."""
        with self._driver:
            for entry in self._entries.values():
                entry.disarm()
            self._entries.clear()
            self._candidates.clear()
        self._map = None  # type: ignore[assignment]  # as Python's own do

    # --- inside
    def _what(self) -> str:
        """What it waits for, in words: a few of its sockets by name, since each wait asks for this."""
        if not self._entries:
            return "no socket"
        few = ", ".join(repr(entry.socket) for entry in islice(self._entries.values(), NAMED))
        more = len(self._entries) - NAMED
        return f"one of {few}" + (f" and {more} more" if more > 0 else "")

    def _look(self) -> list[tuple[SelectorKey, int]]:
        """The candidates that are ready; the others are armed."""
        found = []
        for fd, entry in list(self._candidates.items()):
            events = entry.ready()
            if events:
                found.append((entry.key, events))
            else:
                del self._candidates[fd]
                entry.arm()
        return found

    def _suspect(self, entry: _Entry) -> None:
        self._candidates[entry.key.fd] = entry
        self.woken.wake()

    def _number(self, fileobj: FileObject) -> int:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if fd >= 0:
            return fd
        # A closed socket has no number any more, but may still be registered.
        for entry in self._entries.values():
            if entry.key.fileobj is fileobj:
                return entry.key.fd
        raise ValueError(f"Invalid file descriptor: {fd}")

    def _entry(self, fileobj: FileObject) -> _Entry:
        try:
            return self._entries[self._number(fileobj)]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def __repr__(self) -> str:
        return f"<selector of {self._stack.node.name}: {len(self._entries)} sockets>"


class _Map(Mapping[FileObject, SelectorKey]):
    """The registered objects, as `get_map` shows them."""

    def __init__(self, selector: Selector) -> None:
        self._selector = selector

    def __len__(self) -> int:
        return len(self._selector._entries)

    def __getitem__(self, fileobj: FileObject) -> SelectorKey:
        try:
            return self._selector._entry(fileobj).key
        except ValueError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def __iter__(self) -> Iterator[int]:
        return iter(self._selector._entries)


def _check(events: int) -> None:
    if not events or events & ~(EVENT_READ | EVENT_WRITE):
        raise ValueError(f"Invalid events: {events!r}")
