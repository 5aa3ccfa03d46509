"""Each explorer in JupyterLab in a real browser: opened, moved by mouse and keyboard, and read again.

Screenshots go to the directory in LABSTACK_SCREENSHOTS, if it is set, to be looked at.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

PlaywrightError = pytest.importorskip("playwright.sync_api").Error

pytestmark = [pytest.mark.check, pytest.mark.browser]
ROOT = Path(__file__).resolve().parents[2]
TOKEN = "seen"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SETUP = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom tests.observe.experiments import download\n"
LIVE = """
from labstack.drivers.realtime import RealTime
from labstack.host import Host
from labstack.physical.wire import Wire
from labstack.observe.explorer_live import LiveView
driver = RealTime()
a, b = Host("a", driver), Host("b", driver)
wire = Wire(driver, name="cable", delay="1 ms")
for end, host, address in zip(wire.ends, (a, b), ("10.0.0.1/24", "10.0.0.2/24")):
    end.node = host.node
    host.interface("eth0", address).plug(end)
def talk():
    listener = b.listen(80)
    while True:
        with a.connect(("10.0.0.2", 80)) as s:
            served, _ = listener.accept()
            for _ in range(20):
                s.sendall(b"hello")
                a.sleep(0.1)
        served.close()
a.spawn(talk)
LiveView(a, peer="b")
"""
NOTEBOOKS = {
    "steps": "from tests.observe.runs import download as run\n"
    "from labstack.observe.explorer import Explorer\n"
    "Explorer(run(40_000, 9))",
    "header": "from tests.observe.runs import download as run\n"
    "from labstack.observe.explorer_header import HeaderExplorer\n"
    "HeaderExplorer(run().filter('syn').packets[0])",
    "whatif": "from labstack.observe.explorer_run import WhatIf\n"
    "from labstack.transport.tcp.congestion.names import CONTROLS\n"
    "WhatIf(download, loss=(0, 0.1, 0.01), delay=['20 ms', '80 ms'], rate=['10 Mbit/s', '2 Mbit/s'],\n"
    "       queue=['64 KiB', '8 KiB'], algorithm=list(CONTROLS), size=[60_000, 500_000_000])",
    "compare": "from labstack.observe.explorer_compare import Comparison\n"
    "Comparison(download, {'loss': 0}, {'loss': 0.05})",
    "live": LIVE,
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A JupyterLab server with a notebook for each explorer."""
    home = tmp_path_factory.mktemp("lab")
    for name, code in NOTEBOOKS.items():
        cell = {"cell_type": "code", "execution_count": None, "id": name, "metadata": {}, "outputs": [],
                "source": SETUP + code}  # fmt: skip
        kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        (home / f"{name}.ipynb").write_text(json.dumps(notebook))
    port = _free_port()
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={home}", "--LabApp.expose_app_in_browser=True",
        "--ServerApp.port_retries=0", *(["--allow-root"] if os.geteuid() == 0 else []),
    ]  # fmt: skip
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=home)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                with urlopen(f"{base}/api?token={TOKEN}", timeout=2):
                    break
            except OSError:
                assert server.poll() is None, (home / "log").read_text()
                time.sleep(0.1)  # a server that starts tells nobody: it is asked until it answers
        yield base
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield chromium
        chromium.close()


