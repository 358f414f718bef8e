"""What MkDocs calls while it builds the site; see ``hooks`` in mkdocs.yml."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
# As the lecture goes; what is not named here comes last.
ORDER = (
    "tour",
    "train-live",
    "activations",
    "occlusion",
    "patches",
    "map",
    "your-own-model",
    "large-data",
)


def notebooks() -> list[Path]:
    """The notebooks in the order in which they are meant to be read."""
    places = {name: place for place, name in enumerate(ORDER)}
    found = sorted(NOTEBOOKS.glob("*.ipynb"))
    return sorted(found, key=lambda path: places.get(path.stem, len(ORDER)))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Lay the notebooks beside the pages, to be downloaded; none is run."""
    for path in notebooks():
        name = f"notebooks/{path.name}"
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the list of notebooks where a page has the mark for it."""
    return markdown.replace("<!-- notebooks -->", _listed())


def _listed() -> str:
    lines = ["| notebook | | sections |", "| --- | --- | --- |"]
    for path in notebooks():
        titles = _titles(path)
        sections = " · ".join(titles[1:])
        lines.append(f"| [{path.stem}](notebooks/{path.name}) | {titles[0]} | {sections} |")
    return "\n".join(lines)


def _titles(path: Path) -> list[str]:
    """Headings of a notebook: its title, then its sections without their numbers."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    found = re.findall(r"^##? (?:\d+\. )?(.+)$", text, re.MULTILINE)
    return [title.replace("|", "\\|") for title in found if not title.startswith("To re")]
