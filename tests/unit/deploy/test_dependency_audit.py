"""The checks of dependencies: each finds what it is for, and a machine that cannot ask does not look clean."""

import json
from collections.abc import Callable, Mapping
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from deploy.dependencies import __main__ as command, advisories, licences, pins, sbom
from deploy.dependencies.advisories import Report, read
from deploy.dependencies.required import RUNTIME, closure, direct

Made = Callable[..., Distribution]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Makes the metadata of an installed distribution."""

    def make(name: str, version: str = "1.0", *lines: str) -> Distribution:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        head = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines]
        (folder / "METADATA").write_text("\n".join(head) + "\n\n")
        return PathDistribution(folder)

    return make


def pinned(tmp_path: Path, text: str) -> dict[str, Version]:
    file = tmp_path / "constraints.txt"
    file.write_text(text)
    return pins.read(file)


def test_pins_are_read_by_their_canonical_names(tmp_path: Path) -> None:
    assert pinned(tmp_path, "# made by hand\n\nPip_API==1.0  # why\nboolean.py==5.0\n") == {
        "pip-api": Version("1.0"),
        "boolean-py": Version("5.0"),
    }


@pytest.mark.parametrize("text", ["a>=1\n", "a\n", "a==1.*\n", "a==1\nA==2\n", "-e .\n"])
def test_lines_that_pin_nothing_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"constraints\.txt:"):
        pinned(tmp_path, text)


def test_what_is_installed_otherwise_than_pinned_is_found(tmp_path: Path, made: Made) -> None:
    given = pinned(tmp_path, "same==1.0\nolder==2.0\ntorch==2.13.0\nshort==1\nbuild==2.13.0+cu\nabsent==1\n")
    installed = [
        made("same"), made("older", "1.9"), made("torch", "2.13.0+cpu"), made("short", "1.0+cpu"),
        made("build", "2.13.0"), made("Needed"), made("stray"), made("pip", "99"), made("preceptor-server"),
    ]  # fmt: skip
    found = pins.findings(given, installed, {"needed"})
    assert found == [
        "build 2.13.0 is installed; constraints.txt pins 2.13.0+cu",
        "needed 1.0 is installed and not pinned; add it to constraints.txt",
        "older 1.9 is installed; constraints.txt pins 2.0",
        "stray 1.0 is installed and not pinned; nothing of ours requires it: uninstall it, or add it to pyproject.toml "
        "and constraints.txt",
    ]


@pytest.mark.parametrize(
    ("lines", "accepted"),
    [
        (["License-Expression: MIT"], True),
        (["License-Expression: mit and Apache-2.0 WITH LLVM-exception"], True),
        (["License-Expression: GPL-3.0-only OR MIT"], True),
        (["License-Expression: MIT AND GPL-3.0-only"], False),
        (["License-Expression: MIT OR GPL-3.0-only AND AGPL-3.0-only"], True),
        (["License-Expression: (MIT OR GPL-3.0-only) AND AGPL-3.0-only"], False),
        (["License-Expression: GPL-2.0-only WITH Classpath-exception-2.0"], False),
        (["License-Expression: LicenseRef-Proprietary"], False),
        (["License-Expression: nonsense"], False),
        (["License-Expression: GPL-3.0-only", "Classifier: License :: OSI Approved :: MIT License"], False),
        (["License: MIT License"], True),
        (["License: Apache"], False),
        (["License: Proprietary", "Classifier: License :: OSI Approved :: MIT License"], False),
        (["License: GPLv3"], False),
        (["License: AGPL-3.0-only"], False),
        (["Classifier: License :: OSI Approved :: Apache Software License"], True),
        (["Classifier: License :: OSI Approved", "Classifier: License :: OSI Approved :: BSD License"], True),
        (["Classifier: License :: OSI Approved"], False),
        (
            [
                "Classifier: License :: OSI Approved :: MIT License",
                "Classifier: License :: OSI Approved :: GNU Affero General Public License v3",
            ],
            False,
        ),
        (["License: UNKNOWN"], False),
        ([f"License: {'Permission is granted to everyone. ' * 20}"], False),
        ([], False),
    ],
)
def test_licences(made: Made, lines: list[str], accepted: bool) -> None:
    found = licences.findings({"it": made("it", "1.0", *lines)}, {})
    assert (found == []) == accepted, found
    assert all(line.startswith("it 1.0: ") for line in found)


def test_an_exception_counts_and_must_be_needed(made: Made) -> None:
    unknown, plain = made("unknown"), made("plain", "1.0", "License-Expression: MIT")
    assert licences.findings({"unknown": unknown}, {"unknown": "read its files"}) == []
    found = licences.findings({"plain": plain}, {"plain": "why", "gone": "why"})
    assert found == [
        "plain 1.0: its licence is accepted; remove the exception",
        "gone: nothing requires it any more; remove the exception",
    ]


def test_what_we_run_has_accepted_licences(root: Path) -> None:
    required = closure(direct(root, RUNTIME))
    assert {"torch", "fastapi", "pyjwt", "cryptography", "cffi", "starlette", "typer"} <= set(required)
    assert not {"pytest", "preceptor"} & set(required)
    assert licences.findings(required) == []


def test_requirements_lead_on_through_extras_and_markers(made: Made) -> None:
    there = {
        "a": made("a", "1.0", "Requires-Dist: b", "Requires-Dist: c; extra == 'more'", "Provides-Extra: more"),
        "b": made("b", "1.0", "Requires-Dist: a[more]", "Requires-Dist: d; python_version < '3'"),
        "c": made("c"),
    }
    assert set(closure([Requirement("a")], lambda name: there[name])) == {"a", "b", "c"}
    assert set(closure([Requirement("c; python_version < '3'")], lambda name: there[name])) == set()


HOLE = {"id": "GHSA-1", "aliases": ["CVE-1"], "fix_versions": ["2.11"], "description": "long"}


def report(*entries: Mapping[str, object]) -> str:
    return json.dumps({"dependencies": entries, "fixes": []})


def test_reports_of_the_audit() -> None:
    good = {"name": "a", "version": "1", "vulns": []}
    bad = {"name": "jinja2", "version": "2.10", "vulns": [HOLE, {"id": "X", "aliases": [], "fix_versions": []}]}
    skipped = {"name": "b", "skip_reason": "Dependency not found: b (1)"}
    assert read(report(good)) == Report()
    assert read(report(good, bad, skipped)) == Report(
        ("jinja2 2.10: GHSA-1 (CVE-1), fixed in 2.11", "jinja2 2.10: X, not fixed yet"),
        ("Dependency not found: b (1)",),
    )
    assert read("", "Traceback\nConnectionError: no route\n").failure == "ConnectionError: no route"
    assert read("[]").failure


def answers(*reports: Report) -> tuple[advisories.Ask, list[Mapping[str, Version]]]:
    asked: list[Mapping[str, Version]] = []
    waiting = list(reports)

    def ask(given: Mapping[str, Version]) -> Report:
        asked.append(given)
        return waiting.pop(0)

    return ask, asked


FOUND = Report(("jinja2 2.10: GHSA-1",))
PINS = {"a": Version("1")}


@pytest.mark.parametrize(
    "probe",
    [Report(), Report(skipped=("not found",)), Report(failure="ConnectionError")],
    ids=["a mirror without advisories", "a mirror that knows nothing", "no network"],
)
def test_nothing_is_called_clean_where_a_known_hole_is_not_found(probe: Report) -> None:
    ask, asked = answers(probe)
    found, why = advisories.audit(PINS, ask)
    assert found == []
    assert why is not None
    assert "jinja2 2.10" in why
    assert asked == [advisories.KNOWN]


def test_what_the_audit_finds() -> None:
    ask, asked = answers(FOUND, Report())
    assert advisories.audit(PINS, ask) == ([], None)
    assert asked[1] == PINS
    ask, _ = answers(FOUND, Report(("a 1: GHSA-2",), ("b (1)",)))
    assert advisories.audit(PINS, ask) == (["a 1: GHSA-2", "not audited: b (1)"], None)
    ask, _ = answers(FOUND, Report(failure="it broke off"))
    assert advisories.audit(PINS, ask) == ([], "it broke off")


def test_an_unreachable_service_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    found, why = advisories.audit(PINS)
    assert found == []
    assert why is not None


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_fitting", "_pinned"):
        monkeypatch.setattr(command, name, lambda: [])
    monkeypatch.setattr(licences, "findings", lambda *_: [])


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(
    ("reports", "strict", "status", "says"),
    [
        ([FOUND, Report()], False, 0, "ok     no known vulnerabilities"),
        ([FOUND, Report()], True, 0, "ok     no known vulnerabilities"),
        ([FOUND, Report(("a 1: GHSA-2",))], False, 1, "a 1: GHSA-2"),
        ([Report(failure="offline")], False, 0, "NOT AUDITED: no release was compared"),
        ([Report(failure="offline")], True, 1, "NOT AUDITED: no release was compared"),
    ],
)
def test_the_status_of_the_audit(
    reports: list[Report], strict: bool, status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.audit(strict=strict, ask=answers(*reports)[0]) == status
    assert says in capsys.readouterr().out


@pytest.mark.usefixtures("sound")
def test_other_findings_fail_it_also_where_it_cannot_ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_pinned", lambda: ["stray 1.0 is installed and not pinned"])
    assert command.audit(strict=False, ask=answers(Report(failure="offline"))[0]) == 1
    assert "FAILED all is pinned" in capsys.readouterr().out


def test_a_bill_that_misses_something_is_found(tmp_path: Path, made: Made) -> None:
    file = tmp_path / "sbom.json"
    main = {"component": {"name": "m", "version": "2"}}
    file.write_text(json.dumps({"components": [{"name": "A_b", "version": "1.0"}], "metadata": main}))
    assert sbom.findings(file, [made("a.b"), made("m", "2")]) == []
    assert sbom.findings(file, [made("a-b"), made("c")]) == [
        "c 1.0 is installed and not in the bill",
        "m 2 is in the bill and not installed",
    ]
