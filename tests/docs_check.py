"""Build the documentation site with warnings as errors, and check what came out.

No notebook is run, and no page may load anything from another host: the site opens from disk, with
no network.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SITE = ROOT / ".cache" / "site"
# What a browser fetches by itself. A link that a person follows may lead anywhere.
FETCHED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "script": "src",
    "source": "src",
    "video": "src",
}
DOCUMENTED = ("nbviz", "nbviz.demos", "nbviz.scanning")


class Page(HTMLParser):
    """Addresses that a page fetches."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += filter(None, [dict(attrs).get(FETCHED.get(tag, ""))])


def build() -> int:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean", "-d", str(SITE)]
    # The theme has a word on its successor at every build; mkdocs.yml has it once.
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=quiet, check=False).returncode


def foreign(pages: list[Path]) -> list[str]:
    """What would come from another host, with the file that asks for it."""
    fetched = [(path, address) for path in pages for address in Page(path).fetched]
    for path in SITE.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", text)
        fetched += [(path, address) for address in found]
    return [
        f"{path.relative_to(SITE)} fetches {address}"
        for path, address in fetched
        if re.match(r"(https?:)?//", address)
    ]


def undocumented() -> list[str]:
    """Public names without an entry in the reference, by the inventory of the site."""
    packed = (SITE / "objects.inv").read_bytes()
    lines = zlib.decompress(packed.split(b"zlib.\n", 1)[1]).decode().splitlines()
    there = {line.split()[0] for line in lines}
    return [
        f"{module}.{name} has no entry in docs/reference"
        for module in DOCUMENTED
        for name in assigned(module, "__all__")
        # The second is a function in a module of its own name.
        if name != "__version__" and not {f"{module}.{name}", f"{module}.{name}.{name}"} & there
    ]


def unlike_versions() -> list[str]:
    """A citation of another version than this one."""
    wanted = f"version: {assigned('nbviz', '__version__')}"
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    return [] if wanted in lines else [f"CITATION.cff does not say {wanted}"]


def assigned(package: str, name: str) -> Any:
    """A constant of a package's ``__init__``, read and not imported: that would load PyTorch."""
    path = ROOT.joinpath(*package.split("."), "__init__.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise SystemExit(f"{path.relative_to(ROOT)} has no {name}")


def main() -> int:
    failed = build()
    if failed:
        return failed
    pages = [*SITE.rglob("*.html")]
    problems = [*foreign(pages), *undocumented(), *unlike_versions()]
    for problem in problems:
        print(problem)
    print(f"{len(pages)} pages in {SITE.relative_to(ROOT)}: open {SITE / 'index.html'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
