"""The README's table of what labstack can do, made from the marks on the tests that show it.

A test says what it shows: `@pytest.mark.feature("TCP", "retransmission by RFC 6298")`. `make features`
runs this file: the marks are collected (see marks.py), and the part of README.md between the two comments
below is written anew. tests/test_readme.py fails when the README claims anything else, so it cannot claim
what no test shows.
"""

from docs.marks import ROOT, Feature, collect

README = ROOT / "README.md"
BEGIN = "<!-- features: written by `make features` from the marks on the tests -->"
END = "<!-- end of features -->"

# From the wire up, as in the book; areas that are not named here follow in alphabetical order.
AREAS = [
    "Simulation",
    "Headers",
    "Physical layer",
    "Link layer",
    "IPv4",
    "IPv6",
    "ICMP",
    "Routing",
    "NAT",
    "Multicast",
    "UDP",
    "TCP",
    "Congestion control",
    "Sockets",
    "Applications",
    "Real wires",
    "Observation",
    "Book",
    "Labs",
]


def table(features: list[Feature]) -> str:
    """The table in Markdown: areas from the wire up, and within each in alphabetical order."""

    def place(row: tuple[str, str]) -> tuple[int, str, str]:
        area, text = row
        return (AREAS.index(area) if area in AREAS else len(AREAS), area, text.lower())

    tests: dict[tuple[str, str], set[str]] = {}
    for feature in features:
        tests.setdefault((feature.area, feature.text), set()).add(feature.test)
    lines = ["| area | feature | shown by |", "|---|---|---|"]
    for area, text in sorted(tests, key=place):
        shown_by = "<br>".join(f"`{test}`" for test in sorted(tests[area, text]))
        cells = [area, text.replace("|", "\\|"), shown_by]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def split(readme: str) -> tuple[str, str, str]:
    """What stands before, between and after the two comments. Raises ValueError when they are not there."""
    before, begin, rest = readme.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has lost the comments around its table:\n{BEGIN}\n{END}")
    return before, between.strip(), after


def main() -> None:
    features, _ = collect()
    before, _, after = split(README.read_text(encoding="utf-8"))
    README.write_text(f"{before}{BEGIN}\n{table(features)}\n{END}{after}", encoding="utf-8")
    print(f"README.md: {len({(f.area, f.text) for f in features})} features")


if __name__ == "__main__":
    main()
