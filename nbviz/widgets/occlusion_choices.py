"""What can be chosen in an `OcclusionProbe`, and what is refused with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import traitlets

from nbviz.analysis.activations import drawable
from nbviz.analysis.occlusion import MaskShape, choose_class
from nbviz.widgets.base import Choice, nearest
from nbviz.widgets.gathered_choices import GatheredChoices
from nbviz.widgets.mask_states import MASK_SHAPES, checked_masks
from nbviz.widgets.masked_picture import MaskedPicture
from nbviz.widgets.picture_view import PictureView

FILLS = ("mean", "grey", "black", "colour", "blur", "noise", "picture")
SCALES = ("probability", "logit", "probability drop", "logit drop")
SHOWN = ("confidence", "most probable", "feature map")


@dataclass(frozen=True)
class MapSettings:
    """What a full map is made of; another one makes it stale."""

    picture: int
    """How many pictures had been on show with this one."""
    weights: int
    """How often the network had changed meanwhile."""
    size: int
    stride: int
    shape: MaskShape
    fill: tuple[Any, ...]
    tolerance: float

    def difference(self, now: MapSettings) -> str:
        """Why a map of these settings is not one of `now`, in words; empty if it is."""
        if self.picture != now.picture:
            return "it is of another picture"
        if self.weights != now.weights:
            return "the network's weights have changed since, or its modules or hooks"
        if self.size != now.size:
            return f"its masks are {self.size} px wide, not {now.size}"
        if self.shape != now.shape:
            return f"its masks are of shape {self.shape}"
        if self.stride != now.stride:
            return f"its stride is {self.stride} px, not {now.stride}"
        if self.fill != now.fill:
            return f"its masks are filled otherwise ({' '.join(map(str, self.fill))})"
        if self.tolerance > now.tolerance:
            return f"it is approximate, to {self.tolerance:g} of its range"
        return ""


class _Target(traitlets.Any):
    """A class, in any form; None is one, and is checked like the others."""

    allow_none = False


class OcclusionChoices(PictureView, GatheredChoices):
    """The traits of an `OcclusionProbe`."""

    CHOICES = (
        *("image", "target", "masks", "mask_shape", "size", "stride"),
        *("fill", "colour", "fill_image", "layer", "channel", "tolerance"),
    )

    _follows: bool
    _shown: MaskedPicture

    target = _Target(-1).tag(sync=True)
    """Class whose confidence is looked at, by number; a name can be set. -1 or None (default) for
    what the network takes the picture for, whichever picture it is."""
    masks: Any = traitlets.List().tag(sync=True)
    """Masks on the picture: dicts of ``shape``, ``top``, ``left``, ``height``, ``width`` (input
    pixels), and ``runs`` (``[row, start, stop]`` each) of a brush."""
    mask_shape = Choice(MASK_SHAPES, default_value="rectangle").tag(sync=True)
    """Shape of new masks, and of the full map's (which takes rectangles for a brush)."""
    size = traitlets.Int(1).tag(sync=True)
    """Side of masks in input pixels; by default a seventh of the picture's shorter side."""
    stride = traitlets.Int(1).tag(sync=True)
    """Pixels between positions of the full map; by default a quarter of `size`."""
    fill = Choice(FILLS, default_value="mean").tag(sync=True)
    """What shows under a mask: ``"mean"`` (default), ``"grey"``, ``"black"``, ``"colour"`` (of
    `colour`), ``"blur"``, ``"noise"``, ``"picture"`` (number `fill_image` of the data set)."""
    colour = traitlets.List(traitlets.Int(min=0, max=255), [220, 60, 60], 3, 3).tag(sync=True)
    """Red, green and blue, 0 to 255, of the fill ``"colour"``."""
    fill_image = traitlets.Int(-1, min=-1).tag(sync=True)
    """Number of the data set's picture that shows under masks of the fill ``"picture"``."""
    scale = Choice(SCALES, default_value="probability").tag(sync=True)
    """What the map shows of `target`: ``"probability"``, ``"logit"``, or their drop."""
    show = Choice(SHOWN, default_value="confidence").tag(sync=True)
    """``"confidence"`` of `target`, ``"most probable"`` class (Zeiler & Fergus 2014, fig. 6 e), or
    total activation of a ``"feature map"`` (fig. 6 b)."""
    side = Choice(("B", "A", "both", "difference"), default_value="B").tag(sync=True)
    """What is shown of two maps that are compared; A is the one that was kept."""
    stretch = traitlets.Bool(False).tag(sync=True)
    """Let colours span the map's own values, however little they differ."""
    opacity = traitlets.Float(0.6, min=0.0, max=1.0).tag(sync=True)
    """Opacity of the map over the picture."""
    coverage = Choice(("grid", "overlap average"), default_value="grid").tag(sync=True)
    """What a pixel of the map shows: the ``"grid"`` position nearest to it, or the ``"overlap
    average"`` of all masks that cover it."""
    layer = traitlets.Unicode().tag(sync=True)
    """Layer whose maps the full map sums under each mask; empty (default) for none."""
    channel = traitlets.Int(-1, min=-1).tag(sync=True)
    """Channel of `layer`; -1 (default) for all of them."""
    tolerance = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    """Share of the map's range to which positions may be interpolated; 0 (default) is exact."""

    picture = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: the picture as the network sees it, packed."""
    replacement = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: what shows under masks, as a whole picture, packed."""
    prediction = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: the most probable classes without masks."""
    confidence = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: the most probable classes under the masks on show, and what they were before."""
    trail = traitlets.List(traitlets.Dict()).tag(sync=True, shown=True)
    """Read-only: the target's confidence along the path of the last drag."""
    map = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: the full map, packed; `result` has its arrays."""
    kept = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: the map that was kept to compare with, packed."""
    stale = traitlets.Unicode().tag(sync=True, shown=True)
    """Read-only: why the map is not one of what is set now; empty if it is."""
    evidence_shown = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: regions by confidence lost, as `evidence` found them."""
    progress = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: how far `run_map` is."""
    layers = traitlets.List(traitlets.Dict()).tag(sync=True, shown=True)
    """Read-only: layers that have maps to sum, with their number of channels."""

    @traitlets.observe(*CHOICES)
    def _chosen(self, change: dict[str, Any]) -> None:
        self._choose(change)

    @traitlets.validate("target")
    def _check_target(self, proposal: dict[str, Any]) -> int:
        value = proposal["value"]
        self._follows = value is None or (value == -1 and not isinstance(value, str))
        try:
            chosen = None if self._follows else value
            return int(choose_class(self.network, chosen, self._shown.base))
        except (ValueError, TypeError, IndexError) as error:
            raise traitlets.TraitError(str(error)) from error

    @traitlets.validate("masks")
    def _check_masks(self, proposal: dict[str, Any]) -> list[dict[str, Any]]:
        try:
            return checked_masks(proposal["value"], self._input_size()[1:])
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from error

    @traitlets.validate("size")
    def _check_size(self, proposal: dict[str, Any]) -> int:
        side: int = proposal["value"]
        height, width = self._input_size()[1:]
        if side < 1:
            raise traitlets.TraitError(f"size must be at least 1 pixel; got {side}")
        if side > min(height, width):
            raise traitlets.TraitError(
                f"a mask of {side}×{side} pixels is larger than the picture of {height}×{width}; "
                f"choose a size of at most {min(height, width)}"
            )
        return side

    @traitlets.validate("stride")
    def _check_stride(self, proposal: dict[str, Any]) -> int:
        stride: int = proposal["value"]
        if stride < 1:
            raise traitlets.TraitError(
                f"stride must be at least 1 pixel, so that masks move on; got {stride}"
            )
        return stride

    @traitlets.validate("fill_image")
    def _check_fill_image(self, proposal: dict[str, Any]) -> int:
        return self._checked_number(proposal)

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict[str, Any]) -> str:
        name: str = proposal["value"]
        if not name:
            return name
        layers = self.network.layers
        names = list(layers.names)
        if name not in names:
            raise traitlets.TraitError(
                f"no layer {name!r} in {type(self.network.model).__name__}{nearest(name, names)}; "
                "`probe.network.layers` lists them"
            )
        problem = drawable(layers[name])
        if problem is not None:
            raise traitlets.TraitError(f"layer {name!r} has no maps to sum: {problem}")
        return name
