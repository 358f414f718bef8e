"""Answers of a network to one image with parts of it masked, by the quickest way that is exact.

`masked_inference` takes the incremental way (`nbviz.analysis.incremental`) where the network allows
it, and else the plain one (`nbviz.analysis.plain_inference`); the result says which and why. What
they take and give is in `nbviz.analysis.masked_boxes`, and offered here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from nbviz.analysis.incremental import IncrementalInference, NotIncremental
from nbviz.analysis.masked_boxes import (
    Box,
    Boxes,
    MaskedBatch,
    MaskedInference,
    Way,
    expect_logits,
    masked_inputs,
)
from nbviz.analysis.plain_inference import MAX_BYTES, PlainInference
from nbviz.network import Network

__all__ = [
    "MAX_BYTES",
    "Box",
    "Boxes",
    "MaskedBatch",
    "MaskedInference",
    "PlainInference",
    "Way",
    "WayChoice",
    "expect_logits",
    "masked_inference",
    "masked_inputs",
]

WayChoice = Literal["auto", "plain", "incremental"]


def masked_inference(
    network: Network | nn.Module,
    batch: Tensor,
    *,
    watch: Sequence[str] = (),
    max_bytes: int = MAX_BYTES,
    way: WayChoice = "auto",
) -> MaskedInference:
    """What answers to masked versions of one image, by the quickest exact way.

    Parameters
    ----------
    network : Network or nn.Module
    batch : Tensor, shape (1, C, H, W)
        The image, prepared (`Network.prepare`).
    watch : sequence of str
        Layers whose maps are summed over places.
    max_bytes : int
        Bound of the memory for a batch, and of the maps kept for the incremental way.
    way : {"auto", "plain", "incremental"}
        "auto" is incremental where the network allows it, and plain otherwise.

    Raises
    ------
    ValueError
        If `way` is none of these, the network is no classifier, or the incremental way was asked
        for and the network does not allow it (the message says why).
    UnknownLayerError
        If there is no layer of a name in `watch`.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> network = Network(model, input_shape=(3, 8, 8))
    >>> answers = masked_inference(network, torch.zeros(1, 3, 8, 8), way="plain")
    >>> answers.way, tuple(answers.logits.shape)
    ('plain', (4,))
    """
    if way not in get_args(WayChoice):
        msg = f"expected way as one of {', '.join(map(repr, get_args(WayChoice)))}, got {way!r}"
        raise ValueError(msg)
    network = Network.of(network)
    if way == "plain":
        return PlainInference(network, batch, watch=watch, max_bytes=max_bytes)
    try:
        return IncrementalInference(network, batch, watch=watch, max_bytes=max_bytes)
    except NotIncremental as refusal:
        if way == "incremental":
            msg = (
                f"expected a network that can be computed incrementally, but {refusal}; leave "
                f"way='auto', or take way='plain'"
            )
            raise ValueError(msg) from None
        plain = PlainInference(network, batch, watch=watch, max_bytes=max_bytes)
        plain.reason = f"{plain.reason}, as {refusal}"
        return plain
