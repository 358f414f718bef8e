"""What a demo hands over, and how its shipped weights become a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from nbviz.network import Network

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Demo:
    """A network with pictures that it was not trained on.

    Unpacks as ``network, images, labels, classes = demo``.

    Attributes
    ----------
    network : Network
        In eval mode, on the CPU.
    images : uint8 array, shape (N, H, W) or (N, H, W, 3)
        Held-out pictures, as `network.prepare` takes them.
    labels : int64 array, shape (N,)
        Indices into `classes`.
    classes : tuple of str
    accuracy : float or None
        Share of `images` that the network gets right, measured when it was trained; None for an
        untrained one.
    badges : int64 array, shape (N, 4), or None
        Scenes only: box of the badge in each picture as (left, top, right, bottom) in pixels, right
        and bottom excluded; four times -1 where there is none.
    badge_class : int or None
        Scenes only: the class that carries the badge in biased data.
    """

    network: Network
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    accuracy: float | None = None
    badges: NDArray[np.int64] | None = None
    badge_class: int | None = None

    def __iter__(self) -> Iterator[Any]:
        """Network, images, labels and class names, for unpacking."""
        return iter((self.network, self.images, self.labels, self.classes))


@dataclass(frozen=True)
class ToInput:
    """The transform of a demo network: a picture to floats of about [-2, 2].

    Takes a PIL image or a uint8 array, grey (H, W) or colour (H, W, 3), of any size, and gives a
    float32 tensor (channels, side, side).
    """

    channels: int
    side: int

    def __call__(self, image: Image.Image | NDArray[np.uint8]) -> Tensor:
        """Give the network's input for one picture."""
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        picture = picture.convert("L" if self.channels == 1 else "RGB")
        if picture.size != (self.side, self.side):
            picture = picture.resize((self.side, self.side), Image.Resampling.BICUBIC)
        return as_input(np.array(picture)[None])[0]


def as_input(images: NDArray[np.uint8]) -> Tensor:
    """Many pictures of the network's own size at once: float32, (N, channels, side, side)."""
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    return ((pixels.float() / 255 - 0.5) / 0.25).contiguous()


def load_weights(model: nn.Module, path: Path) -> float:
    """Load a file that `nbviz.demos.train` wrote into `model`; the accuracy noted in it.

    Raises
    ------
    FileNotFoundError
        If there is no such file; the message says how to make it.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights at {path}: run 'python -m nbviz.demos.train {path.stem}' to make them"
        )
    with safe_open(path, framework="pt") as file:
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        return float(file.metadata()["accuracy"])
