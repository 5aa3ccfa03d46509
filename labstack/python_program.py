"""Any Python program on a host's stack: what `labstack run … -- python SCRIPT …` does once the host is up.

The program runs in this process, as `python` would run it: its name, arguments and path are what it would
find there. At its end it may leave connections behind whose last bytes are still on their way. An operating
system would deliver them; so do we, before the host is gone.
"""

from __future__ import annotations

import re
import runpy
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from labstack.core.units import SECOND
from labstack.host import Host
from labstack.sockets import compat
from labstack.transport.tcp.states import State

LINGER = 10 * SECOND
"""How long the last bytes of a program have to reach their peers."""
_LEFT = {State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK}
_PYTHON = re.compile(r"python(3(\.\d+)?)?")


def parse(words: Sequence[str]) -> Callable[[], object]:
    """What to call to run `python SCRIPT …`, `python -m MODULE …` or `python -c CODE …`. Raises ValueError,
    in a sentence, if it is none of these, and OSError for a script that cannot be read."""
    if not words or not _PYTHON.fullmatch(Path(words[0]).name):
        raise ValueError(f"{' '.join(words) or 'nothing'} is no Python program: write -- python SCRIPT …")
    match words[1:]:
        case ["-m", module, *rest]:
            return lambda: _run(["-m", *rest], "", lambda: runpy.run_module(module, None, "__main__", True))
        case ["-c", code, *rest]:
            compiled = compile(code, "<string>", "exec")
            return lambda: _run(["-c", *rest], "", lambda: exec(compiled, {"__name__": "__main__"}))
        case [script, *rest] if not script.startswith("-"):
            with open(script, "rb"):
                pass
            folder = str(Path(script).resolve().parent)
            return lambda: _run([script, *rest], folder, lambda: runpy.run_path(script, None, "__main__"))
        case [option, *_]:
            raise ValueError(f"python's option {option} is not understood here: only -m and -c are")
    raise ValueError("python needs a program: write -- python SCRIPT …")


def _run(argv: list[str], folder: str, program: Callable[[], object]) -> None:
    sys.argv[:] = argv
    sys.path.insert(0, folder)
    program()


def run(host: Host, program: Callable[[], object]) -> None:
    """Run it on this host's stack, wait for its threads, and deliver what it left."""
    try:
        with host:
            try:
                program()
            finally:
                for thread in threading.enumerate():
                    if thread is not threading.main_thread() and not thread.daemon:
                        thread.join()
    finally:
        _deliver(host)


def _deliver(host: Host) -> None:
    with host.driver:
        for connection in list(host.tcp.connections.values()):
            connection.close()  # also those whose sockets the program forgot
    deadline = host.driver.now + LINGER

    def left() -> bool:
        return any(connection.state in _LEFT for connection in host.tcp.connections.values())

    with compat.outside():
        while left() and host.driver.now < deadline:
            host.sleep("10 ms")
