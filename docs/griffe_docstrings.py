"""How griffe is to read this package's docstrings; see ``extensions`` in mkdocs.yml."""

from __future__ import annotations

import re
from typing import Any

from griffe import Docstring, Extension, Object

# Names with one description, and no type: the line, and what is indented below it.
GROUPED = re.compile(
    r"^(\*{0,2}\w+(?:, \*{0,2}\w+)+)\n"
    r"((?:[ ]{4}.*\n?|\n(?=[ ]{4}))+)",
    re.MULTILINE,
)


class NamesApart(Extension):
    """Parameters that share a description, each by itself.

    Of a group without a type griffe takes the annotation and the default of the first for all.
    """

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Take the groups of a docstring apart before it is parsed."""
        docstring = obj.docstring
        if isinstance(docstring, Docstring):
            docstring.value = GROUPED.sub(_apart, docstring.value)


def _apart(group: re.Match[str]) -> str:
    names, said = group[1].split(", "), group[2].rstrip("\n")
    return "".join(f"{name}\n{said}\n" for name in names)
