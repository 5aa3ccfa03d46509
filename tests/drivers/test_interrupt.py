"""Ctrl-C and patience in virtual time; and, in a real notebook, which cell shows what a program prints."""

import signal
import textwrap

import nbclient
import nbformat
import pytest

from labstack import Network
from tests.scene import pair

WAITING = """
    import asyncio, signal
    from labstack import Network

    def tick(host):
        print("running", flush=True)
        while True:
            host.sleep(1)

    def compute(host):
        print("running", flush=True)
        while True:
            pass

    def wait():
        with Network() as net:
            a = net.host("a")
            program = a.spawn({program}, a)
            try:
                a.listen(80).accept()
            except KeyboardInterrupt:
                print("interrupted")
            program.join() if {program} is compute and not program.error else None
            print(a.spawn(lambda: a.sleep(5)).join(), a.now >= 5)

    async def cell():
        # As the notebook's kernel does it: Ctrl-C cancels the task, which cannot run before we return.
        signal.signal(signal.SIGINT, lambda *_: None)
        wait()

    {run}
    print("closed")
"""


@pytest.mark.feature(
    "Simulation", "Ctrl-C ends a wait, and a program that computes for ever; the rest goes on"
)
@pytest.mark.parametrize("run", ["wait()", "asyncio.run(cell())"])
@pytest.mark.parametrize("program", ["tick", "compute"])
def test_ctrl_c(run_python, program, run):
    started = run_python(WAITING.format(program=program, run=run))
    assert started.stdout is not None
    assert started.stdout.readline() == "running\n"
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=30)
    assert out.splitlines() == ["interrupted", "None True", "closed"], err
    assert started.returncode == 0
    # Where the program was is told; nothing else is.
    assert err.strip().endswith("KeyboardInterrupt") == ("compute" in program)
    assert ("in compute" in err) == bool(err)


@pytest.mark.feature(
    "Simulation", "Waiting for what never comes ends after an hour of virtual time, and says for what"
)
def test_patience():
    with Network() as net:
        a, b, _ = pair(net)
        b.spawn(lambda: [b.sleep(60) for _ in range(1000)])  # so the world never falls idle
        with pytest.raises(
            TimeoutError, match="nothing came of waiting for a connection to port 80 in 3600 s"
        ):
            a.listen(80).accept()
        assert net.now == 3600
        # Who says how long is taken at his word.
        s = a.listen(81)
        s.settimeout(10_000)
        with pytest.raises(TimeoutError, match="timed out"):
            s.accept()
        assert net.now == 13_600


CELLS = [
    """
    import asyncio
    from labstack import Network
    net = Network()
    a = net.host("a")

    def program():
        a.sleep(1)
        print("the program, first")
        a.sleep(2)
        raise ValueError("the program's own")

    async def coroutine():
        await asyncio.sleep(2)
        print("the coroutine")
        await asyncio.sleep(2)
        raise ValueError("the coroutine's own")

    running, also = a.spawn(program), a.start(coroutine())
    print("nothing yet")
    """,
    """
    net.sleep(1.5)
    print("half past one")
    """,
    """
    net.sleep(1)
    """,
    """
    net.sleep(10)
    print("late")
    """,
    """
    for each in (running, also):
        try:
            each.join()
        except ValueError as error:
            print("raised again:", error)
    """,
    """
    from labstack.drivers.realtime import RealTime
    from labstack import Host
    real = Host("real", RealTime())

    def beside(seconds):
        real.sleep(seconds)
        print("from beside")

    one = real.spawn(beside, 0.2)
    """,
    """
    one.join()
    real.close()
    real.driver.close()
    """,
]


@pytest.mark.feature(
    "Simulation", "What a program prints, and its errors, appear in the cell that is running"
)
def test_output_appears_in_the_cell_that_runs():
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(textwrap.dedent(cell)) for cell in CELLS]
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    said = [
        {output.name: output.text for output in cell.outputs if output.output_type == "stream"}
        for cell in notebook.cells
    ]
    assert said[0] == {"stdout": "nothing yet\n"}
    assert said[1] == {"stdout": "the program, first\nhalf past one\n"}
    assert said[2] == {"stdout": "the coroutine\n"}
    assert said[3]["stdout"] == "late\n"
    assert "ValueError: the program's own" in said[3]["stderr"]
    assert "ValueError: the coroutine's own" in said[3]["stderr"]
    assert said[4] == {"stdout": "raised again: the program's own\nraised again: the coroutine's own\n"}
    assert said[6] == {"stdout": "from beside\n"}
