"""The ways to a Linux kernel: as root, which is what runs here; as an ordinary user; and in a container."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labstack.linux_namespace import CAP_SYS_ADMIN, has_capability

from .conftest import ROOT, Parent, wait_until

pytestmark = pytest.mark.linux

NOBODY = 65534

# Everything that is mounted here goes with the mount namespace.
AS_NOBODY = """
set -e
mount --bind {base} {top}/python
mount --bind {packages} {top}/packages
mount -t tmpfs none /dev/net
mknod -m 666 /dev/net/tun c 10 200
cd {top}/tree
exec setpriv --reuid={uid} --regid={uid} --clear-groups --inh-caps=-all --bounding-set=-all \
  env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME={top}/home CI={ci} PYTHONPATH={top}/packages \
  {top}/python/bin/python{version} -B -m pytest -q -rs -p no:cacheprovider {tests}
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that an ordinary user may enter: pytest's own are closed to others."""
    top = Path(tempfile.mkdtemp())
    top.chmod(0o755)
    yield top
    shutil.rmtree(top)


@pytest.mark.feature("Real wires", "An ordinary user gets a Linux kernel at the other end, without root")
def test_as_an_ordinary_user(place: Path) -> None:
    if os.geteuid() != 0 or not has_capability(CAP_SYS_ADMIN):
        pytest.skip("the tests run as an ordinary user, or in a container, as it is")
    for name in ("python", "packages", "home", "tree"):
        (place / name).mkdir()
    os.chown(place / "home", NOBODY, NOBODY)
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("labstack", "book", "tests/linux", "tests/book"):
        shutil.copytree(ROOT / name, place / "tree" / name, ignore=ignore)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, place / "tree" / name)
    packages = next(path for path in map(Path, sys.path) if (path / "pytest").is_dir())
    script = AS_NOBODY.format(
        base=shlex.quote(sys.base_prefix),
        packages=shlex.quote(str(packages)),
        top=place,
        uid=NOBODY,
        ci=os.environ.get("CI", ""),
        version="{}.{}".format(*sys.version_info[:2]),
        tests="tests/linux/test_peer.py tests/linux/test_tap.py tests/book/test_walls.py",
    )
    run = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert "passed" in done.stdout and "failed" not in done.stdout, done.stdout


# What a container with NET_ADMIN is to us: root in a network of its own, who may make no namespaces.
DROP = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-sys_admin "$@"'
AS_IN_A_CONTAINER = [
    *("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("sh", "-c", DROP, "sh"),
]

IN_A_CONTAINER = """
import json, subprocess, sys
from contextlib import closing

from labstack import doctor
from labstack.linux import LinuxPeer

def processes():
    return subprocess.check_output(["ps", "-e", "-o", "args="], text=True)

def links():
    return [link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-json", "link"]))]

before = links()
seen = {}
with LinuxPeer() as linux:
    seen["way"] = linux.way
    seen["links"] = [link for link in links() if link not in before]
    for name, options in (("second", {}), ("same address", {"name": "tap1"})):
        try:
            LinuxPeer(**options)
        except OSError as error:
            seen[name] = error.strerror
    linux.run(["sh", "-c", "setsid sleep 1000 & setsid sh -c 'sleep 1001 & sleep 1002' & exit 0"]).wait()
    linux.run([sys.executable, "-m", "http.server", "8000"])
    linux.wait_for_port(8000)
    with closing(linux.host()) as host:
        s = host.connect(("linux", 8000), timeout=10)
        s.sendall(b"HEAD / HTTP/1.0\\r\\n\\r\\n")
        seen["page"] = s.recv(100).split()[1].decode()
        s.close()
    seen["while it runs"] = processes().count("sleep 100")
with LinuxPeer():
    pass
seen["afterwards"] = [processes().count("sleep"), processes().count("linux_init"), links() == before]
seen["doctor"] = [c.seen for c in doctor.diagnose() if c.name == doctor.TAP]
print(json.dumps(seen))
"""


@pytest.mark.feature("Real wires", "A container with NET_ADMIN uses its own network, once, and cleans it up")
def test_in_a_container(parent: Callable[..., Parent]) -> None:
    out, _ = parent(IN_A_CONTAINER, *AS_IN_A_CONTAINER).process.communicate(timeout=100)
    seen = json.loads(out)
    assert seen.pop("while it runs") >= 3
    assert seen == {
        "way": "container",
        "links": ["tap0"],
        "second": "this container's network has a LinuxPeer already: close that one first",
        "same address": "192.168.77.1 is an address here already: choose another",
        "page": "200",
        "afterwards": [0, 0, True],
        "doctor": ["can be made in this container's own network, one at a time"],
    }


KILLED = """
import os, signal, subprocess, sys, time
from labstack.linux import LinuxPeer
inner = os.fork()
if inner:
    print("started", flush=True)
    os.waitpid(inner, 0)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        left = subprocess.check_output(["ps", "-e", "-o", "args="], text=True)
        taps = subprocess.check_output(["ip", "link"], text=True)
        if "sleep" not in left and "linux_init" not in left and "tap0" not in taps:
            print("nothing is left", flush=True)
            break
        time.sleep(0.01)
    sys.exit()
linux = LinuxPeer()
linux.run(["sh", "-c", "setsid sleep 1000 & setsid sleep 1001 & exit 0"]).wait()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_in_a_container_nothing_is_left_after_kill_9(parent: Callable[..., Parent]) -> None:
    out, _ = parent(KILLED, *AS_IN_A_CONTAINER).process.communicate(timeout=100)
    assert out.splitlines() == ["started", "nothing is left"]


def test_a_real_interface_is_left_alone() -> None:
    """Where no namespace may be made, and the network is the machine's own, nothing is touched."""
    code = textwrap.dedent(
        """
        from labstack import linux_namespace
        from labstack.linux import LinuxPeer
        linux_namespace.ways = lambda: iter([("container", [])])
        shown = '[{"ifname": "lo"}, {"ifname": "eth0", "parentdev": "0000:00:01.0"}]'
        linux_namespace.subprocess.run = lambda *a, **k: type("Done", (), {"stdout": shown})
        try:
            LinuxPeer()
        except PermissionError as error:
            print(error.strerror)
        """
    )
    run = [sys.executable, "-c", code]
    said = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "this network has eth0, a real interface, and is left alone" in said


@pytest.mark.parametrize("which", ["unshare", sys.executable])
def test_when_it_is_ended_from_outside_the_peer_says_so(parent: Callable[..., Parent], which: str) -> None:
    started = parent(
        textwrap.dedent(
            """
            import sys
            from labstack.linux import LinuxPeer
            peer = LinuxPeer()
            program = peer.run(["sleep", "1000"])
            print("ready", flush=True)
            sys.stdin.readline()
            print(program.wait(20))
            try:
                peer.check(["true"])
            except OSError as error:
                print(error)
            peer.close()
            """
        )
    )
    assert started.line() == "ready"
    for pid, command in started.alive().items():
        if "linux_init" in command and command.startswith(which):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any("sleep" in command for command in started.alive().values()), "all ended")
    out, _ = started.process.communicate("\n", timeout=30)
    assert out.splitlines() == ["-9", "the network namespace has ended: make a new LinuxPeer"]
