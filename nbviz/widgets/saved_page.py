"""save_html: views in one file that needs no Python and no network.

The file holds each view's module and state, and what Python would answer to the choices and
questions that were recorded (`page_recording`). ``js/page`` is the host that gives views all this
as Jupyter would.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import math
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from nbviz.widgets.base import View, bundle_text
from nbviz.widgets.linking import Link
from nbviz.widgets.page_plans import plan_of
from nbviz.widgets.page_recording import (
    Axis,
    Plan,
    Question,
    Recorded,
    Series,
    apart,
    recordings,
)

__all__ = ["SavedPage", "save_html"]

# Of what does not compress, base64 makes four bytes of three.
_BASE64 = 4 / 3
# Buffers begin where any typed array may.
_ALIGNED = 8
# What text of the file takes, compressed, at most: a share.
_TEXT = 0.35
_BUFFER = "$buffer"
# Traits that mean something to Jupyter only.
_NOT_KEPT = {
    *("_anywidget_id", "_css", "_dom_classes", "_segment", "layout", "tabbable", "tooltip"),
    *("_model_module", "_model_module_version", "_model_name", "_view_count"),
    *("_view_module", "_view_module_version", "_view_name"),
}


@dataclass(frozen=True)
class SavedPage:
    """What `save_html` wrote.

    Attributes
    ----------
    path : Path
    nbytes : int
        Size of the file.
    left_out : tuple of str
        What did not fit into `max_bytes`, or cannot be kept, a sentence each; the page says it too.
    """

    path: Path
    nbytes: int
    left_out: tuple[str, ...]


def save_html(
    items: View | str | Sequence[View | str],
    path: str | Path,
    *,
    title: str = "nbviz",
    max_bytes: int = 25_000_000,
    images: Sequence[int] | None = None,
    progress: bool = True,
) -> SavedPage:
    """Write views into one HTML file that works from disk, without Python and without a network.

    Kernels sort and zoom, layers that fit are walked, the mask drags over its full map, patches
    browse, the map pans with its pictures. What needs Python says so in its place. Linked views are
    linked in the page too. Interrupt it, and the file has what was recorded so far.

    Parameters
    ----------
    items : View, str, or sequence of these
        In their order on the page; a text is a paragraph.
    path : str or Path
        Ends in ``.html``.
    title : str
    max_bytes : int
        Most bytes of the file. What is least important is left out, and named.
    images : sequence of int, optional
        Pictures that can be walked in an `ActivationBrowser`; by default the first eight.
    progress : bool
        Whether a bar shows how far it is.

    Returns
    -------
    SavedPage

    Raises
    ------
    TypeError
        If an item is neither a view nor a text.
    ValueError
        If there is no view, the path does not end in ``.html``, the views alone do not fit into
        `max_bytes`, or there is no such picture.

    Examples
    --------
    >>> import tempfile, nbviz
    >>> network, *_ = nbviz.demos.digits()
    >>> grid = nbviz.FilterGrid(network)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saved = nbviz.save_html([grid], f"{folder}/kernels.html", progress=False)
    >>> saved.left_out
    ()
    """
    listed = [items] if isinstance(items, View | str) else list(items)
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"expected a path that ends in .html, got {target.name!r}")
    views = _views_of(listed)
    plans = [plan_of(view, images) for view in views]
    page = _Page(max_bytes)
    with ExitStack() as stack:
        for view, plan in zip(views, plans, strict=True):
            page.open(view, plan)
        page.check()
        for view, plan in zip(views, plans, strict=True):
            stack.enter_context(apart(view, plan.kept))
        _record(page, views, plans, progress=progress)
    content = page.html(title, listed, _links(views))
    target.write_bytes(content)
    return SavedPage(target, len(content), page.left_out())


def _views_of(listed: Sequence[View | str]) -> list[View]:
    """All views, with those that a view holds."""
    found: dict[str, View] = {}
    for item in listed:
        if isinstance(item, str):
            continue
        if not isinstance(item, View):
            raise TypeError(
                f"expected nbviz views and texts, got a {type(item).__name__}; a chart or another "
                "widget cannot be kept in a page"
            )
        for view in (item, *item.inner_views()):
            found[view.model_id] = view
    if not found:
        raise ValueError("expected at least one view to save, got none")
    return list(found.values())


def _links(views: Sequence[View]) -> list[dict[str, Any]]:
    """Pairs of linked views, with what they share."""
    links = {
        id(owner): owner
        for view in views
        for kinds in view._trait_notifiers.values()
        for handlers in kinds.values()
        for owner in (getattr(handler, "__self__", None) for handler in handlers)
        if isinstance(owner, Link)
    }
    return [
        {"models": [one.model_id, other.model_id], "shared": list(shared)}
        for link in links.values()
        for one, other in combinations(views, 2)
        if (shared := link.between(one, other))
    ]


def _record(page: _Page, views: Sequence[View], plans: Sequence[Plan], *, progress: bool) -> None:
    """Ask the views for what each would need, so that all get their share of the room."""
    left = {
        view.model_id: (view, recordings(view, plan, page.closed(view)))
        for view, plan in zip(views, plans, strict=True)
    }
    with tqdm(disable=not progress, desc="Recording", unit=" answers") as bar:
        try:
            while left:
                view, each = left[min(left, key=page.taken)]
                recorded = next(each, None)
                if recorded is None:
                    del left[view.model_id]
                else:
                    page.add(view, recorded)
                    bar.update()
        except KeyboardInterrupt:
            page.interrupted = True


class _Page:
    """What goes into the file, as far as it fits."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffers: list[bytes] = []
        self._known: dict[bytes, int] = {}
        self._models: dict[str, dict[str, Any]] = {}
        self._parts: dict[tuple[str, int], dict[str, Any]] = {}
        self._closed: dict[tuple[str, int], str] = {}
        self._notes: list[str] = []
        self._spent = float(len(bundle_text("page")))
        self._taken: dict[str, float] = {}
        self.interrupted = False

    def open(self, view: View, plan: Plan) -> None:
        """Take a view as it is."""
        state = view.get_state()
        module = state.pop("_esm")
        kept = {name: value for name, value in state.items() if name not in _NOT_KEPT}
        packed, _ = self._kept({"module": module.encode(), "state": kept})
        self._models[view.model_id] = {
            **packed,
            "axes": [],
            "answers": [],
            "fixed": list(plan.fixed),
            "silent": list(plan.silent),
            "blank": self._kept(dict(plan.blank))[0],
        }
        self._notes += plan.notes

    def check(self) -> None:
        """Whether the views alone fit."""
        if self._spent > self._max_bytes:
            raise ValueError(
                f"the views alone take about {self._spent / 1e6:.1f} MB, more than max_bytes = "
                f"{self._max_bytes:,}; give it more, or save fewer views"
            )

    def taken(self, model_id: str) -> float:
        """What the answers of a view take of the file so far, in bytes."""
        return self._taken.get(model_id, 0.0)

    def closed(self, view: View) -> Callable[[Axis | Series], bool]:
        """Whether the rest of a part is left out."""
        return lambda part: (view.model_id, id(part)) in self._closed

    def add(self, view: View, recorded: Recorded) -> None:
        """Take an answer if there is room for it; else nothing more of its part."""
        model, part, of = self._models[view.model_id], recorded.part, recorded.of
        key, before = (view.model_id, id(part)), self._spent
        packed, fits = self._kept(recorded.answer, most=self._max_bytes - before)
        if not fits:
            left = f"{recorded.count - recorded.number:,} of {recorded.count:,} {part.names}"
            self._closed[key] = f"{type(view).__name__}: {left} left out." if part.names else ""
            return
        self._taken[view.model_id] = self.taken(view.model_id) + self._spent - before
        if isinstance(of, Question):
            model["answers"].append(self._answer(of, packed))
        elif isinstance(part, Axis):
            if key not in self._parts:
                self._parts[key] = {
                    "choices": list(part.choices),
                    "names": part.names,
                    "resets": {name: list(names) for name, names in part.resets.items()},
                    "elsewhere": None if part.elsewhere is None else dict(part.elsewhere),
                    "values": [],
                }
                model["axes"].append(self._parts[key])
            self._parts[key]["values"].append([list(of), packed])

    @staticmethod
    def _answer(question: Question, packed: dict[str, Any]) -> dict[str, Any]:
        return {
            "kind": question.kind,
            "same": dict(question.same),
            "near": dict(question.near),
            "among": question.among,
            "listed": list(question.given),
            "answer": packed,
        }

    def left_out(self) -> tuple[str, ...]:
        """What the page lacks, a sentence each."""
        stopped = ["Recording was interrupted: not all that fits is there."]
        return (
            *self._notes,
            *(said for said in self._closed.values() if said),
            *(stopped if self.interrupted else ()),
        )

    def _kept(
        self, value: dict[str, Any], *, most: float = math.inf
    ) -> tuple[dict[str, Any], bool]:
        """The same with its buffers by number; whether there is room for it, and it was taken."""
        new: dict[bytes, bytes] = {}
        packed = self._numbered(value, new)
        text = len(json.dumps(packed, separators=(",", ":"))) * _TEXT
        size = _BASE64 * (text + sum(len(zlib.compress(data, 1)) for data in new.values()))
        if size > most:
            return packed, False
        for digest, data in new.items():
            self._known[digest] = len(self._buffers)
            self._buffers.append(data)
        self._spent += size
        return packed, True

    def _numbered(self, value: Any, new: dict[bytes, bytes]) -> Any:
        if isinstance(value, bytes | bytearray | memoryview):
            data = bytes(value)
            digest = hashlib.blake2b(data, digest_size=16).digest()
            if digest in self._known:
                return {_BUFFER: self._known[digest]}
            new.setdefault(digest, data)
            return {_BUFFER: len(self._buffers) + list(new).index(digest)}
        if isinstance(value, Mapping):
            return {str(name): self._numbered(each, new) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._numbered(each, new) for each in value]
        return value

    def html(
        self, title: str, listed: Sequence[View | str], links: Sequence[dict[str, Any]]
    ) -> bytes:
        """The file."""
        items = [
            {"text": item} if isinstance(item, str) else {"model": item.model_id} for item in listed
        ]
        places, at = [], 0
        for data in self._buffers:
            places.append([at, len(data)])
            at += -(-len(data) // _ALIGNED) * _ALIGNED
        said = {
            "title": title,
            "version": version("nbviz"),
            "items": items,
            "models": self._models,
            "links": list(links),
            "left_out": self.left_out(),
            "buffers": places,
        }
        head = json.dumps(said, separators=(",", ":"), allow_nan=False).encode()
        padded = head + b" " * (-len(head) % _ALIGNED)
        padding = (data + bytes(-len(data) % _ALIGNED) for data in self._buffers)
        whole = len(padded).to_bytes(_ALIGNED, "little") + padded + b"".join(padding)
        packed = b64encode(gzip.compress(whole, 6, mtime=0)).decode()
        named = html.escape(title)
        return _PAGE.format(title=named, data=packed, host=bundle_text("page")).encode()


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="nbviz">
<title>{title}</title>
</head>
<body>
<noscript>This page needs JavaScript. It loads nothing from elsewhere.</noscript>
<script type="application/octet-stream" id="nbviz-data">{data}</script>
<script type="module">{host}</script>
</body>
</html>
"""
