"""What can be chosen in a `TopPatches`, and what is refused with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from nbviz.widgets.base import Choice, nearest
from nbviz.widgets.gathered_choices import GatheredChoices

if TYPE_CHECKING:
    from nbviz.scanning.result import Scan

SORTS = ("index", "peak", "selectivity", "sparsity", "diversity", "purity")
SHOWN = ("patch", "image", "masked")

#: Patches beside one another, if nothing else is asked for.
PATCHES = 9
SMALLEST, LARGEST = 32, 128


class TopPatchesChoices(GatheredChoices):
    """The traits of a `TopPatches`."""

    CHOICES = (
        *("layer", "channel", "image", "unit", "box"),
        *("sort", "descending", "search", "show", "patches"),
    )

    scan: Scan

    layer = traitlets.Unicode().tag(sync=True)
    """Layer on show. `str`; setting one that was not scanned raises and names the nearest."""
    channel = traitlets.Int(-1, min=-1).tag(sync=True)
    """Channel that is opened; -1 (default) for none."""
    image = traitlets.Int(-1, min=-1).tag(sync=True)
    """Number of the image that is looked at whole; -1 (default) for none."""
    unit = traitlets.List(traitlets.Int(min=0)).tag(sync=True)
    """Unit of the patch that was chosen, as ``[row, column]``; empty (default) for none."""
    box = traitlets.List(traitlets.Int(min=0)).tag(sync=True)
    """Box on the image whose channels are asked for: ``[top, left, bottom, right]`` in pixels of
    the input, half-open; empty (default) for the whole image."""
    sort = Choice(SORTS, default_value="index").tag(sync=True)
    """``"index"``, ``"peak"``, ``"selectivity"`` (for the classes of `search`, if any),
    ``"sparsity"``, ``"diversity"`` or ``"purity"`` of the strongest patches."""
    descending = traitlets.Bool(False).tag(sync=True)
    """Largest first; with another `sort` than ``"index"`` a new view begins so."""
    search = traitlets.Unicode().tag(sync=True)
    """Words out of names of classes: channels are then sorted by how much they prefer these."""
    show = Choice(SHOWN, default_value="patch").tag(sync=True)
    """``"patch"`` (cut at the receptive field), the whole ``"image"``, or the patch ``"masked"``
    by the activation."""
    patches = traitlets.Int(PATCHES, min=1).tag(sync=True)
    """Patches a channel, up to as many as the scan kept."""
    size = traitlets.Int(0, min=0, max=LARGEST).tag(sync=True)
    """Side of a patch in CSS pixels, 32 to 128; 0 (default) fits: `patches` of them fill a row."""

    layers = traitlets.List(traitlets.Dict()).tag(sync=True, shown=True)
    """Read-only: the scanned layers, as dicts for the menu."""
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True, shown=True)
    """Read-only: names of the labels, by number."""
    outputs = traitlets.List(traitlets.Unicode()).tag(sync=True, shown=True)
    """Read-only: names of what the network takes images for, by number."""
    found = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: the classes that `search` found, and what is to be said of it."""
    overview = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: what is known of every channel of the layer, packed."""
    pictures = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: patches of the channels that stand first, as files of pictures, packed."""
    opened = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: the opened channel with its patches and its histogram, packed."""

    @traitlets.observe(*CHOICES)
    def _chosen(self, change: dict[str, Any]) -> None:
        self._choose(change)

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict[str, Any]) -> str:
        name: str = proposal["value"]
        self._check_scanned(name)
        return name

    def _check_scanned(self, name: str) -> None:
        names = list(self.scan.layers)
        if name not in names:
            raise traitlets.TraitError(
                f"layer {name!r} was not scanned{nearest(name, names)}; `patches.scan.layers` "
                "lists those that were"
            )

    def _layer_info(self) -> dict[str, Any]:
        # Of choices that come at once, the layer may be one that is about to be refused.
        self._check_scanned(self.layer)
        info: dict[str, Any] = self.scan.layer_info(self.layer)
        return info

    @traitlets.validate("channel")
    def _check_channel(self, proposal: dict[str, Any]) -> int:
        channel: int = proposal["value"]
        channels = self._layer_info()["channels"]
        if channel >= channels:
            raise traitlets.TraitError(
                f"channel must be below {channels} for layer {self.layer!r}; got {channel}"
            )
        return channel

    @traitlets.validate("image")
    def _check_image(self, proposal: dict[str, Any]) -> int:
        number: int = proposal["value"]
        index = self.scan.images.index
        at = int(index.searchsorted(number))
        if number >= 0 and (at == len(index) or index[at] != number):
            last = int(index[-1]) if len(index) else -1
            raise traitlets.TraitError(
                f"image must be the number of an image that was scanned, at most {last}; got "
                f"{number}"
            )
        return number

    @traitlets.validate("unit")
    def _check_unit(self, proposal: dict[str, Any]) -> list[int]:
        unit: list[int] = list(proposal["value"])
        if not unit:
            return unit
        rows, cols = self._layer_info()["grid"] or (1, 1)
        if len(unit) != 2 or unit[0] >= rows or unit[1] >= cols:
            raise traitlets.TraitError(
                f"unit must be [row, column] within the {rows} rows and {cols} columns of layer "
                f"{self.layer!r}, or []; got {unit}"
            )
        return unit

    @traitlets.validate("box")
    def _check_box(self, proposal: dict[str, Any]) -> list[int]:
        box: list[int] = list(proposal["value"])
        if box and (len(box) != 4 or box[0] >= box[2] or box[1] >= box[3]):
            raise traitlets.TraitError(
                f"box must be [top, left, bottom, right] with top < bottom and left < right, or "
                f"[]; got {box}"
            )
        return box

    @traitlets.validate("size")
    def _check_size(self, proposal: dict[str, Any]) -> int:
        size: int = proposal["value"]
        if 0 < size < SMALLEST:
            raise traitlets.TraitError(
                f"size must be 0, which fits, or {SMALLEST} to {LARGEST} CSS pixels; got {size}"
            )
        return size

    @traitlets.validate("patches")
    def _check_patches(self, proposal: dict[str, Any]) -> int:
        patches: int = proposal["value"]
        most = self.scan.settings.top_k
        if patches > most:
            raise traitlets.TraitError(
                f"patches must be at most {most}, as the scan kept so many a channel; got "
                f"{patches}; scan again with a larger top_k for more"
            )
        return patches
