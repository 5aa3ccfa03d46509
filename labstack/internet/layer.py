"""The border between the transports and the network layer below them, in both directions.

TCP and UDP know addresses, and nothing of IP headers: so they run over IPv4, IPv6 or a test's own network
alike.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Protocol

from labstack.core.addresses import IPAddress
from labstack.core.checksum import Buffer


class Trouble(Enum):
    """What can become of a datagram instead of arriving (RFC 792, RFC 1122 §3.2.2)."""

    NET_UNREACHABLE = "no route leads to the destination's network"
    HOST_UNREACHABLE = "the destination does not answer on its own link"
    PROTOCOL_UNREACHABLE = "the destination has no such transport protocol"
    PORT_UNREACHABLE = "no program at the destination has that port"
    PROHIBITED = "a router or firewall on the way refuses to carry it"
    TOO_BIG = "it is larger than a link on the way carries, and must not be cut"
    TTL_EXCEEDED = "it passed more routers than its time to live allows"
    REASSEMBLY_EXCEEDED = "some of its fragments did not arrive in time"
    BAD_HEADER = "a machine on the way cannot make sense of its header"


ERRNO: Mapping[Trouble, int] = MappingProxyType(
    {
        Trouble.PORT_UNREACHABLE: errno.ECONNREFUSED,
        Trouble.PROTOCOL_UNREACHABLE: errno.ENOPROTOOPT,
        Trouble.HOST_UNREACHABLE: errno.EHOSTUNREACH,
        Trouble.NET_UNREACHABLE: errno.ENETUNREACH,
        Trouble.PROHIBITED: errno.EHOSTUNREACH,
        Trouble.TOO_BIG: errno.EMSGSIZE,
        Trouble.TTL_EXCEEDED: errno.EHOSTUNREACH,
        Trouble.REASSEMBLY_EXCEEDED: errno.EHOSTUNREACH,
        Trouble.BAD_HEADER: errno.EPROTO,
    }
)
"""What a program hears of it, as on Linux."""
PASSING = frozenset({Trouble.TTL_EXCEEDED, Trouble.REASSEMBLY_EXCEEDED, Trouble.BAD_HEADER})
"""What may be over when the next datagram is sent."""


class Transport(Protocol):
    """What the network layer hands datagrams up to."""

    def receive(
        self, src: IPAddress, dst: IPAddress, ecn: int, hop_limit: int, payload: Buffer, checked: bool
    ) -> Trouble | None:
        """Take a datagram's payload (borrowed). `checked` says that its transport checksum needs no
        verifying.

        A `Trouble` in return is reported to the sender, where the network layer's rules allow that.
        """

    def error(self, kind: Trouble, src: IPAddress, dst: IPAddress, quoted: Buffer, mtu: int = 0) -> None:
        """A datagram sent from `src` to `dst` ran into trouble; `quoted` is the beginning of its payload.

        One that was TOO_BIG met a link of this `mtu`. Who knows it for one that it sent, and that may not be
        cut, says so: `network.narrow(dst, mtu)`."""


class NetworkLayer(Protocol):
    """What a transport stands on."""

    def register(self, protocol: int, transport: Transport) -> None:
        """Hand datagrams of that IP protocol number to `transport`."""

    def send(
        self,
        dst: IPAddress,
        protocol: int,
        header: bytes,
        payload: Buffer = b"",
        *,
        src: IPAddress | None = None,
        ecn: int = 0,
        segment_size: int = 0,
        ttl: int = 64,
        dscp: int = 0,
        may_fragment: bool = False,
        broadcast: bool = False,
        loop: bool = True,
    ) -> None:
        """Send the transport's header and payload. `segment_size`: see `physical/device`; allowed up to
        `offload(dst)`. To a group it goes over the interface that has the address `src`, and, with `loop`,
        to this host too, if it is a member there.

        Raises OSError (ENETUNREACH, EMSGSIZE, EACCES for a broadcast not asked for).
        """

    def mtu(self, dst: IPAddress) -> int:
        """The largest transport header and payload together, in bytes, that reach `dst` in one uncut
        datagram, as far as is known."""

    def narrow(self, dst: IPAddress, mtu: int) -> None:
        """A datagram to `dst`, which the caller did send, did not fit a link with this MTU (RFC 1191)."""

    def offload(self, dst: IPAddress) -> int:
        """The largest unfinished TCP payload that the way to `dst` takes in one piece; 0 for finished
        segments only."""

    def source_for(self, dst: IPAddress) -> IPAddress:
        """The own address from which datagrams to `dst` leave. Raises OSError (ENETUNREACH) without a
        route."""

    def is_own(self, address: IPAddress) -> bool:
        """Whether datagrams to `address` end at this host (broadcasts aside)."""

    def is_unicast(self, address: IPAddress) -> bool:
        """Whether `address` names one host: no broadcast, no multicast, not 0.0.0.0."""

    def pseudo_sum(self, src: IPAddress, dst: IPAddress, protocol: int, length: int) -> int:
        """The sum of the pseudo-header, with which a transport's checksum begins."""
