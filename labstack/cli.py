"""The command `labstack`: what can be done without writing a line of Python.

    labstack doctor    what works on this machine, and what to do about the rest
    labstack demo      fetch a page over the stack, and draw what happened
    labstack up        a host on a TAP, with servers, until Ctrl-C
    labstack run       any Python program over a TAP, on labstack's stack
    labstack bench     how fast it is here

What is wrong is told in one sentence, with exit status 2.
"""

from __future__ import annotations

import argparse
import errno
import os
import platform
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any, NoReturn

import labstack
from labstack.applications import chargen, discard, echo, http, iperf3
from labstack.applications.address_probe import find_owner
from labstack.core import units
from labstack.core.addresses import InterfaceAddress, IPAddress, IPv4Address
from labstack.drivers.realtime import RealTime
from labstack.host import Host
from labstack.link import tap as tap_device
from labstack.link.tap import Tap
from labstack.network import Network
from labstack.sockets import compat

if TYPE_CHECKING:
    from labstack.observe import Trace

PLAIN = {"echo": echo, "discard": discard, "chargen": chargen, "iperf3": iperf3}
"""The servers that need nothing but their port."""
MIN_MTU = 68
"""Bytes; RFC 791 §3.2."""
MAX_PAGE = 10_000_000
PAGE = b"<!doctype html>\n<title>labstack</title>\n<h1>It works.</h1>\n<p>"
DEMO_PORT = 8000


