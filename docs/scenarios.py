"""Writes docs/tcp-scenarios.md: what RFC 9293 asks of a host's TCP, and the scenarios that show it kept.

`make features` runs this. tests/test_readme.py fails when the table is not what the tests are marked with.
"""

from docs.marks import ROOT, Scenario, collect

PAGE = ROOT / "docs" / "tcp-scenarios.md"
HEAD = """# What RFC 9293 asks, and the stories that show it

Each row is a story in `tests/scenarios/`: a program's calls, a peer's segments, and what must come back when.
The numbers are those of the RFC's own list (appendix B). Written by `make features` from the marks on the
tests; a test compares.

{count} cases. {beside} of them are also told to the Linux kernel, behind a TAP: *the same* where it does the
same, or else what it does instead, and the test fails should it change its mind.
"""


def page(scenarios: list[Scenario]) -> str:
    """The page in Markdown, in the order of the RFC's sections."""
    count = sum(s.cases for s in scenarios)
    beside = sum(s.cases for s in scenarios if s.linux)
    lines = [HEAD.format(count=count, beside=beside)]
    lines += ["| § | number | what is shown | cases | Linux | test |", "|---|---|---|---|---|---|"]
    for s in sorted(scenarios, key=lambda s: ([int(part) for part in s.section.split(".")], s.text)):
        test = s.test.removeprefix("tests/scenarios/")
        lines.append(
            f"| {s.section} | {s.requirement} | {s.text} | {s.cases} | {s.linux or '–'} | `{test}` |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    _, scenarios = collect()
    PAGE.write_text(page(scenarios), encoding="utf-8")
    print(f"{PAGE.name}: {sum(s.cases for s in scenarios)} cases")


if __name__ == "__main__":
    main()
