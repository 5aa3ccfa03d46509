"""labstack: a network you can read. A whole TCP/IP stack in plain Python, simulated and real.

from labstack import Network

with Network(seed=7) as net:
    a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
    net.wire(a, b, rate="10 Mbit/s", delay="20 ms")
"""

from labstack.core.clock import Deadlock
from labstack.host import Host
from labstack.linux import LinuxPeer
from labstack.network import Network
from labstack.physical.faults import ack, data_segment, fin, frame, syn
from labstack.physical.queue import CoDel
from labstack.physical.wire import Wire
from labstack.transport.tcp.config import TcpConfig

__version__ = "0.1.0"
__all__ = [
    "CoDel",
    "Deadlock",
    "Host",
    "LinuxPeer",
    "Network",
    "TcpConfig",
    "Wire",
    "ack",
    "data_segment",
    "fin",
    "frame",
    "syn",
]
