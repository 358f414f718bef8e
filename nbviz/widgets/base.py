"""What all nbviz widgets share: their bundle, their errors, their requests and their still picture.

A view asks with a custom message ``{kind, rid, ...}``; the method marked ``@answers(kind)`` is
called with the other fields (and with ``arrays``, by name, where the message has any) and returns
what `wire.pack` makes, which goes back under the same ``rid``. An exception goes back under it too
and is shown in the view.
"""

from __future__ import annotations

import difflib
import html
import io
import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import anywidget
import numpy as np
import traitlets
from PIL import Image

from nbviz.widgets import wire

STATIC = Path(__file__).parent.parent / "static"

Answer = Callable[..., dict[str, Any]]
AnswerT = TypeVar("AnswerT", bound=Answer)


def bundle(view: str) -> str | Path:
    """The ES module of a view.

    Text, because a ``Path`` makes anywidget keep the widget, and the model with it, alive for ever
    (anywidget#929); a ``Path`` only where ``ANYWIDGET_HMR=1`` asks for hot reload.
    """
    text = bundle_text(view)
    return STATIC / f"{view}.js" if os.environ.get("ANYWIDGET_HMR") == "1" else text


def bundle_text(name: str) -> str:
    """A built ES module as text.

    Raises
    ------
    FileNotFoundError
        If it has not been built.
    """
    path = STATIC / f"{name}.js"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.name} has not been built; run `npm ci && npm run build` in the source tree, "
            "or install a released wheel, which carries it"
        )
    return path.read_text(encoding="utf-8")


def answers(kind: str) -> Callable[[AnswerT], AnswerT]:
    """Mark the method that answers a view's requests of this kind.

    Examples
    --------
    >>> class Mean(View):
    ...     @answers("mean")
    ...     def _mean(self, arrays: dict[str, np.ndarray], scale: float) -> dict[str, Any]:
    ...         return wire.pack({}, mean=float(arrays["pixels"].mean()) * scale)
    """

    def mark(method: AnswerT) -> AnswerT:
        method.answers_kind = kind  # type: ignore[attr-defined]
        return method

    return mark


class Choice(traitlets.Enum):  # type: ignore[type-arg]
    """One of a few strings; the error names them, and the nearest to what came."""

    def error(  # type: ignore[override]
        self,
        obj: Any,
        value: Any,
        error: Exception | None = None,
        info: str | None = None,
    ) -> None:
        """Raise a TraitError that says what was expected, what came and what is near."""
        del error, info
        names = [str(choice) for choice in self.values or ()]
        raise traitlets.TraitError(
            f"{self.name} of a {type(obj).__name__} must be one of {', '.join(map(repr, names))}; "
            f"got {value!r}{nearest(value, names)}"
        )


def nearest(value: object, names: list[str]) -> str:
    """``; did you mean 'x'?`` for the names nearest to `value`, or nothing."""
    close = difflib.get_close_matches(str(value), names, n=3)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def message_of(error: BaseException) -> str:
    """What a person reads of an error: its words, and what was noted on where it was raised."""
    return "\n".join([str(error) or type(error).__name__, *getattr(error, "__notes__", ())])


