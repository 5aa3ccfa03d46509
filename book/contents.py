"""The contents of the book: what each chapter is called, and what a reader needs to know before opening it.

A chapter is written when its notebook is there; until then it is announced by its title. To add one: put its
notebook beside this file, what happens in it into its line here, and run the index.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from labstack.observe import look

BOOK = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Chapter:
    """A chapter: its number and title; what happens in it; minutes to read and to do it; what it needs."""

    number: str
    title: str
    happens: str = ""
    minutes: int = 90
    needs: str = "Python"

    @property
    def notebook(self) -> str:
        """Its file, or nothing while it is to come."""
        return notebook(self.number)


def notebook(number: str) -> str:
    """The file of the chapter with this number, or nothing while it is to come."""
    return next((path.name for path in sorted(BOOK.glob(f"{number}-*.ipynb"))), "")


LIVE = "Python; Linux with a TAP, or its recording"

CONTENTS: dict[str, tuple[Chapter, ...]] = {
    "Before you start": (
        Chapter("00", "Bytes and ladders", "80 is sent, every bit arrives, and 20,480 is read", 25),
    ),
    "I · The whole journey": (
        Chapter(
            "01",
            "The journey of one page",
            "your own TCP fetches six bytes from Linux, and the wire carries a thousand",
            needs=LIVE,
        ),
        Chapter(
            "02",
            "Two programs talking",
            "the network goes, and only TCP breaks; one cable comes, and only TCP is back",
            needs="Python; Linux with real walls, or a recording",
        ),
    ),
    "II · The link": (
        Chapter("03", "Bits on a wire"),
        Chapter("04", "Frames"),
        Chapter("05", "Hubs, switches and trees"),
        Chapter("06", "Who has this address?"),
    ),
    "III · The internet layer": (
        Chapter("07", "Datagrams"),
        Chapter("08", "Routers"),
        Chapter("09", "Ping and traceroute"),
        Chapter("10", "Fragments and path MTU"),
        Chapter("11", "Finding routes"),
        Chapter("12", "Queues"),
        Chapter("13", "NAT"),
        Chapter("14", "One to many"),
        Chapter("15", "IPv6"),
    ),
    "IV · Transport": (
        Chapter(
            "16",
            "Ports and UDP",
            "two words change places on the way, the bank pays 1000, and the checksum agrees",
            needs=LIVE,
        ),
        Chapter(
            "17",
            "Reliable from unreliable",
            "a contract arrives complete, without a single error, and gives the house to somebody else",
        ),
        Chapter(
            "18",
            "TCP opens and closes",
            "two clients call each other, nobody listens, and there is one connection",
            needs=LIVE,
        ),
        Chapter(
            "19",
            "A stream of bytes",
            "ten sends, two segments, one receive; then both ends wait, politely, for each other",
            needs=LIVE,
        ),
        Chapter(
            "20",
            "Lost and found",
            "the same loss costs 20 ms in the middle, 260 at the end, and two of them cost less than one",
            needs=LIVE,
        ),
        Chapter(
            "21",
            "Flow control",
            "one segment gets lost, and both ends wait for each other until the end of time",
            needs=LIVE,
        ),
        Chapter(
            "22",
            "Congestion control: how the window grows",
            "a line a hundred times as fast, and 100 kB come ten milliseconds sooner",
            needs=LIVE,
        ),
        Chapter(
            "23",
            "Who gets what?",
            "all keep the rules, every connection gets the same, and Anna gets nine times what Bert gets",
            needs=LIVE,
        ),
        Chapter(
            "24",
            "Attacks and defences",
            "a downloader confirms what never came, and the honest server floods its own network",
            needs=LIVE,
        ),
    ),
    "V · Sockets": (
        Chapter(
            "25",
            "The socket, and what netstat knows",
            "the peer has closed, your send succeeds all the same, and netstat knew",
            needs=LIVE,
        ),
        Chapter(
            "26",
            "A server for many clients",
            "a thousand clients: asyncio takes as long as one after the other, threads are done at once",
            needs=LIVE,
        ),
    ),
    "VI · Applications": (
        Chapter("27", "DNS"),
        Chapter("28", "HTTP"),
        Chapter("29", "DHCP"),
        Chapter("30", "Conversations in text"),
        Chapter("31", "Secrets"),
        Chapter("32", "Managing and sharing"),
    ),
    "VII · The real thing": (
        Chapter("33", "What the network card does for you"),
        Chapter("34", "Against Linux"),
    ),
}
"""The chapters of each part, in order."""


class Contents(look.Shown):
    """The table of contents: a line for each chapter that is written, one a part for those to come."""

    @property
    def text(self) -> str:
        lines = []
        for part, chapters in CONTENTS.items():
            lines.append(part)
            for chapter in chapters:
                if chapter.notebook:
                    lines += [
                        f"  {chapter.number}  {chapter.title} ({chapter.minutes} min; {chapter.needs})",
                        f"      {chapter.happens}",
                    ]
            if later := _to_come(chapters):
                lines.append(f"  to come: {later}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        left = "text-align:left;vertical-align:top"
        rows = []
        for part, chapters in CONTENTS.items():
            rows.append(f'<tr><th colspan="3" style="{left};padding-top:12px">{escape(part)}</th></tr>')
            for chapter in chapters:
                if chapter.notebook:
                    rows.append(
                        f'<tr><td style="{left}"><a href="{chapter.notebook}">{chapter.number} ·'
                        f" {escape(chapter.title)}</a><br>{escape(chapter.happens)}</td>"
                        f'<td style="{left};white-space:nowrap">{chapter.minutes} min</td>'
                        f'<td style="{left}">{escape(chapter.needs)}</td></tr>'
                    )
            if later := _to_come(chapters):
                rows.append(
                    f'<tr><td colspan="3" style="{left};color:{look.GREY}">to come: {escape(later)}</td></tr>'
                )
        widths = {"chapter": "66%", "time": "10%", "needs": "24%"}
        head = "".join(f'<th style="{left};width:{width}">{name}</th>' for name, width in widths.items())
        return (
            f'<table style="width:760px"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
        )


def _to_come(chapters: tuple[Chapter, ...]) -> str:
    return ", ".join(f"{chapter.number} {chapter.title}" for chapter in chapters if not chapter.notebook)
