"""`labstack doctor` says what this machine can do, and exits 0 wherever simulation works."""

import json
import os
from pathlib import Path

import pytest

from labstack import doctor, linux_namespace
from labstack.doctor import Check
from labstack.linux import LinuxPeer


def test_it_looks_at_everything_and_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main() == 0
    shown = capsys.readouterr().out
    for word in (*doctor.PURPOSES.values(), *doctor.PACKAGES, *doctor.PROGRAMS, "/dev/net/tun", "✓ Python"):
        assert word in shown


def test_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(json=True) == 0
    checks = [Check(**check) for check in json.loads(capsys.readouterr().out)["checks"]]
    assert {check.purpose for check in checks} == doctor.PURPOSES.keys()
    assert all(check.ok or check.remedy for check in checks), "what is missing has a remedy"


@pytest.mark.linux
def test_where_a_tap_can_be_made_it_says_so(linux: LinuxPeer) -> None:
    linux.close()
    (tap,) = [check for check in doctor.diagnose() if check.name == doctor.TAP]
    assert tap.ok and tap.seen == doctor.WAYS[linux.way]


def test_where_no_tap_can_be_made_it_says_why_and_exits_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(linux_namespace, "ways", lambda: iter([("root", ["false"])]))
    assert doctor.main() == 0
    shown = capsys.readouterr().out
    assert f"✗ {doctor.TAP}: no network namespace can be made here (root: ended at once)" in shown
    assert shown.partition(doctor.TAP)[2].splitlines()[1].startswith("      → ")


@pytest.mark.parametrize("number", range(len(doctor.SWITCHES)))
def test_a_kernel_that_denies_user_namespaces_has_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    _, denied, remedy = doctor.SWITCHES[number]
    (tmp_path / "switch").write_text(f"{denied}\n")
    monkeypatch.setattr(doctor, "SWITCHES", [(str(tmp_path / "switch"), denied, remedy)])
    monkeypatch.setattr(doctor, "TUN", os.devnull)
    monkeypatch.setattr(doctor, "in_container", lambda: False)
    assert doctor.tap_remedy() == remedy
    monkeypatch.setattr(doctor, "in_container", lambda: True)
    assert doctor.tap_remedy() == doctor.CONTAINER_REMEDY
    assert "--cap-add NET_ADMIN --device /dev/net/tun" in doctor.CONTAINER_REMEDY
