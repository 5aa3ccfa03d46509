"""A program that runs in a `LinuxPeer`'s namespace: what `subprocess.Popen` shows of one.

It is no child of ours but of the namespace's first process, so the end is told to us over a pipe.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO


class LinuxCommandFailed(subprocess.CalledProcessError):
    """A program ended with a status other than 0. The message holds what it said."""

    def __str__(self) -> str:
        said = str(self.stderr or self.output or "").strip() or "it said nothing"
        return f"{' '.join(self.cmd)} {how_it_ended(self.returncode)}: {said}"


def how_it_ended(returncode: int | None) -> str:
    if returncode is None:
        return "still runs"
    if returncode < 0:
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"ended with status {returncode}"


class LinuxProgram:
    """A program in the namespace. `args`, `stdin`, `stdout`, `stderr`, `returncode` and the methods are as in
    `subprocess.Popen`; `pid` is its number inside the namespace. `output` is what it wrote so far to where
    nothing else was asked for."""

    def __init__(
        self,
        args: Sequence[str],
        pid: int,
        status: int,
        send: Callable[[int], None],
        streams: tuple[IO[bytes] | None, IO[bytes] | None, IO[bytes] | None] = (None, None, None),
        kept: int = -1,
    ) -> None:
        self.args = list(args)
        self.pid = pid
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = streams
        self._status = status
        self._send = send
        self._kept = kept
        self._lock = threading.Lock()
        os.set_blocking(status, False)

    def poll(self) -> int | None:
        """The status with which it ended (−n: by signal n); None while it runs."""
        with self._lock:
            if self.returncode is None:
                try:
                    told = os.read(self._status, 16)
                except BlockingIOError:
                    return None
                # Nothing told and nobody left to tell it: the namespace ended, and with it all that ran
                # there.
                self.returncode = int(told) if told else -signal.SIGKILL
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ended, and return its status. Raises subprocess.TimeoutExpired after `timeout`
        seconds."""
        waiting = select.poll()
        waiting.register(self._status, select.POLLIN)
        if self.returncode is None and not waiting.poll(None if timeout is None else timeout * 1000):
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def communicate(
        self, input: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes | None, bytes | None]:
        """Write `input`, read the pipes to their end, wait; return what came from stdout and stderr (None: no
        pipe)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        streams = (self.stdout, self.stderr)
        came: dict[int, bytes] = {}

        def read(number: int, stream: IO[bytes]) -> None:
            came[number] = stream.read()

        def write() -> None:
            assert self.stdin is not None
            try:
                with self.stdin:
                    self.stdin.write(input or b"")
            except BrokenPipeError:
                pass  # it did not want to hear it all

        threads = [
            threading.Thread(target=read, args=(number, stream), daemon=True)
            for number, stream in enumerate(streams)
            if stream is not None
        ]
        if self.stdin is not None:
            threads.append(threading.Thread(target=write, daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return came.get(0), came.get(1)

    @property
    def output(self) -> str:
        """What it has written so far to stdout and stderr, where `run` was not told otherwise."""
        if self._kept < 0:
            return ""
        return os.pread(self._kept, os.fstat(self._kept).st_size, 0).decode(errors="replace")

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self.poll() is None:
            self._send(number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> LinuxProgram:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """End it: with SIGTERM, and with SIGKILL where that has not helped after two seconds."""
        self.terminate()
        try:
            self.wait(2)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()

    def __del__(self) -> None:
        for descriptor in (getattr(self, "_status", -1), getattr(self, "_kept", -1)):
            if descriptor >= 0:
                os.close(descriptor)

    def __repr__(self) -> str:
        return f"<{' '.join(self.args)}: {how_it_ended(self.poll())}>"
