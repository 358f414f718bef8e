"""Occlusion: how a network's answer changes when a part of the image is covered.

Zeiler & Fergus (2014, section 4.2) slide a grey square over the image and map the confidence. Here
`occlusion_map` gives that map, `occlusion_steps` the same from coarse to fine, as a view draws it.
Masks and what they are filled with are in `nbviz.analysis.occlusion_masks` and `occlusion_fill`,
the result in `occlusion_map`, what it says of image regions in `occlusion_evidence`; the passes are
made by `nbviz.analysis.masked_inference`. The public names of all of these are offered here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from nbviz.analysis.activations import prepared
from nbviz.analysis.class_choice import choose_class, nearest_classes
from nbviz.analysis.masked_inference import MAX_BYTES, MaskedInference, WayChoice, masked_inference
from nbviz.analysis.occlusion_evidence import Evidence, Region, evidence
from nbviz.analysis.occlusion_fill import Fill, Replacement, replacement
from nbviz.analysis.occlusion_map import OcclusionMap, ValueKind
from nbviz.analysis.occlusion_masks import Mask, MaskShape, mask_plane, masked_input
from nbviz.analysis.occlusion_survey import Grid, Survey
from nbviz.network import Network

__all__ = [
    "Evidence",
    "Fill",
    "Mask",
    "MaskShape",
    "OcclusionMap",
    "Region",
    "Replacement",
    "ValueKind",
    "choose_class",
    "evidence",
    "mask_plane",
    "masked_input",
    "nearest_classes",
    "occlusion_map",
    "occlusion_steps",
    "replacement",
]


def occlusion_map(
    network: Network | nn.Module,
    image: Any,
    target: int | str | None = None,
    *,
    size: int | tuple[int, int] = 32,
    stride: int | tuple[int, int] = 8,
    shape: MaskShape = "rectangle",
    fill: Fill | Replacement = "mean",
    classes: Sequence[int | str] | None = None,
    watch: Sequence[str] = (),
    tolerance: float | None = None,
    way: WayChoice = "auto",
    max_bytes: int = MAX_BYTES,
    pictures: Sequence[Any] | None = None,
) -> OcclusionMap | list[OcclusionMap]:
    """What the network answers to an image with a mask at each position of a grid.

    Masks begin at pixel 0, stride, 2 * stride, ...; a last one is flush with the border, if none of
    these is. The network is asked in evaluation mode and left as it was. `occlusion_steps` has
    the parameters, and gives what there is when it is interrupted.

    Parameters
    ----------
    network : Network or nn.Module
    image : PIL image, array or tensor
        As `Network.prepare` takes it; or several: a list, an array (N, H, W, 3), or a tensor (N, C,
        H, W).
    target, size, stride, shape, fill, classes, watch, tolerance, way, max_bytes, pictures
        As in `occlusion_steps`.

    Returns
    -------
    OcclusionMap, or a list of them for several images.

    Raises
    ------
    ValueError, TypeError, IndexError, UnknownLayerError
        As `occlusion_steps`.

    Examples
    --------
    >>> from nbviz import demos
    >>> network, pictures, *_ = demos.digits()
    >>> found = occlusion_map(network, pictures[3], size=8, stride=4)
    >>> found.values(kind="logit drop").shape, found.complete
    ((7, 7), True)
    """
    several = _images_of(image)
    found: list[OcclusionMap] = []
    for one in [image] if several is None else several:
        latest = None
        for so_far in occlusion_steps(
            network,
            one,
            target,
            size=size,
            stride=stride,
            shape=shape,
            fill=fill,
            classes=classes,
            watch=watch,
            tolerance=tolerance,
            way=way,
            max_bytes=max_bytes,
            pictures=pictures,
            coarse_first=False,
        ):
            latest = so_far
        if latest is not None:
            found.append(latest)
    return found[0] if several is None else found


def occlusion_steps(
    network: Network | nn.Module,
    image: Any,
    target: int | str | None = None,
    *,
    size: int | tuple[int, int] = 32,
    stride: int | tuple[int, int] = 8,
    shape: MaskShape = "rectangle",
    fill: Fill | Replacement = "mean",
    classes: Sequence[int | str] | None = None,
    watch: Sequence[str] = (),
    tolerance: float | None = None,
    way: WayChoice = "auto",
    max_bytes: int = MAX_BYTES,
    pictures: Sequence[Any] | None = None,
    inference: MaskedInference | None = None,
    resume: OcclusionMap | None = None,
    coarse_first: bool = True,
) -> Iterator[OcclusionMap]:
    """An occlusion map as it grows: every 8th position, every 4th, 2nd, all.

    Every map so far is whole and stays as it is, so when an interrupt comes the latest one can be
    used, and `resume` goes on from it. They come after each batch, at most 20 a second.

    Parameters
    ----------
    network : Network or nn.Module
    image : PIL image, array or tensor
        One, as `Network.prepare` takes it.
    target : int or str, optional
        The class of interest, by number or name; by default the most probable one.
    size, stride : int or (rows, columns)
        Of the masks and from one to the next, in pixels of the network's input.
    shape : {"rectangle", "circle"}
    fill : str, colour, picture or Replacement
        What shows where a mask covers, see `replacement`. Zero in the network's input is mostly the
        mean colour, not black.
    classes : sequence of int or str, optional
        Whose logits are kept besides the target's. By default all, up to 1000 classes and 64 MiB,
        else the 100 most probable for the image without mask.
    watch : sequence of str
        Layers whose maps are summed over places, by channel (Zeiler & Fergus 2014, fig. 6b).
    tolerance : float, optional
        Makes the map approximate: positions are interpolated where that is expected to leave the
        map in pixels (`OcclusionMap.per_pixel`) off by about this share of its range (a standard
        deviation, in probability and logit of the target). It is what is aimed at and no bound: a
        spike between positions goes unseen. 0.04 is a good choice.
    way : {"auto", "plain", "incremental"}
        How passes are made; both are exact (`nbviz.analysis.masked_inference`).
    max_bytes : int
        Bound of the memory for these.
    pictures : sequence, optional
        Of the data set, whose mean colour then is the fill "mean".
    inference : MaskedInference, optional
        Made before for this network, image and `watch`; `way` and `max_bytes` are not used then.
    resume : OcclusionMap, optional
        An earlier map of the same image and settings, computed in part.
    coarse_first : bool, default True
        Without, nothing is given before the complete map, which stands a little sooner.

    Raises
    ------
    ValueError, TypeError
        If sizes are below 1 or masks larger than the image, the image is not of the network's input
        shape, the network is no classifier, a name is unknown (the nearest are offered), or
        `resume` is of other settings.
    IndexError
        If there is no class of a number.
    UnknownLayerError
        If there is no layer of a name in `watch`.
    RuntimeError
        If weights, modules or hooks of the network change between two steps; earlier maps stay.

    Examples
    --------
    >>> from nbviz import demos
    >>> network, pictures, *_ = demos.digits()
    >>> steps = occlusion_steps(network, pictures[3], size=8, stride=2)
    >>> [bool(so_far.complete) for so_far in steps][-1]
    True
    """
    network = Network.of(network)
    if tolerance is not None and not tolerance >= 0:
        msg = (
            f"expected tolerance as a share of the map's range, such as 0.05, or None for an exact "
            f"map, got {tolerance!r}"
        )
        raise ValueError(msg)
    batch = prepared(network, image, network.layers)
    grid = Grid.of(tuple(batch.shape[1:]), size, stride, shape)
    if not isinstance(fill, Replacement):
        fill = replacement(network, batch, fill, pictures=pictures)
    if inference is None:
        inference = masked_inference(network, batch, watch=watch, max_bytes=max_bytes, way=way)
    survey = Survey(network, batch, inference, grid, fill, target, classes, tolerance, coarse_first)
    if resume is not None:
        survey.resume(resume)
    return survey.steps()


def _images_of(image: Any) -> list[Any] | None:
    """The images of a batch, None for one image."""
    if isinstance(image, list | tuple):
        return list(image)
    if isinstance(image, Tensor | np.ndarray) and image.ndim == 4 and len(image) != 1:
        return list(image)
    return None
