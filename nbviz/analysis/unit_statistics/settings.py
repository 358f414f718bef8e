"""What a pass over a data set keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageNumbers", "PassSettings", "hashed"]

#: Up to so many images a few places of every map are counted, of more one.
_FEW_IMAGES = 4096


@dataclass(frozen=True)
class PassSettings:
    """What a pass over a data set keeps of every channel, and of every image."""

    layers: tuple[str, ...]
    """Names out of ``network.layers.names``, drawable."""
    top_k: int = 16
    """Strongest activations of a channel."""
    bottom_k: int = 8
    """Images whose strongest activation is the weakest."""
    per_image: int = 1
    """At most so many of one image among the strongest; each a local maximum of its map."""
    samples: int = 64
    """Images drawn by a hash of their number, the same for every channel."""
    features: str | None = None
    """Layer whose output, averaged over places, is kept of every image."""
    length: int | None = None
    """Images in the data set, None if unknown. It only spares work on images not drawn."""

    def __post_init__(self) -> None:
        for name, least in (("top_k", 1), ("bottom_k", 1), ("per_image", 1), ("samples", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of {least} or more; got {value!r}")

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "layers": list(self.layers)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PassSettings:
        """From what `to_json` gave; what is not known is left out."""
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in values.items() if name in known}
        return cls(**{**given, "layers": tuple(given["layers"])})

    @property
    def places(self) -> int:
        """Places of every map whose activations are counted, an image."""
        return 4 if self.length is not None and self.length <= _FEW_IMAGES else 1

    @property
    def hash_limit(self) -> int:
        """Images whose number has a hash from here on are not drawn, as far as the length tells.

        A share is let through that holds enough for all but one data set in ten thousand, which
        then has a few less.
        """
        enough = self.samples + 4 * self.samples**0.5 + 8
        if self.length is None or enough >= self.length:
            return 2**64
        return int(enough / self.length * 2**64)


class ImageNumbers:
    """Numbers of the images of a batch, with what is drawn by their hashes."""

    def __init__(self, numbers: NDArray[np.int64], places: int) -> None:
        self.hashes = hashed(numbers)
        each = numbers[:, None] * places + np.arange(places)
        self._place_hashes = hashed(each, seed=1)

    def places(self, spots: int) -> NDArray[np.int64]:
        """(N, places): places of a map of so many, drawn for each image."""
        found: NDArray[np.int64] = (self._place_hashes % np.uint64(spots)).astype(np.int64)
        return found


def hashed(numbers: NDArray[np.int64], seed: int = 0) -> NDArray[np.uint64]:
    """A hash of each number (SplitMix64; Steele, Lea, Flood, OOPSLA 2014).

    Different numbers have different hashes.
    """
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) + np.uint64(seed) * np.uint64(0x632BE59BD9B4E019)
        mixed = (mixed + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return result
