"""The documents say what the code does: every reason has a row, every link leads somewhere, every example is accepted."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from soloist_fence.api import Reason
from soloist_operator.api.validate import InvalidSpec, validate
from soloist_trader import strategies

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ROWS = [line for line in TROUBLESHOOTING.splitlines() if line.startswith("| ")]
WORD = re.compile(r"[A-Z][A-Za-z]+")
QUOTED_WORD = re.compile(r"`([A-Z][A-Za-z]+)`")
KUBERNETES_WORDS = {"Unschedulable", "ImagePullBackOff", "CrashLoopBackOff"}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def words(expression: ast.expr) -> Iterator[str]:
    """Literal CamelCase words of an expression such as `"A"`, `x or "A"` or `"A" if y else "B"`."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and WORD.fullmatch(node.value):
            yield node.value


def reasons_of(node: ast.AST) -> Iterator[str]:
    """Reasons that one node of the operator's code gives to a condition or a claim."""
    match node:
        case ast.Call(func=ast.Name(id="no" | "yes"), args=[reason, *_]):
            yield from words(reason)
        case ast.Call(func=ast.Name(id="Verdict" | "InvalidSpec"), args=[_, reason, *_]):
            yield from words(reason)
        case ast.Assign(targets=[ast.Name(id="reason")], value=value):
            yield from words(value)
        case ast.AnnAssign(target=ast.Name(id="reason"), value=ast.expr() as value):
            yield from words(value)
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "reason":
                    yield from words(value)


def operator_reasons() -> set[str]:
    found = {
        reason
        for path in sources("operator/soloist_operator")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for reason in reasons_of(node)
    }
    constants = {"WaitingForApproval"}  # a name, not a literal, where it is given
    return found | constants


def test_the_search_finds_the_operators_reasons():
    known = {
        "AccountConflict",
        "OldInstanceUnproven",
        "UnknownVenue",
        "InvalidSpec",
        "Forbidden",
        "NoEvidence",
        "Sole",
    }
    assert known <= operator_reasons()


@pytest.mark.parametrize("reason", sorted(operator_reasons() | {str(reason) for reason in Reason}))
def test_every_reason_is_explained(reason):
    assert f"`{reason}`" in TROUBLESHOOTING, f"docs/troubleshooting.md lacks a row for the reason {reason}"


def test_no_row_explains_what_cannot_happen():
    code = "".join(
        path.read_text(encoding="utf-8") for room in ("operator", "trader") for path in sources(room)
    )
    explained = {word for row in ROWS for word in QUOTED_WORD.findall(row.split("|")[1])}
    assert explained, "no rows were found"
    assert not {word for word in explained - KUBERNETES_WORDS if f'"{word}"' not in code}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)\s#]+)", document.read_text(encoding="utf-8"))
    broken = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not broken, f"{document.name} links to {broken}, which do not exist"


def bots() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        yield path.name, path.read_text(encoding="utf-8")
    for block in re.findall(
        r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    ):
        yield "README.md", block


@pytest.mark.parametrize(
    ("where", "text"), list(bots()), ids=lambda value: value if "\n" not in value else ""
)
def test_every_bot_that_is_shown_is_accepted(where, text):
    spec = validate(yaml.safe_load(text)["spec"], {"simulator"})
    assert not isinstance(spec, InvalidSpec), f"{where}: {spec}"
    strategies.load(spec.strategy.name).from_mapping(spec.strategy.parameters or {})
