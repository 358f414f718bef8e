"""A picture on show with what answers to masks on it; one inference serves drags and full map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from nbviz.analysis.input_picture import InputPicture, input_picture
from nbviz.analysis.masked_inference import MaskedInference, masked_inference
from nbviz.analysis.occlusion import Replacement, mask_plane, masked_input, replacement
from nbviz.analysis.state_stamp import Stamp, state_stamp
from nbviz.network import Network
from nbviz.widgets.mask_states import as_masks


@dataclass(frozen=True, eq=False)
class Covered:
    """What the network answers under masks."""

    logits: np.ndarray
    share: float
    """Of the picture's pixels that are covered."""


@dataclass(frozen=True, eq=False)
class MaskedPicture:
    """One picture, what shows under masks on it, and what the network answers.

    Parameters
    ----------
    network : Network
    batch : Tensor, shape (1, C, H, W)
        Prepared.
    image : int
        Number in the data set, -1 if it is not of it.
    count : int
        How many pictures have been on show with this one.
    inference : MaskedInference
    hasty : bool
        Whether the inference was chosen for the one answer that a frame of the camera needs.
    """

    network: Network
    batch: Tensor
    image: int
    count: int
    seen: InputPicture
    inference: MaskedInference
    hasty: bool
    max_bytes: int
    base: np.ndarray = field(repr=False)
    """Logits without masks, float32, shape (classes,)."""
    stamp: Stamp = field(repr=False)
    """Of the network that the answers belong to (`nbviz.analysis.state_stamp`)."""
    instead: Replacement | None = None

    @classmethod
    def of(
        cls,
        network: Network,
        batch: Tensor,
        *,
        image: int,
        count: int,
        hasty: bool,
        max_bytes: int,
        watch: Sequence[str] = (),
    ) -> MaskedPicture:
        """The picture with the quickest exact way to answer to masks on it.

        Raises
        ------
        ValueError
            If the network is no classifier.
        """
        way: Any = "plain" if hasty else "auto"
        with network.lock:
            stamp = state_stamp(network.model)
            inference = masked_inference(network, batch, watch=watch, max_bytes=max_bytes, way=way)
        seen = input_picture(network, batch)
        base = inference.logits.detach().float().cpu().numpy()
        return cls(network, batch, image, count, seen, inference, hasty, max_bytes, base, stamp)

    @property
    def outdated(self) -> bool:
        """Whether weights, modules or hooks are others than when the picture came."""
        with self.network.lock:
            return self.stamp != state_stamp(self.network.model)

    @property
    def normalised(self) -> bool:
        """Whether the network gets anything but pixels from 0 to 1 that no one normalised."""
        if self.network.transform is not None:
            return True
        low, high = self.batch.aminmax()
        return not 0 <= float(low) <= float(high) <= 1

    def anew(self) -> MaskedPicture:
        """The same picture with the network as it is now; its fill is to be set."""
        return MaskedPicture.of(
            self.network,
            self.batch,
            image=self.image,
            count=self.count,
            hasty=self.hasty,
            max_bytes=self.max_bytes,
        )

    def filled(self, fill: Any, pictures: Sequence[Any] | None) -> MaskedPicture:
        """The same picture with another fill, as `replacement` takes it."""
        given = isinstance(fill, Replacement)
        instead = fill if given else replacement(self.network, self.batch, fill, pictures=pictures)
        return replace(self, instead=instead)

    def watching(self, layers: Sequence[str]) -> MaskedPicture:
        """The same picture, ready for many masks and for sums over these layers' maps."""
        if not self.hasty and all(name in self.inference.sums for name in layers):
            return self
        inference = masked_inference(
            self.network, self.batch, watch=layers, max_bytes=self.max_bytes
        )
        return replace(self, inference=inference, hasty=False)

    def covered(self, masks: Sequence[Mapping[str, Any]]) -> Covered:
        """What the network answers under checked masks."""
        if not masks or self.instead is None:
            return Covered(self.base, 0.0)
        height, width = self.batch.shape[2:]
        plane = mask_plane(as_masks(masks), (height, width))
        masked, box = masked_input(self.batch, self.instead, plane)
        logits = self.inference.once(masked, box)
        return Covered(logits.detach().float().cpu().numpy(), float(plane.mean()))

    def pixels(self, masks: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """The picture with these masks filled, uint8 (H, W, 1) or (H, W, 3)."""
        if not masks or self.instead is None:
            return self.seen.pixels
        height, width = self.batch.shape[2:]
        plane = mask_plane(as_masks(masks), (height, width))
        return np.where(plane[..., None], self.replaced().pixels, self.seen.pixels)

    def replaced(self) -> InputPicture:
        """What shows under masks, as a picture."""
        batch = self.batch if self.instead is None else self.instead.batch
        return input_picture(self.network, batch)
