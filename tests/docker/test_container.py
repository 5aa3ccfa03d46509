"""The book in a container, as its reader meets it: built, started by Compose, opened at the address it
prints, stopped with the work kept, and removed without a trace.

Where no engine runs, root's test starts one for itself, in a folder of its own, and stops it afterwards. On a
machine that reaches no image registry, `docker/base-image` makes the base.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKER = ROOT / "docker"
ENTRYPOINT = "/opt/labstack/docker/entrypoint"
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

NET_ADMIN, NET_RAW = 1 << 12, 1 << 13  # <linux/capability.h>

pytestmark = [pytest.mark.check, pytest.mark.container]

Environment = dict[str, str]
T = TypeVar("T")


def run(*words: str | Path, env: Environment, seconds: float, check: bool = True) -> str:
    """What a command printed, once it has ended; all that it said, when it failed."""
    command = [str(word) for word in words]
    try:
        done = subprocess.run(
            command,
            env=env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        # Bytes, whatever `text` says.
        said = b"".join(part for part in (late.stdout, late.stderr) if isinstance(part, bytes))
        pytest.fail(f"`{' '.join(command)}` was not done after {seconds} s:\n{said.decode()[-4000:]}")
    if check and done.returncode:
        pytest.fail(f"`{' '.join(command)}` failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def works(*words: str, env: Environment) -> bool:
    return subprocess.run(words, env=env, capture_output=True, timeout=60, check=False).returncode == 0


def until(what: str, seconds: float, look: Callable[[], T | None]) -> T:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds} s")
        time.sleep(0.1)  # nothing here tells us: all that one can do is look again
    return found


def cannot_run(reason: str) -> NoReturn:
    """Skip; but not in CI, where all that this test needs has been installed."""
    if IN_CI:
        pytest.fail(f"the container was not tested: {reason}")
    pytest.skip(f"the container was not tested: {reason}")


def available_memory() -> int:
    """Bytes that programs may have without swapping."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def processes_naming(path: Path) -> list[str]:
    """The command lines of this machine's processes in which `path` stands."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            pass  # it ended while we looked
    return [line for line in found if str(path) in line]


@contextmanager
def own_engine(env: Environment) -> Iterator[Environment]:
    """A Docker engine for this test alone. Of the machine's network it touches nothing but the bridges that
    it is asked for: no packet filter, no forwarding, no docker0."""
    dockerd = shutil.which("dockerd", path=f"{env['PATH']}:/usr/sbin:/sbin")
    unshare = shutil.which("unshare")
    if not dockerd or not unshare or os.geteuid() != 0:
        pytest.skip(
            "the container was not tested: no Docker engine runs here, and only root can start one,"
            " with dockerd and unshare"
        )
    folder = Path(tempfile.mkdtemp(prefix="labstack-engine-", dir="/var/tmp"))
    (folder / "data").mkdir()
    # Its mounts are seen by nobody else, and end with it. An image is 30,000 files: where there is memory to
    # spare they are kept there, which spares a minute of writing and removing them.
    in_memory = "mount -t tmpfs engine $0/data && " if available_memory() > 6 << 30 else ""
    host = f"unix://{folder}/docker.sock"
    mine = {**env, "DOCKER_HOST": host}
    mine.pop("DOCKER_CONTEXT", None)
    with open(folder / "log", "wb") as log:
        engine = subprocess.Popen(
            [
                *(unshare, "--mount", "sh", "-ec", in_memory + 'exec "$@"', str(folder)),
                dockerd,
                f"--host={host}",
                f"--data-root={folder}/data",
                f"--exec-root={folder}/run",
                f"--pidfile={folder}/pid",
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
                "--ip-forward=false",
                "--ip-masq=false",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not works("docker", "version", env=mine):
            if engine.poll() is not None or time.monotonic() > deadline:
                cannot_run(f"dockerd did not start:\n{(folder / 'log').read_text()[-3000:]}")
            time.sleep(0.2)  # its log is no interface, so it is asked
        yield mine
    finally:
        engine.terminate()
        try:
            engine.wait(60)
        except subprocess.TimeoutExpired:
            # Only now: it would leave its containers and mounts behind.
            os.killpg(engine.pid, signal.SIGKILL)
            engine.wait()
            pytest.fail(f"dockerd did not stop: see {folder}/log")
    until("every process of the engine ends", 20, lambda: not processes_naming(folder))
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def engine() -> Iterator[tuple[Environment, bool]]:
    """The environment in which `docker` reaches an engine, and whether that engine is ours alone."""
    # What the reader has set for their own container is not meant for ours.
    env = {key: value for key, value in os.environ.items() if not key.startswith(("LABSTACK_", "COMPOSE_"))}
    if works("docker", "info", env=env):
        yield env, False
    else:
        with own_engine(env) as mine:
            yield mine, True


class Lab:
    """The reader's container, through the commands a reader has."""

    def __init__(self, env: Environment, compose: list[str]) -> None:
        self.env, self._compose = env, compose
        self.container = self.address = self.token = ""

    def compose(self, *words: str, seconds: float = 60) -> str:
        return run(*self._compose, *words, env=self.env, seconds=seconds)

    def docker(self, *words: str, seconds: float = 60) -> str:
        return run("docker", *words, env=self.env, seconds=seconds)

    def up(self) -> None:
        """Start it, and wait until it answers at the address that it prints."""
        self.compose("up", "-d")
        self.container = self.compose("ps", "-q", "lab").strip()
        printed = r"(http://127\.0\.0\.1:\d+)/lab/tree/book/index\.ipynb\?token=(\w+)"

        def address() -> re.Match[str] | None:
            return re.search(printed, self.compose("logs", "--no-color"))

        self.address, self.token = until("JupyterLab prints its address", 60, address).groups()
        until("JupyterLab answers", 30, lambda: self.ask("/api/status")[0] == 200)

    def ask(self, path: str, body: object = None, method: str = "", token: bool = True) -> tuple[int, Any]:
        """The server's status and answer; no answer is (0, None)."""
        request = urllib.request.Request(self.address + path, method=method or ("POST" if body else "GET"))
        if body:
            request.data = json.dumps(body).encode()
        if token:
            request.add_header("Authorization", f"token {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, None
        except (urllib.error.URLError, ConnectionError):
            return 0, None

    def inside(self, *words: str, seconds: float = 60) -> str:
        """A command in the container, as the notebook user."""
        return self.docker("exec", self.container, ENTRYPOINT, *words, seconds=seconds)

    def down(self, *words: str) -> None:
        self.compose("down", "--timeout", "10", *words)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def lab(engine: tuple[Environment, bool], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    env, own = engine
    name = f"labstack-test-{os.getpid()}"
    env = {
        **env,
        "COMPOSE_PROJECT_NAME": name,
        "LABSTACK_IMAGE": name,
        "LABSTACK_PORT": str(free_port()),
    }
    known = ["docker", "compose"], ["docker-compose"]  # Compose v2 and v1
    compose = next((words for words in known if works(*words, "version", env=env)), [])
    if not compose:
        cannot_run("there is neither `docker compose` nor `docker-compose`")
    compose += ["-f", str(DOCKER / "compose.yaml")]
    if own:
        # Our engine routes nothing, so what the build fetches comes over the machine's own network.
        extra = tmp_path_factory.mktemp("compose") / "host.yaml"
        extra.write_text("services: {lab: {build: {network: host}}}\n")
        compose += ["-f", str(extra)]
    lab = Lab(env, compose)
    run(DOCKER / "base-image", env=env, seconds=300)
    lab.compose("build", seconds=600)
    try:
        lab.up()
        yield lab
    finally:
        lab.down("--volumes")
        lab.docker("image", "rm", name)


def test_only_this_machine_reaches_it_and_only_with_the_token(lab: Lab) -> None:
    here = f"127.0.0.1:{lab.env['LABSTACK_PORT']}"
    assert lab.docker("port", lab.container).split()[-1] == here
    assert set(re.findall(r"http://(127\.0\.0\.1:\d+)", lab.compose("logs", "--no-color"))) == {here}
    assert lab.ask("/api/contents", token=False)[0] == 403
    assert lab.ask("/api/contents/book")[0] == 200


def test_the_notebook_user_is_not_root_but_may_make_taps(lab: Lab) -> None:
    status, kernel = lab.ask("/api/kernels", {"name": "python3"})
    assert status == 201

    def processes() -> dict[int, tuple[int, str]]:
        lines = lab.inside("ps", "-eo", "pid=,uid=,args=").splitlines()
        return {int(pid): (int(uid), args) for pid, uid, args in (line.split(None, 2) for line in lines)}

    def of_the_kernel() -> int | None:
        return next((pid for pid, (_, args) in processes().items() if kernel["id"] in args), None)

    pid = until("the kernel's process", 30, of_the_kernel)
    roots = [args for number, (uid, args) in processes().items() if uid == 0 and number != 1]
    assert not roots, "only the first process, which reaps, is root's"

    told = lab.inside("cat", f"/proc/{pid}/status")
    for kind in ("CapEff", "CapBnd", "CapAmb"):
        has = re.search(rf"^{kind}:\s*(\w+)$", told, re.MULTILINE)
        assert has and int(has[1], 16) == NET_ADMIN | NET_RAW, f"{kind} of a notebook's kernel"
    assert lab.ask(f"/api/kernels/{kernel['id']}", method="DELETE")[0] == 204


# Runs its arguments while it writes down each TCP segment and the interface that it crossed: at once, since
# an interface that has gone has no name any more.
WATCH = """
tcpdump --immediate-mode -l -n -t -i any tcp >/tmp/segments 2>/tmp/said & watcher=$!
until grep -q listening /tmp/said; do kill -0 $watcher || { cat /tmp/said; exit 1; }; sleep 0.1; done
"$@"
status=$?
kill $watcher
wait $watcher
exit $status
"""


def test_chapter_01_runs_inside_over_a_real_tap(lab: Lab) -> None:
    """Every stored output agrees, and the segments were seen on a TAP: it was not the recorded capture."""
    chapter = next((ROOT / "book").glob("01-*.ipynb"), None)
    if not chapter:
        pytest.skip("chapter 01 is not written yet")
    nbval = ["python", "-m", "pytest", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    test = [*nbval, "--nbval-cell-timeout=120", f"book/{chapter.name}"]
    print(lab.inside("sh", "-c", WATCH, "sh", *test, seconds=300))
    segments = lab.inside("cat", "/tmp/segments")
    ways = set(re.findall(r"^tap\w*\s+(In|Out)\s", segments, re.MULTILINE))
    seen = segments[:1000] or "none at all"
    assert ways == {"In", "Out"}, (
        f"no TCP crossed a TAP: the chapter ran on its recorded capture. Seen: {seen}"
    )
    assert "tap" not in lab.inside("ip", "-brief", "link"), "the chapter left its TAP behind"


@pytest.mark.feature("Labs", "In the container they come without their answers")
def test_labs_come_without_answers(lab: Lab) -> None:
    answers = "grep -rl --include='*.ipynb' -e 'BEGIN SOLUTION' -e 'HIDDEN TESTS' labs || true"
    found = lab.inside("sh", "-c", f"find labs -name '*.ipynb'; {answers}")
    names = sorted(path.name for path in (ROOT / "labs" / "source").iterdir())
    assert sorted(found.split()) == [f"labs/{name}.ipynb" for name in names]
    assert lab.inside("find", "/opt/labstack/labs", "-name", "source") == ""


def test_the_readers_work_outlives_the_container(lab: Lab) -> None:
    """What the reader made or changed stays. What they never changed follows the image, and what they removed
    comes back."""
    handed_out = lab.inside("sh", "-c", "cd /opt/labstack && find book -type f").split()
    changed, unchanged, removed = sorted(handed_out)[:3]
    newest = lab.inside("sha256sum", unchanged, removed)
    own = {"type": "file", "format": "text", "content": "my own work"}
    assert lab.ask("/api/contents/mine.txt", own, "PUT")[0] == 201
    assert lab.ask(f"/api/contents/{changed}", own, "PUT")[0] == 200
    # As if an older image had handed this one out.
    older = f"echo older >{unchanged} && sha256sum {unchanged} >>.labstack-delivered && rm {removed}"
    lab.inside("sh", "-c", older)

    first = lab.container
    lab.down()
    lab.up()
    assert lab.container != first
    for path in ("mine.txt", changed):
        assert lab.inside("cat", path) == "my own work", path
    assert lab.inside("sha256sum", unchanged, removed) == newest
    assert f"kept: your {changed}" in lab.compose("logs", "--no-color")
    assert "kept" not in lab.compose("logs", "--no-color").replace(f"kept: your {changed}", "")


def test_nothing_is_left(lab: Lab) -> None:
    """After `down`: no container, no network, no process, no interface. Only the volume with the work, until
    that is removed too."""
    project = lab.env["COMPOSE_PROJECT_NAME"]
    label = f"label=com.docker.compose.project={project}"
    bridge = "br-" + lab.docker("network", "ls", "--quiet", "--filter", label).strip()
    pids = [int(pid) for pid in lab.docker("top", lab.container, "-eo", "pid").split()[1:]]
    assert Path("/sys/class/net", bridge).exists()
    assert pids

    lab.down()
    assert not lab.docker("ps", "--all", "--quiet", "--filter", label)
    assert not lab.docker("network", "ls", "--quiet", "--filter", label)
    assert not Path("/sys/class/net", bridge).exists()
    assert not [pid for pid in pids if Path("/proc", str(pid)).exists()]
    assert lab.docker("volume", "ls", "--quiet", "--filter", label).split() == [f"{project}_home"]

    lab.down("--volumes")
    assert not lab.docker("volume", "ls", "--quiet", "--filter", label)