class Opened:
    """A notebook that was opened and run."""

    def __init__(self, browser: Any, base: str, name: str) -> None:
        self.name = name
        self.page = browser.new_page(viewport={"width": 1280, "height": 1500})
        self.page.set_default_timeout(30_000)
        self.page.goto(f"{base}/lab/workspaces/auto-{name}/tree/{name}.ipynb?reset&token={TOKEN}")
        self.page.wait_for_function(
            "() => { const w = window.jupyterapp?.shell?.currentWidget; const s = w?.sessionContext;"
            " return s?.isReady && s.session?.kernel?.connectionStatus === 'connected'"
            " && s.session.kernel.status === 'idle'; }"
        )
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def pane(self, name: str) -> Any:
        return self.page.locator(f".labstack-{name}")

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def until(self, pane: str, text: str) -> None:
        """Wait until the pane shows the text (a regular expression)."""
        try:
            self.page.wait_for_function(
                "([pane, text]) => new RegExp(text).test("
                "document.querySelector('.labstack-' + pane)?.innerText ?? '')",
                arg=[pane, text],
            )
        except PlaywrightError:
            shown = self.pane(pane).all_inner_texts()
            raise AssertionError(f"{pane} never showed {text!r}, but {shown}") from None

    def sees(self, pane: str, what: str) -> None:
        self.pane(pane).locator(what).first.wait_for(state="visible")

    def click_on(self, pane: str, words: str) -> None:
        """Press the mouse where these words stand in a drawing, once what hears it is there."""
        self.page.locator(f"button[title='{words}']").first.wait_for()
        box = self.pane(pane).get_by_text(words, exact=True).first.bounding_box()
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def choose(self, name: str, value: str) -> None:
        """Take a value from a menu."""
        menu = self.page.locator(".widget-dropdown").filter(has_text=name)
        menu.locator("select").select_option(value)

    def slide(self, key: str, times: int = 1, nth: int = 0) -> None:
        handle = self.page.locator(".widget-slider .noUi-handle").nth(nth)
        handle.focus()
        for _ in range(times):
            handle.press(key)

    def shoot(self, name: str = "", dark: bool = False) -> None:
        """Keep a picture of the page; `dark`: in JupyterLab's dark theme, in which the drawings turn dark."""
        if dark:
            self.theme("JupyterLab Dark")
            paper = self.page.locator("svg.labstack > rect").first
            assert paper.evaluate("rect => getComputedStyle(rect).fill") == "rgb(23, 25, 30)"
            images = self.page.locator("img.labstack-light, img.labstack-dark")
            shown = [image.get_attribute("class") for image in images.all() if image.is_visible()]
            assert set(shown) <= {"labstack-dark"}
        if directory := os.environ.get("LABSTACK_SCREENSHOTS"):
            self.page.screenshot(path=Path(directory) / f"{self.name}{name}.png")
        if dark:
            # On paper it is light all the same.
            self.page.emulate_media(media="print")
            assert paper.evaluate("rect => getComputedStyle(rect).fill") == "rgb(255, 255, 255)"
            self.page.emulate_media(media="screen")
            self.theme("JupyterLab Light")

    def theme(self, name: str) -> None:
        run = "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})"
        self.page.evaluate(run, name)
        light = "true" if name.endswith("Light") else "false"
        self.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{light}'")
        self.page.locator("#jupyterlab-splash").wait_for(state="hidden")


@pytest.fixture
def opened(request: pytest.FixtureRequest, browser: Any, lab: str) -> Iterator[Opened]:
    notebook = Opened(browser, lab, request.param)
    yield notebook
    notebook.page.close()


def notebook(name: str) -> Any:
    return pytest.mark.parametrize("opened", [name], indirect=True)


@notebook("steps")
@pytest.mark.feature("Observation", "The explorers work in JupyterLab in a browser")
def test_step_scrub_and_jump(opened: Opened) -> None:
    opened.until("where", "Packet 1, 1 of")
    opened.button("step ▶").click()
    opened.until("where", ", 2 of")
    opened.slide("ArrowRight", 6)
    opened.until("where", ", 8 of")
    line = "document.querySelector('.labstack-chart div[style*=border-left]').style.left"
    before = opened.page.evaluate(f"() => {line}")
    opened.button("next loss").click()
    opened.until("where", "lost")
    opened.until("why", "Why packet")
    opened.sees("ladder", "svg")
    opened.sees("chart", "img.labstack-light")
    chosen = opened.pane("table").locator("tr[style]").inner_text()
    assert "lost" in chosen
    opened.shoot()
    opened.slide("ArrowRight", 20)
    opened.page.wait_for_function(f"before => {line} !== before", arg=before)
    opened.page.locator(".jupyter-widgets.widget-play button").first.click()
    where = opened.pane("where").inner_text()
    opened.page.wait_for_function(
        "before => document.querySelector('.labstack-where').innerText !== before", arg=where
    )
    opened.page.locator(".jupyter-widgets.widget-play button").first.click()
    opened.shoot("-dark", dark=True)
    opened.sees("chart", "img.labstack-light")


