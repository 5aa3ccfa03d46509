"""The chapters run with a gap, with it filled, with it filled wrongly; and on a machine that has no TAP."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import machine
import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from book.normalise import BOOK, normal_form, notebooks, read

MOST_WORDS = 1800
GAP = "return ..."
CHAPTERS = [path for path in notebooks() if path.stem != "index"]


def prose(path: Path) -> Iterator[str]:
    return (cell.source for cell in read(path).cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for text in prose(path):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if "://" not in target:
                assert (BOOK / target).exists(), f"{path.name} links {target}, which does not exist"


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.name)
def test_a_chapter_that_is_named_is_a_link_to_it(path: Path) -> None:
    """To the right one; chapters that are still to come are named and cannot be opened."""
    written = {other.stem[:2] for other in CHAPTERS}
    for text in prose(path):
        for words, target in re.findall(r"\[([^\]]*)\]\((\d\d)-[^)]*\.ipynb[^)]*\)", text):
            numbers = re.findall(r"\d\d", words)
            assert not numbers or target in numbers, f"{path.name}: [{words}] leads to chapter {target}"
        bare = re.sub(r"\[[^\]]*\]\([^)]*\)", "", text)
        for number in re.findall(r"\b[Cc]hapters? (\d\d)", bare):
            assert number not in written, f"{path.name} names chapter {number} without a link"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name)
def test_can_be_read_in_three_quarters_of_an_hour(path: Path) -> None:
    words = sum(len(re.findall(r"[\w'’-]+", re.sub(r"`[^`]*`", "code", text))) for text in prose(path))
    assert words <= MOST_WORDS, f"{path.name} has {words} words"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name)
def test_says_time_and_needs_and_ends_with_terms(path: Path) -> None:
    first, *_, last = prose(path)
    assert "**Time:**" in first and "**Needs:**" in first
    assert "| 中文 |" in last and "**Read on:**" in last


def run_with(gap: str, chapter: str, folder: Path) -> NotebookNode:
    """Run a copy of a chapter in which the gap is filled like this, in a copy of the book."""
    copy = folder / "book"
    shutil.copytree(BOOK, copy, ignore=shutil.ignore_patterns("mystack", "__pycache__", ".ipynb_checkpoints"))
    (path,) = copy.glob(f"{chapter}-*.ipynb")
    notebook = read(path)
    (cell,) = (cell for cell in notebook.cells if GAP in cell.source)
    cell.source = cell.source.replace(GAP, gap)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(copy)}}).execute()
    return notebook


def stored_otherwise(notebook: NotebookNode, chapter: str) -> list[str]:
    """The sources of the cells whose outputs are not those that the book has stored; but for what the check
    of the gap says, and for what may differ from one machine to the next."""
    (path,) = BOOK.glob(f"{chapter}-*.ipynb")
    now = nbformat.reads(normal_form(notebook), as_version=4)
    return [
        cell.source
        for cell, stored in zip(now.cells, read(path).cells, strict=True)
        if cell.get("outputs") != stored.get("outputs")
        and "ask.check(" not in cell.source
        and "nbval-ignore-output" not in cell.metadata.get("tags", ())
    ]


def shown(notebook: NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.data["text/plain"] for output in outputs if "data" in output)


RIGHT = {
    "00": ("header_length", "return (first & 0x0F) * 4"),
    "01": ("ack_number", "return (seq + length + syn + fin) % 2**32"),
    "02": ("deliver", 'return programs.get(int.from_bytes(datagram[2:4], "big"))'),
    "16": ("finish", "return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))"),
    "17": (
        "place",
        "return base + (number - base) % numbers if (number - base) % numbers < window else None",
    ),
    "18": ("after", "return TRANSITIONS[state, what]"),
    "19": (
        "reassemble",
        """kept[at] = max(data, kept.get(at, b""), key=len)
    ready = b""
    for begin in sorted(kept):
        if begin <= wanted + len(ready):
            ready += kept.pop(begin)[wanted + len(ready) - begin :]
    return ready""",
    ),
    "20": (
        "estimate",
        "return (rtt, rtt / 2) if srtt is None else "
        "(7 / 8 * srtt + rtt / 8, 3 / 4 * rttvar + abs(srtt - rtt) / 4)",
    ),
    "21": ("offer", "return offered if free - offered < min(limit // 2, mss) else free"),
    "22": (
        "grown",
        "return cwnd + (min(acked, 2 * mss) if cwnd < ssthresh else max(1, mss * acked // cwnd))",
    ),
    "23": ("turn", "return next((n for n in names if last is not None and n > last), names[0])"),
    "24": (
        "weigh",
        "return Rfc9293(None).reset(seq, rcv_nxt, rcv_wnd)",
    ),
    "25": (
        "find_socket",
        "return connections.get(segment) or listeners.get(segment[:2]) or listeners.get((ANY, segment[1]))",
    ),
    "26": ("write_some", "return unsent[connection.send(unsent) :]"),
}
KEPT = {"22": "congestion"}
"""Where the machine takes a class, the answer is kept with it, under its name."""
LONG = {"22", "23", "26"}
"""They take half a minute: `make test` runs them with a wrong answer only."""
WRONG = {
    "00": ("return first & 0x0F", "✗ 0x45, a header without options: expected 20, yours says 5"),
    "01": ("return seq + length", "✗ a SYN with number 1000: expected 1001, yours says 1000"),
    "02": ("return programs[datagram[3]]", "✗ from port 7 to port 50000: expected 'count', yours raised"),
    "16": (
        "return 0xFFFF - (total & 0xFFFF)",
        "✗ 0x1_0000, one too many: expected 65534, yours says 65535",
    ),
    "17": (
        "return number if base <= number < base + window else None",
        "✗ number 1, where the window begins at 6: expected 9, yours says None",
    ),
    "18": (
        "return State.TIME_WAIT if what is FIN_COMES else TRANSITIONS[state, what]",
        "✗ FIN-WAIT-1, and a FIN arrives: expected <State.CLOSING: 'CLOSING'>, yours says <State.TIME_WAIT",
    ),
    "19": (
        "return data if at == wanted else b''",
        "✗ the second comes first: expected [b'', b'abcdef'], yours says [b'', b'abc']",
    ),
    "20": (
        "return (rtt, rtt / 2) if srtt is None else (srtt + (rtt - srtt) / 8, rttvar)",
        "✗ 80 ms once more: expected (80, 30), yours says (80.0, 40)",
    ),
    "21": ("return free", "✗ the program has read 50 of them: expected 4380, yours says 4430"),
    "22": (
        "return cwnd + min(acked, 2 * mss)",
        "✗ above the threshold, a segment: expected 29273, yours says 30660",
    ),
    "23": ("return names[0]", "✗ anna had the last turn: expected 'bert', yours says 'anna'"),
    "24": (
        "return Reset.BELIEVED if 0 <= seq_sub(seq, rcv_nxt) < rcv_wnd else Reset.IGNORED",
        "✗ one ahead: expected <Reset.CHALLENGED:",
    ),
    "25": (
        "return listeners.get((ANY, segment[1]))",
        "✗ more of connection 2: expected 'connection 2', yours",
    ),
    "26": ("return connection.send(unsent) and b''", "✗ a client that reads at once: bytes are missing"),
}


@pytest.mark.parametrize(
    "chapter", [pytest.param(each, marks=[pytest.mark.check] if each in LONG else []) for each in RIGHT]
)
def test_a_right_answer_is_the_readers_own(
    chapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABSTACK_NO_TAP", "1")
    name, answer = RIGHT[chapter]
    text = shown(run_with(answer, chapter, tmp_path))
    file, folder = KEPT.get(chapter, name), tmp_path / "book" / "mystack"
    assert f"{name} is yours. It is kept in mystack/{file}.py." in text and "Not yet." not in text
    assert answer in (folder / f"{file}.py").read_text()
    assert file not in machine.PLUGS or file in machine.kept(folder).parts, "it carries a page"


@pytest.mark.parametrize("chapter", WRONG)
def test_a_wrong_answer_is_told_and_the_chapter_goes_on(
    chapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABSTACK_NO_TAP", "1")
    answer, told = WRONG[chapter]
    notebook = run_with(answer, chapter, tmp_path)
    text = shown(notebook)
    assert told in text and "the book's own answer stands in" in text
    # Stored outputs come from a machine with TAPs: what a live cell prints is true of its recording, too.
    assert stored_otherwise(notebook, chapter) == []
    assert not (tmp_path / "book" / "mystack").exists()
