"""Two programs and the walls between them: what `walls.py` starts, to see which ways of talking are left.

Run as a file of its own, on the standard library alone: `python -I -S apart.py`. A task comes on standard
input, and the answers go to standard output. The first program is a child of this process. The second is
started by itself, behind walls: with a network, files, queues or process numbers of its own (namespaces(7)).
All that it is told about the first program is a name.
"""

import ctypes
import errno
import json
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

WALLS = {
    "network": ["--net"],
    "files": ["--mount"],
    "queues": ["--ipc"],
    "processes": ["--pid", "--fork", "--kill-child", "--mount-proc"],
}
"""What each wall is to unshare(1). A cable is none: it leads through the wall around the network."""
HERE, THERE = "10.0.0.1", "10.0.0.2"
PATIENCE = 5.0  # seconds

libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None


class MessageQueue:
    """A message queue of the kernel (mq_overview(7)), which Python has no module for."""

    def __init__(self, name: str, create: bool = False) -> None:
        self.name = name.encode()
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        self.number = _checked(libc.mq_open(self.name, flags, 0o600, None))

    def put(self, message: bytes) -> None:
        _checked(libc.mq_send(self.number, message, len(message), 0))

    def get(self) -> bytes:
        room = ctypes.create_string_buffer(8192)
        length = _checked(libc.mq_receive(self.number, room, len(room), None))
        return room.raw[:length]

    def remove(self) -> None:
        _checked(libc.mq_unlink(self.name))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def programs(source: str, here: str) -> dict[str, Any]:
    """The functions that the reader wrote, with what they may use."""
    names: dict[str, Any] = {"HERE": here, "MessageQueue": MessageQueue}
    names |= {module.__name__: module for module in (mmap, os, signal, socket, tempfile, time)}
    exec(source, names)
    return names


def ip(commands: list[str]) -> None:
    text = "\n".join(commands)
    subprocess.run(["ip", "-batch", "-"], input=text, text=True, check=True, stdout=subprocess.DEVNULL)


def new_files(folder: str) -> None:
    """Empty disks, where programs leave things for each other to find."""
    for place in ("/dev/shm", folder):
        _checked(libc.mount(b"none", place.encode(), b"tmpfs", 0, None))
    os.chdir(folder)


# --- the first machine


class Second:
    """The second program, as the first machine sees it: told what to do, one line at a time."""

    def __init__(self, task: dict[str, Any]) -> None:
        command = [sys.executable, "-I", "-S", __file__, "second"]
        flags = [flag for wall in task["apart"] for flag in WALLS.get(wall, [])]
        if flags:
            command = ["unshare", *flags, *command]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask(**task)
        if "cable" in task["apart"]:
            # One end here, one end there: whatever goes in at one comes out at the other.
            cable = f"link add cable type veth peer name cable netns {self.process.pid}"
            ip([cable, f"address add {HERE}/24 dev cable", "link set cable up"])
            self.ask(cable=True)

    def ask(self, **request: Any) -> str:
        """Have it do something; how that failed, or nothing."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the second program ended")
        return str(json.loads(answer))

    def __enter__(self) -> "Second":
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def talk(hear: Callable[[Callable[[object], object]], bytes], say: str, second: Second, message: str) -> str:
    """What the first program heard; "✗" and why, where the second could not say it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, hear(lambda name: os.write(writing, f"{name}\n".encode())))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        name = told.readline().decode().rstrip("\n")
        failed = second.ask(say=say, name=name, message=message)
        heard = not failed and bool(select.select([told], [], [], PATIENCE)[0])
        if not heard:
            os.kill(child, signal.SIGKILL)
        answer = told.read().decode() if heard else ""
    os.waitpid(child, 0)
    return answer or f"✗ {failed or 'silence'}"


def first(task: dict[str, Any]) -> None:
    # All of 127.0.0.0/8 is this machine: an address of our own, so that others here do not meet us.
    here = f"127.1.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
    if task["own"]:  # the namespaces that we stand in are ours, and the machine's own network is not there
        here = HERE
        new_files(task["folder"])
        ip(["link set lo up", f"address add {HERE}/32 dev lo"])
    names = programs(task["source"], here)
    answers = {}
    with Second(task) as second:
        for way, (hear, say) in task["ways"].items():
            answers[way] = talk(names[hear], say, second, task["message"])
    print(json.dumps(answers))


# --- the second


def second() -> None:
    names: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        failed = ""
        if "source" in request:
            if "files" in request["apart"]:
                new_files(request["folder"])
            names = programs(request["source"], THERE)
        elif "cable" in request:
            ip([f"address add {THERE}/24 dev cable", "link set cable up"])
        else:
            try:
                names[request["say"]](request["name"], request["message"].encode())
            except OSError as error:
                failed = errno.errorcode.get(error.errno or 0, type(error).__name__)
        print(json.dumps(failed), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["second"]:
        second()
    else:
        first(json.load(sys.stdin))
