"""Where the conformance cases run: on the machine's own sockets, and on labstack's in three ways.

A case gets a `world` and asks it for sockets; what it returns has to be the same everywhere.
"""

from __future__ import annotations

import errno
import random
import selectors
import socket
import struct
import threading
import time

from labstack import Host, Network
from labstack.drivers.realtime import RealTime

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which `close` sends a reset."""


class World:
    """`client` and `server` make sockets at the two ends (which may be one machine); `address` is the
    server's. `settle` lets whatever is under way arrive."""

    name = ""
    address = "127.0.0.1"
    pause = 0.01

    def __init__(self):
        self.sockets = []

    def client(self, type=socket.SOCK_STREAM, proto=0):
        return self._keep(self._client(type, proto))

    def server(self, type=socket.SOCK_STREAM, proto=0):
        return self._keep(self._server(type, proto))

    def _keep(self, new):
        self.sockets.append(new)
        return new

    def listener(self, backlog=8):
        s = self.server()
        s.bind((self.address, 0))
        s.listen(backlog)
        return s

    def pair(self):
        """A connected client, and the server's end."""
        listener = self.listener()
        s = self.client()
        s.connect(listener.getsockname())
        t = self._keep(listener.accept()[0])
        listener.close()
        return s, t

    def datagrams(self):
        """A client, and a server with a port."""
        t = self.server(socket.SOCK_DGRAM)
        t.bind((self.address, 0))
        return self.client(socket.SOCK_DGRAM), t

    def free_port(self, type=socket.SOCK_STREAM):
        """An address of the server's at which nobody is."""
        with self.server(type) as s:
            s.bind((self.address, 0))
            return s.getsockname()

    def settle(self):
        self.sleep(self.pause)

    def own(self, address):
        """An address, as it can be compared between worlds: ports are any."""
        if address is None:
            return None
        host = {self.address: "server", self.client_address: "client"}.get(address[0], address[0])
        return ("server" if self.address == self.client_address == address[0] else host), address[1] > 0

    @property
    def client_address(self):
        return self.address

    def close(self):
        for s in self.sockets:
            s.close()


class Machine(World):
    name = "machine"

    def _client(self, type, proto):
        return socket.socket(socket.AF_INET, type, proto)

    _server = _client

    def spawn(self, fn, *args):
        return Thread(fn, args)

    def adopt(self, number):
        return self._keep(socket.socket(fileno=number))

    def sleep(self, seconds):
        time.sleep(seconds)

    def selector(self, s=None):
        return selectors.DefaultSelector()

    def now(self):
        return time.monotonic()


class Thread(threading.Thread):
    def __init__(self, fn, args):
        super().__init__(daemon=True)
        self.fn, self.args, self.result, self.error = fn, args, None, None
        self.start()

    def run(self):
        try:
            self.result = self.fn(*self.args)
        except Exception as error:
            self.error = error

    def join(self, timeout=10):
        super().join(timeout)
        assert not self.is_alive(), "still running"
        if self.error:
            raise self.error
        return self.result


class OnHosts(World):
    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def _client(self, type, proto):
        return self.a.socket(type, proto)

    def _server(self, type, proto):
        return self.b.socket(type, proto)

    def spawn(self, fn, *args):
        return self.b.spawn(fn, *args)

    def adopt(self, number):
        """A client's socket by its number."""
        return self._keep(self.a.adopt(number))

    def sleep(self, seconds):
        self.a.sleep(seconds)

    def selector(self, s=None):
        mine = s is None or self.a.sockets.get(s.fileno()) is s
        return (self.a if mine else self.b).selector()

    def now(self):
        return self.a.now


class Virtual(OnHosts):
    """Two hosts and a wire, in virtual time."""

    name = "virtual"
    address = "10.0.0.2"
    pause = 0.3

    def __init__(self):
        self.net = Network(seed=1)
        a, b = self.net.host("a", "10.0.0.1/24"), self.net.host("b", "10.0.0.2/24")
        self.net.wire(a, b, delay="1 ms")
        super().__init__(a, b)

    @property
    def client_address(self):
        return "10.0.0.1"

    def own(self, address):
        told = super().own(address)
        # Elsewhere both ends are one address.
        return told and ("server" if told[0] == "client" else told[0], told[1])

    def close(self):
        super().close()
        self.net.close()


class VirtualLoopback(OnHosts):
    """One host without any interface, in virtual time."""

    name = "virtual loopback"
    pause = 0.3

    def __init__(self):
        self.net = Network(seed=1)
        host = self.net.host("a")
        super().__init__(host, host)

    def close(self):
        super().close()
        self.net.close()


class Real(OnHosts):
    """One host without any interface, in real time."""

    name = "real"

    def __init__(self):
        self.driver = RealTime()
        secrets = random.SystemRandom()
        host = Host("a", self.driver, random=lambda purpose: secrets.random)
        super().__init__(host, host)

    def close(self):
        super().close()
        self.a.close()
        self.driver.close()


WORLDS = {world.name: world for world in (Machine, Virtual, VirtualLoopback, Real)}


def told(call, *args, **options):
    """What a call says: its result, or its error by name."""
    try:
        return call(*args, **options)
    except socket.gaierror:
        return "gaierror"
    except TimeoutError as error:
        return errno.errorcode[error.errno] if error.errno else "timed out"
    except OSError as error:
        return errno.errorcode[error.errno] if error.errno else str(error)
    except (ValueError, TypeError, OverflowError) as error:
        return type(error).__name__
