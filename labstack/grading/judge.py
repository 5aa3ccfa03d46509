"""The judge: a student's part and the package's own are told the same story; the first difference is told.

    judge("receiver", Mine, a_fin_takes_a_number, rule="RFC 9293 §3.4", mistake="the FIN is a byte too")

A *story* is a function of (story, random) in a notebook's cell, written in the language of `story`. It runs
in a process of its own, with the part in place of the package's in a whole stack. What it asserts must hold;
where it does not, the report tells the steps up to there, the first packet that differs from the package's,
the rule, and the misconception behind it.

Marks come from simulation alone; the same stories can be told to Linux (`machines.Linux`), the second judge.
Scenarios are seeded by the student's id, so that every student meets other numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from random import Random
from typing import Any

from labstack.grading import submission
from labstack.grading.machines import Linux
from labstack.grading.story import Story
from labstack.grading.submission import Refused

LONGEST = 40
"""Steps of a story that a report tells in full."""
SECONDS = 30.0
"""How long one story may take, in the time on the wall."""
KINDS = (
    "receiver", "sender", "rtt", "recovery", "losses", "closing", "congestion", "arp_cache", "routing_table",
    "transfer", "stack",
)  # fmt: skip
"""The parts of a host that can be judged so, by their names in `Host`, and three that are none: `losses` is
smaller, `transfer` is one end of the wire of `transfer.Transfer`, and `stack` is several parts at once, in
the machines of `stack.Stack`."""

Tale = Callable[[Any, Random], None]


@dataclass
class Verdict:
    """What came of a story. It shows itself in a notebook as its report."""

    passed: bool
    report: str
    steps: list[str]

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return self.report


class Wrong(AssertionError):
    """The part does not do what the story asks. The message is the report."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the report, without the way to it through this file."""
        return str(self).splitlines()


def seed_of(student: str) -> int:
    """The seed of a student's scenarios; the same for the same id, for ever."""
    return zlib.crc32(student.encode())


def judge(
    kind: str, part: type | dict[str, type], tale: Tale, *, rule: str, mistake: str,
    student: str | None = None, constants: dict[str, Any] | None = None, alone: bool = False,
) -> Verdict:  # fmt: skip
    """Tell `tale` to a host with `part` as its `kind`, or with all of a dict of parts for the kind "stack".
    `rule` names what is asked, with its source, and
    `mistake` the misconception that breaks it, both for the report. `student`: whose scenario (None: the
    environment's LABSTACK_STUDENT, or nobody's). `constants`: fields of TcpConfig. `alone`: the package
    has no part that does what this one is to do, so the report compares it with nothing.

    Raises Wrong, with the report, when the story breaks, and Refused when the part may not be judged.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no part that can be judged: take one of {', '.join(KINDS)}")
    parts = {}
    for name, made in (part if isinstance(part, dict) else {kind: part}).items():
        handed_in = submission.read(made)
        submission.check(handed_in)
        parts[name] = [handed_in.source, handed_in.name]
    request = {
        "kind": kind, "parts": parts, "check": submission.read_function(tale), "story": tale.__name__,
        "seed": _seed(student), "constants": constants or {},
    }  # fmt: skip
    title = " ".join(tale.__name__.split("_"))
    mine = _told(request)
    if mine["broken"] is None:
        return Verdict(True, f"✓ {title}", mine["steps"])
    own = mine if alone else _told(request | {"parts": {}})
    if not alone and own["broken"] is not None:
        raise RuntimeError(f"the check {title!r} is itself broken: {own['broken']}")
    raise Wrong(_report(title, mine, own["steps"], rule, mistake))


def beside_linux(tale: Tale, *, student: str | None = None) -> Verdict:
    """Tell `tale` to the Linux kernel, behind a TAP: the second judge, who gives no marks. Raises OSError or
    RuntimeError where this machine cannot do it (`labstack doctor` says why)."""
    title = " ".join(tale.__name__.split("_"))
    with closing(Linux()) as machine:
        story = Story(machine)
        try:
            tale(story, Random(_seed(student)))
        except AssertionError as error:
            return Verdict(False, f"✗ {title}: Linux does otherwise\n{error}", story.steps)
        return Verdict(True, f"✓ {title}, and Linux does the same", story.steps)


def _seed(student: str | None) -> int:
    """Under JupyterHub, nbgrader's id of a student is their name there."""
    known = os.environ.get("LABSTACK_STUDENT") or os.environ.get("JUPYTERHUB_USER") or ""
    return seed_of(known if student is None else student)


def _told(request: dict[str, Any]) -> dict[str, Any]:
    """Tell the story in a process of its own."""
    command = [sys.executable, "-I", "-m", "labstack.grading.sandbox"]
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "HOME")}
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return {"steps": [], "broken": f"it did not come to an end in {SECONDS:.0f} s"}
    if done.returncode or not done.stdout:
        last = (done.stderr.strip().splitlines() or ["it was ended: too much memory or processor time"])[-1]
        return {"steps": [], "broken": last}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _report(title: str, mine: dict[str, Any], own: list[str], rule: str, mistake: str) -> str:
    """The story of a failure: what happened, what broke, where it first went another way, and why."""
    steps: list[str] = mine["steps"]
    same = 0
    while same < min(len(steps), len(own)) and steps[same] == own[same]:
        same += 1
    shown = [f"    {step}" for step in steps]
    if len(shown) > LONGEST:
        shown[LONGEST // 4 : -LONGEST // 2] = [f"    … {len(shown) - LONGEST // 4 - LONGEST // 2} steps …"]
    lines = [f"✗ {title}", "", *shown, "", f"Then: {mine['broken']}."]
    if same < len(own) and same < len(steps):
        lines += [
            "The first difference:",
            f"    yours:         {steps[same].strip()}",
            f"    the package's: {own[same].strip()}",
        ]
    elif same < len(own):
        lines += ["What the package does next:", f"    {own[same].strip()}"]
    lines += [f"The rule: {rule}.", f"A likely mistake: {mistake}."]
    return "\n".join(lines)


__all__ = ["KINDS", "Refused", "Verdict", "Wrong", "beside_linux", "judge", "seed_of"]