class View(anywidget.AnyWidget):
    """Base of all nbviz widgets; see the module for what it gives them."""

    _segment = traitlets.Int(0, min=0, max=65536).tag(sync=True)
    # What fills one TCP segment on the way to the browser, in bytes; 0 until a view has said it.

    problem = traitlets.Unicode().tag(sync=True, shown=True)
    """What went wrong last, shown in the view; empty when nothing did. `str`, default empty."""

    def __init__(self, **traits: Any) -> None:
        settable = [name for name in self._public() if not self.trait_metadata(name, "shown")]
        for name in traits:
            if name not in settable:
                raise TypeError(
                    f"{type(self).__name__}() has no argument {name!r}{nearest(name, settable)}"
                )
        self._refused = ""
        super().__init__(**traits)
        self.on_msg(_answer)

    def __setattr__(self, name: str, value: Any) -> None:
        # Python would take `grid.selcted = [1]` and nothing would happen.
        if not name.startswith("_") and not hasattr(self, name):
            near = difflib.get_close_matches(name, self._public(), n=1, cutoff=0.8)
            if near:
                raise AttributeError(
                    f"{type(self).__name__} has no {name!r}; did you mean {near[0]!r}?"
                )
        super().__setattr__(name, value)

    def _public(self) -> list[str]:
        return [name for name in self.trait_names() if not name.startswith("_")]

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the browser set; what it may not set is said in the view and set back."""
        try:
            super().set_state(sync_data)
        except Exception as error:  # noqa: BLE001 - whatever it is, the person shall read it
            self._refused = self.problem = message_of(error)
            self.send_state([name for name in sync_data if self.has_trait(name)])
        else:
            if self.problem == self._refused:
                self.problem = ""

    _apart = False
    # While it is asked what a page without Python is to know, its views hear nothing.

    def send_state(self, key: Any = None) -> None:
        """Tell the views of traits, unless a page is recorded."""
        if not self._apart:
            super().send_state(key)

    def send(self, content: Any, buffers: Any = None) -> None:
        """Send a message to the views, unless a page is recorded."""
        if not self._apart:
            super().send(content, buffers)

    def answer(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The answer to a view's request, as `wire.pack` makes it.

        Raises
        ------
        ValueError
            If there is no such request.
        """
        for method in _answering(type(self)):
            if method.answers_kind == kind:  # type: ignore[attr-defined]
                return method(self, **fields)
        raise ValueError(f"unknown request {kind!r}")

    def _handle_msg(self, msg: dict[str, Any]) -> None:
        """Act on a message of the browser, and see to it that the answer does not lie waiting.

        Jupyter's server leaves Nagle's algorithm on: a short answer is held back until the browser
        acknowledges the kernel's "busy", 40 ms later. A segment that is full goes out at once.
        """
        super()._handle_msg(msg)
        if self._segment and self.comm is not None:
            self.send({"kind": "flush"}, [bytes(self._segment)])

    @answers("part")
    def _part(self, name: str) -> dict[str, Any]:
        """The ES module of a part that a view fetches when it needs it, as text.

        What only works with Python behind it need not lie in every saved notebook.
        """
        known = {path.name.removesuffix(".part.js"): path for path in STATIC.glob("*.part.js")}
        if name not in known:
            raise ValueError(f"expected one of the parts {sorted(known)}, got {name!r}")
        return wire.pack({}, module=known[name].read_text(encoding="utf-8"))

    def inner_views(self) -> tuple[View, ...]:
        """The views that this one shows within itself."""
        return ()

    def still(self) -> np.ndarray:
        """The view as a picture, uint8 (H, W, 3): for saved notebooks, GitHub and print."""
        raise NotImplementedError

    def still_caption(self) -> str:
        """What `still` shows, for who cannot see it."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add a picture, so that a saved notebook shows something with no kernel and no widget."""
        made = super()._repr_mimebundle_(**kwargs)
        if made is None:
            return None
        data, metadata = made if isinstance(made, tuple) else (made, {})
        png = b64encode(png_bytes(self.still())).decode()
        caption = html.escape(self.still_caption(), quote=True)
        page = f'<img alt="{caption}" src="data:image/png;base64,{png}">'
        return {**data, "image/png": png, "text/html": page}, metadata


def _answer(widget: View, content: Mapping[str, Any], buffers: list[memoryview]) -> None:
    # A plain function: a bound method here would keep the widget alive through its own callbacks.
    fields = dict(content)
    kind, rid = str(fields.pop("kind", None)), fields.pop("rid", None)
    if rid is None:
        return
    try:
        described = fields.pop("arrays", [])
        if described or buffers:
            fields["arrays"] = wire.unpack({"arrays": described, "buffers": buffers})
        packed = widget.answer(kind, **fields)
    except BaseException as error:
        # Also when interrupted: a view asks nothing else until it has its answer.
        widget.send({"kind": "error", "rid": rid, "message": message_of(error)})
        if not isinstance(error, Exception):
            raise
        return
    outgoing = packed.pop("buffers")
    widget.send({**packed, "kind": kind, "rid": rid}, outgoing)


def _answering(cls: type[View]) -> list[Answer]:
    return [
        member
        for base in cls.__mro__
        for member in vars(base).values()
        if hasattr(member, "answers_kind")
    ]


def png_bytes(picture: np.ndarray, *, print_dpi: int | None = None) -> bytes:
    """A uint8 picture (H, W, 3) as PNG: quick to make, or small and with its dots an inch."""
    stream = io.BytesIO()
    image = Image.fromarray(picture)
    if print_dpi is None:
        # A picture is made at every display, and the highest level takes ten times as long.
        image.save(stream, "PNG", compress_level=1)
    else:
        image.save(stream, "PNG", dpi=(print_dpi, print_dpi))
    return stream.getvalue()
