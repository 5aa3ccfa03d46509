"""The world of chapter 01: your machine, a Web server with one page, and a wire between them."""

from labstack import Host, Network
from labstack.observe.packet import Packet
from labstack.observe.trace import Trace

PAGE = b"Hello\n"
REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def web_server(host: Host, page: bytes) -> None:
    """Answer every request with this page."""
    listener = host.listen(80)
    while True:
        client, _ = listener.accept()
        client.recv(1000)
        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(page), page))
        client.close()


def world(page: bytes = PAGE, delay: str = "20 ms") -> tuple[Network, Host, Trace]:
    """The network, your machine, and a capture of the wire."""
    net = Network(seed=1)
    you, server = net.host("you", "10.0.0.1/24"), net.host("server", "10.0.0.2/24")
    wire = net.wire(you, server, rate="10 Mbit/s", delay=delay)
    server.spawn(web_server, server, page)
    return net, you, net.capture(wire)


def get(host: Host, server: str) -> bytes:
    """Fetch the server's page by the host's own TCP."""
    with host.connect((server, 80)) as s:
        s.sendall(REQUEST)
        return s.makefile("rb").read()


def on_the_line(packet: Packet) -> int:
    """The bytes of the wire's time that a frame takes: preamble, the frame (at least 60), check sequence, gap
    (IEEE 802.3)."""
    return 8 + max(60, len(packet.frame)) + 4 + 12
