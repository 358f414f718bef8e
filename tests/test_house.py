"""Rules of the house that a reader of one file cannot see."""

from __future__ import annotations

import ast
import json
import re
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

import nbviz

ROOT = Path(__file__).parent.parent
PYTHON = sorted(
    p for folder in ("nbviz", "tests", "benchmarks") for p in (ROOT / folder).rglob("*.py")
)
TYPESCRIPT = sorted((ROOT / "js").rglob("*.ts"))

# What each part may import of the others.
ALLOWED = {
    "network": {"network", "analysis"},
    "analysis": {"analysis", "network"},
    "widgets": {"widgets", "analysis", "network"},
    "demos": {"demos", "network"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "nbviz").parts[0].removesuffix(".py")


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_run_one_way(part):
    for path in (p for p in PYTHON if (ROOT / "nbviz") in p.parents and part_of(p) == part):
        parts = {m.split(".")[1] for m in imports(path) if m.startswith("nbviz.")}
        inside = {p for p in parts if (ROOT / "nbviz" / p).is_dir() or p == "network"}
        assert inside <= ALLOWED[part], f"{path.name} imports nbviz.{inside - ALLOWED[part]}"


def test_analysis_knows_no_widget():
    barred = {"ipywidgets", "anywidget", "bqplot", "traitlets", "IPython"}
    for path in (ROOT / "nbviz" / "analysis").rglob("*.py"):
        assert not {m.split(".")[0] for m in imports(path)} & barred, path.name


def test_every_import_is_a_declared_dependency():
    declared = {
        re.split(r"[\s<>=!;\[]", r)[0].lower() for r in requires("nbviz") or [] if "extra" not in r
    }
    # scipy comes with scikit-learn, traitlets with ipywidgets.
    declared |= {"nbviz", "scipy", "traitlets"}
    owners = packages_distributions()
    for path in (ROOT / "nbviz").rglob("*.py"):
        for module in {m.split(".")[0] for m in imports(path)} - set(sys.stdlib_module_names):
            names = {name.lower() for name in owners.get(module, [module])}
            assert names & declared, f"{path.name} imports {module}, which is not declared"


@pytest.mark.parametrize("path", [*PYTHON, *TYPESCRIPT], ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_stays_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_function_stays_readable(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            documented = ast.get_docstring(node) is not None
            start = (first.end_lineno or 0) if documented else node.lineno
            length = (node.end_lineno or 0) - start
            assert length <= 60, f"{path.name}: {node.name} has {length} lines"


def test_text_from_strangers_stays_text():
    for path in TYPESCRIPT:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text), path


def test_both_halves_carry_one_version():
    assert json.loads((ROOT / "package.json").read_text())["version"] == nbviz.__version__
    assert f'version = "{nbviz.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_the_lock_names_no_registry():
    assert '"resolved"' not in (ROOT / "package-lock.json").read_text()