class _Refused(Exception):
    """What was asked for cannot be done. The message is the sentence for whoever asked."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Refused(f"{message[:1].lower()}{message[1:]} (see `{self.prog} --help`)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `labstack` with these arguments, or those of the command line; returns the exit status."""
    try:
        args = _parser().parse_args(argv)
        run: Callable[[argparse.Namespace], int] = args.run
        return run(args)
    except _Refused as refused:
        print(f"labstack: {refused}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> _Parser:
    parser = _Parser(prog="labstack", description="A network you can read: a TCP/IP stack in plain Python.")
    parser.add_argument("--version", action="version", version=f"labstack {labstack.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    doctor = commands.add_parser(
        "doctor", help="say what works on this machine, and what to do about the rest"
    )
    doctor.add_argument("--json", action="store_true", help="for programs to read")
    doctor.set_defaults(run=_doctor)

    demo = commands.add_parser(
        "demo",
        help="fetch a page over the stack, and draw what happened",
        description="Fetch a page from a Linux Web server over a TAP, or where there can be none, in "
        "simulation. Prints what crossed the wire, and writes demo.pcap and demo.svg here.",
    )
    demo.add_argument(
        "--size", type=_page_size, default=4000, metavar="BYTES", help="of the page (default: 4000)"
    )
    demo.set_defaults(run=_demo)

    up = commands.add_parser(
        "up",
        help="run a host on a TAP, until Ctrl-C",
        description="Run a host on a TAP that you made: ip tuntap add mode tap name tap0; ip address add "
        "10.0.0.1/24 dev tap0; ip link set tap0 up.",
    )
    _where(up)
    up.add_argument(
        "--serve",
        type=_servers,
        default=[],
        metavar="LIST",
        help="servers, at their ports: echo (7), discard (9), chargen (19), iperf3 (5201), http:DIR (80)",
    )
    up.set_defaults(run=_up)

    program = commands.add_parser(
        "run",
        help="run a Python program over a TAP, on labstack's stack",
        description="Run any Python program so that its sockets are those of a host on a TAP that you made; "
        "the program need not know. Names that the host does not know, the machine is asked for.",
        usage="labstack run --tap NAME --address A/N [--gateway G] [--mtu MTU] -- python SCRIPT …",
    )
    _where(program)
    program.add_argument(
        "words", nargs="*", metavar="python", help="SCRIPT …, -m MODULE … or -c CODE …, after two dashes"
    )
    program.set_defaults(run=_run)

    bench = commands.add_parser("bench", help="measure how fast the stack is on this machine")
    bench.add_argument("--json", action="store_true", help="for programs to read")
    bench.add_argument("--seconds", type=_seconds, default=None, metavar="S", help="for each measurement")
    bench.set_defaults(run=_bench)
    return parser


def _where(parser: argparse.ArgumentParser) -> None:
    """The options that say where a host is."""
    parser.add_argument("--tap", required=True, metavar="NAME", help="the TAP's name: tap0")
    parser.add_argument(
        "--address", required=True, type=_own_address, metavar="A/N", help="the host's: 10.0.0.2/24"
    )
    parser.add_argument(
        "--gateway", type=_address, metavar="G", help="the router for all that is not on the link"
    )
    parser.add_argument(
        "--mtu", type=_whole_number, help="bytes in a datagram, at most the TAP's own (default)"
    )


def _doctor(args: argparse.Namespace) -> int:
    from labstack.doctor import main as doctor

    return doctor(json=args.json)


def _bench(args: argparse.Namespace) -> int:
    from labstack.bench import main as bench

    return bench(args)


# --- what arguments mean ------------------------------------------------------------------------------------


def _because(parse: Callable[[str], object], text: str) -> object:
    """`parse(text)`; what it raises becomes what argparse expects, with its words kept."""
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _page_size(text: str) -> int:
    size = _because(lambda text: units.size(int(text) if text.isdecimal() else text), text)
    if not isinstance(size, int) or not 1 <= size <= MAX_PAGE:
        raise argparse.ArgumentTypeError(
            f"{text} is no size for a page: write a number from 1 to {MAX_PAGE:,}"
        )
    return size


def _whole_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0 and up to 3600")
    return seconds


def _address(text: str) -> IPAddress:
    address = _because(IPAddress.parse, text)
    assert isinstance(address, IPv4Address)
    if address.is_unspecified or address.is_multicast or address.is_loopback or address[0] >= 240:
        raise argparse.ArgumentTypeError(f"{text} is not the address of a machine on a link")
    return address


def _own_address(text: str) -> InterfaceAddress:
    own = _because(InterfaceAddress.parse, text)
    assert isinstance(own, InterfaceAddress)
    _address(str(own.address))
    if own.broadcast is not None and own.address in (own.prefix.network, own.broadcast):
        raise argparse.ArgumentTypeError(f"{own.address} stands for all of {own.prefix}: take one in between")
    return own


def _servers(text: str) -> list[tuple[str, Path | None]]:
    servers: dict[str, Path | None] = {}
    for word in text.split(","):
        name, colon, folder = word.partition(":")
        if name in servers:
            raise argparse.ArgumentTypeError(f"{name} is there twice: it has one port")
        if name == "http" and folder:
            if not os.access(folder, os.R_OK | os.X_OK) or not Path(folder).is_dir():
                raise argparse.ArgumentTypeError(f"{folder} is no folder that can be read: nothing to serve")
            servers[name] = Path(folder)
        elif name in PLAIN and not colon:
            servers[name] = None
        else:
            raise argparse.ArgumentTypeError(
                f"{word!r} is none of the servers echo, discard, chargen, iperf3 and http:DIR"
            )
    return list(servers.items())


# --- labstack demo ------------------------------------------------------------------------------------------


def _demo(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="labstack-demo-") as folder:
        page = (PAGE + b"The quick brown fox jumps over the lazy dog.\n" * (args.size // 45 + 1))[: args.size]
        (Path(folder) / "index.html").write_bytes(page)
        fetched = _fetch_from_linux(folder) or _fetch_in_simulation(folder)
    told, trace, response = fetched
    if response.body != page:
        raise _Refused(
            f"the page came with status {response.status} and other bytes than it was written with"
        )
    ladder = trace.ladder()
    try:
        trace.pcap("demo.pcap")
        ladder.save("demo.svg")
    except OSError as error:
        raise _Refused(
            f"demo.pcap and demo.svg cannot be written into {os.getcwd()}: {error.strerror}"
        ) from None
    print(f"{told}\n\n{ladder.text}\n\nWrote demo.pcap (for Wireshark) and demo.svg (the ladder).")
    return 0


def _fetch_from_linux(folder: str) -> tuple[str, Trace, http.Response] | None:
    """Fetch the page from Python's own Web server in a network namespace; None where there can be no TAP."""
    from labstack.linux import LinuxPeer
    from labstack.observe import Trace

    try:
        linux = LinuxPeer()
    except OSError:
        print("No TAP can be had here, so this is a simulation; `labstack doctor` says why, and what to do.")
        return None
    with linux:
        try:
            linux.run([sys.executable, "-m", "http.server", str(DEMO_PORT)], cwd=folder)
            linux.wait_for_port(DEMO_PORT)
            host = linux.host("labstack")
            ends = {linux.tap: ("labstack", "Linux")}
            trace = Trace([host.events], {linux.tap}, ends=ends)
            response = http.get(host, (linux.address, DEMO_PORT))
            host.sleep("100 ms")  # so that its last acknowledgement is in the picture
        except OSError as error:
            raise _Refused(f"the page did not come from Linux over {linux.tap}: {error}") from None
        trace.close()
    trace.origin = trace.packets[0].sent
    what = f"A page of {len(response.body):,} bytes from a Web server on Linux {platform.release()}"
    return f"{what}, over the TAP {linux.tap}:", trace, response


def _fetch_in_simulation(folder: str) -> tuple[str, Trace, http.Response]:
    with Network(seed=1) as net:
        client, server = net.host("labstack", "192.168.77.2/24"), net.host("server", "192.168.77.1/24")
        trace = net.capture(net.wire(client, server, rate="100 Mbit/s", delay="100 us"))
        server.spawn(http.serve, server, folder, DEMO_PORT)
        response = http.get(client, (server.address, DEMO_PORT))
        net.sleep("100 ms")
    return f"A page of {len(response.body):,} bytes, over a simulated wire of 100 Mbit/s:", trace, response


# --- labstack up --------------------------------------------------------------------------------------------


def _up(args: argparse.Namespace) -> int:
    own: InterfaceAddress = args.address
    _check_gateway(args)
    # A shell starts what is to run in the background with Ctrl-C ignored; and SIGTERM is to end us as gently.
    stops = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.default_int_handler) for number in stops}
    try:
        device = _open_tap(args.tap, args.mtu)
        with closing(_host_on(device)) as host:
            _take_place(host, args)
            ports = _start_servers(host, args.serve)
            print(f"{own} is up on {args.tap}: {ports}. Ctrl-C ends it.", flush=True)
            _wait_for_the_end(host, args.tap)
    except KeyboardInterrupt:
        return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_gateway(args: argparse.Namespace) -> None:
    own: InterfaceAddress = args.address
    if args.gateway is not None and (args.gateway not in own.prefix or args.gateway == own.address):
        raise _Refused(
            f"the gateway {args.gateway} must be another machine in {own.prefix}, the host's own network"
        )


def _open_tap(name: str, mtu: int | None) -> Tap:
    try:
        socket.if_nametoindex(name)
    except OSError:
        raise _Refused(
            f"there is no TAP {name}: make it, `ip tuntap add mode tap name {name}` and "
            f"`ip link set {name} up`"
        ) from None
    try:
        device = Tap.open(name)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise _Refused(
                f"the TAP {name} is not yours: run as root, or make it with `ip tuntap add mode tap "
                f"name {name} user {os.getuid()}`"
            ) from None
        raise _Refused(str(error.strerror or error)) from None
    if mtu is not None:
        if not MIN_MTU <= mtu <= device.mtu:
            device.close()
            raise _Refused(f"--mtu {mtu} does not fit {name}: write a number from {MIN_MTU} to {device.mtu}")
        device.mtu = mtu
    return device


def _host_on(device: Tap, **options: Any) -> Host:
    driver, secrets, descriptor = RealTime(), SystemRandom(), device.fileno()
    host = Host("labstack", driver, random=lambda purpose: secrets.random, **options)
    device.node = host.node
    device.on_close = lambda: driver.unwatch(descriptor)
    host.interface("eth0", device=device)
    host.on_close(driver.close)
    driver.watch(descriptor, device.drain)
    return host


def _take_place(host: Host, args: argparse.Namespace) -> None:
    _take_address(host, args.address)
    if args.gateway is not None:
        host.route("0.0.0.0/0", via=str(args.gateway))


def _take_address(host: Host, own: InterfaceAddress) -> None:
    """Give the host its address, unless some machine on the link has it already (RFC 5227 §2.1)."""
    interface = host["eth0"]
    owner = find_owner(host.driver, interface, own.address)
    name = getattr(interface.device, "name", "the TAP")
    if host.counters[tap_device.DOWN.name]:
        raise _Refused(f"the TAP {name} is down: `ip link set {name} up` brings it up")
    if owner is not None:
        raise _Refused(f"the address {own.address} is taken: {owner} on {name} answers for it")
    with host.driver:
        host.ip.add_address(interface, own)
        host.arps["eth0"].announce()


def _start_servers(host: Host, servers: list[tuple[str, Path | None]]) -> str:
    """Start them; returns their names and ports, for people."""
    told = []
    for name, folder in servers:
        if folder is not None:
            host.spawn(_serve_always, host, http.serve, folder)
            told.append(f"{name} {http.PORT}")
        else:
            module = PLAIN[name]
            host.spawn(_serve_always, host, module.serve)
            told.append(f"{name} {module.PORT}")
    return ", ".join(told) or "it answers pings"


def _serve_always(host: Host, serve: Callable[..., None], *args: object) -> None:
    """Serve, and after a fault in the stack, which is raised in all that wait at that time, begin anew.

    The main program, which waits too, has told of it.
    """
    while True:
        try:
            serve(host, *args)
        except Exception:
            host.sleep(1)  # a folder that was removed meanwhile may come back, but not at once


def _wait_for_the_end(host: Host, name: str) -> NoReturn:
    while True:
        try:
            host.driver.block(lambda: False, [], None, "Ctrl-C")
        except Exception:
            try:
                socket.if_nametoindex(name)
            except OSError:
                raise _Refused(f"the TAP {name} is gone, and so is the host") from None
            # A fault of the stack's own has cost a frame, or a timer. Say so, and go on.
            traceback.print_exc()


# --- labstack run -------------------------------------------------------------------------------------------


def _run(args: argparse.Namespace) -> int:
    from labstack import python_program

    _check_gateway(args)
    try:
        program = python_program.parse(args.words)
    except ValueError as error:
        raise _Refused(str(error)) from None
    except SyntaxError as error:
        raise _Refused(f"the code after -c is not Python: {error.msg}") from None
    except OSError as error:
        raise _Refused(f"{error.filename} cannot be read: {error.strerror}") from None
    with closing(_host_on(_open_tap(args.tap, args.mtu), resolve=_ask_the_machine)) as host:
        _take_place(host, args)
        python_program.run(host, program)
    return 0


def _ask_the_machine(name: str) -> IPAddress | None:
    with compat.outside():
        try:
            return IPAddress.parse(socket.gethostbyname(name))
        except OSError:
            return None