@notebook("header")
def test_choose_a_field(opened: Opened) -> None:
    opened.until("meaning", "TCP, source port")
    opened.page.locator(".jp-OutputArea select").select_option("destination port")
    opened.until("meaning", r"TCP, destination port: 80\s+bytes 36 to 37 of the frame: 00 50")
    opened.button("IPv4").click()
    opened.until("meaning", "^IPv4, ")
    opened.click_on("diagram", "time to live")
    opened.until("meaning", "IPv4, time to live: 64")
    assert opened.pane("bytes").locator("span[style*='bold']").all_inner_texts() == ["40"]
    opened.shoot()
    opened.button("TCP").click()
    opened.until("meaning", "^TCP, ")
    for title, meaning in (
        ("sequence number", r"TCP, sequence number: \d+\s+bytes 38 to 41"), ("SYN", "TCP, SYN: 1"),
        ("window", r"TCP, window: 65535\s+bytes 48 to 49 of the frame: ff ff"),
    ):  # fmt: skip
        opened.click_on("diagram", title)
        opened.until("meaning", meaning)
        assert opened.pane("diagram").locator("rect[fill='#FCE9B6']").count() == 1
    opened.page.keyboard.press("Shift+Tab")
    opened.page.keyboard.press("Enter")
    opened.until("meaning", "TCP, FIN: 0")
    opened.shoot("-dark", dark=True)


@notebook("whatif")
def test_change_stop_and_see(opened: Opened) -> None:
    opened.until("summary", "loss = 0,")
    opened.until("summary", " 0 lost")
    opened.slide("ArrowRight", 4)
    opened.until("summary", r"loss = 0\.04")
    opened.until("progress", "done: ")
    assert re.search(r"[1-9]\d* lost", opened.pane("summary").inner_text())
    assert (
        opened.pane("chart").locator("img.labstack-light").is_visible()
        and opened.pane("ladder").locator("svg").is_visible()
    )
    opened.shoot()
    for name, value in (("delay", "80 ms"), ("rate", "2 Mbit/s"), ("queue", "8 KiB"), ("algorithm", "cubic")):
        opened.choose(name, value)
        opened.until("summary", rf"{name} = {value}[\s\S]*peak cwnd")
        opened.until("progress", "done: ")
    opened.shoot("-cubic")
    opened.choose("size", "500000000")
    opened.until("progress", "running: .* simulated seconds")
    opened.button("stop").click()
    opened.until("progress", "^stopped$")
    opened.until("summary", "stopped after")
    opened.shoot("-stopped")


@notebook("compare")
def test_two_ladders(opened: Opened) -> None:
    opened.until("summary", "The first difference:")
    sides = opened.pane("sides").locator("svg")
    assert sides.count() == 2 and sides.first.is_visible()
    left, right = (sides.nth(k).locator("xpath=..").bounding_box() for k in (0, 1))
    assert left["x"] + left["width"] <= right["x"] and abs(left["y"] - right["y"]) < 2
    opened.shoot()
    marked = opened.pane("sides").locator("rect[fill='#FCE9B6']")
    assert marked.count() == 2
    # Its letters are of a size that can be read: as high as they are drawn, within a tenth.
    letters = opened.pane("sides").locator("svg text[font-size='11.5']").first
    matrix = letters.evaluate("text => text.getScreenCTM().a ** 2 + text.getScreenCTM().b ** 2")
    assert 11.5 * matrix**0.5 > 8.5
    opened.shoot("-dark", dark=True)
    opened.slide("End")
    shown = "document.querySelectorAll(\".labstack-sides rect[fill='#FCE9B6']\").length"
    opened.page.wait_for_function(f"() => {shown} === 0")
    opened.button("first difference").click()
    opened.page.wait_for_function(
        "() => document.querySelectorAll(\".labstack-sides rect[fill='#FCE9B6']\").length == 2"
    )


@notebook("live")
def test_live(opened: Opened) -> None:
    opened.until("live", "stopped, 0 frames seen")
    opened.button("start").click()
    opened.until("live", r"listening, \d+ frames seen[\s\S]*ESTAB[\s\S]*len=5")
    opened.shoot()
    opened.button("stop").click()
    opened.until("live", "a: stopped")
    seen = opened.pane("live").inner_text().splitlines()[0]
    opened.page.wait_for_timeout(1_000)
    assert opened.pane("live").inner_text().splitlines()[0] == seen
