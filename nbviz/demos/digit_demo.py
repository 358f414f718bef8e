"""Handwritten digits: scikit-learn's 8 x 8 pictures brought to 32 x 32, and a network for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nbviz.demos.architectures import digits_model
from nbviz.demos.demo import WEIGHTS, Demo, ToInput, as_input, load_weights
from nbviz.network import Network

SIDE = 32
CLASSES = tuple("0123456789")
UNTRAINED_SEED = 0


@dataclass(frozen=True)
class TrainingData:
    """What a plain training loop needs.

    Attributes
    ----------
    inputs : float32 Tensor, shape (N, C, H, W)
        Ready for the network.
    labels : int64 Tensor, shape (N,)
    held_out_inputs, held_out_labels : Tensor
        The same for pictures that training must not see.
    classes : tuple of str
    """

    inputs: Tensor
    labels: Tensor
    held_out_inputs: Tensor
    held_out_labels: Tensor
    classes: tuple[str, ...]


def digits_pictures() -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    """All 1797 pictures (N, 32, 32), their labels, and which are held out (a fifth of each)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    side = (SIDE, SIDE)
    large = [Image.fromarray(one).resize(side, Image.Resampling.BICUBIC) for one in small]
    labels = bunch.target.astype(np.int64)
    rng = np.random.default_rng(0)
    held_out = np.zeros(len(labels), bool)
    for label in range(len(CLASSES)):
        members = rng.permutation(np.flatnonzero(labels == label))
        held_out[members[: len(members) // 5]] = True
    return np.stack([np.asarray(one) for one in large]), labels, held_out


def digits(*, untrained: bool = False) -> Demo:
    """A small trained network for handwritten digits, with 355 held-out pictures.

    The data are scikit-learn's `load_digits` (1797 pictures of 8 x 8 from 43 writers), enlarged to
    32 x 32 by bicubic interpolation; writers are not kept apart between training and held-out
    pictures. The 16 first kernels are 9 x 9 and look like strokes. Training penalised differences
    between neighbouring weights of these kernels (`nbviz.demos.train`), so they are smoother than
    the task alone would make them.

    Parameters
    ----------
    untrained : bool
        Give the same network with its random initial weights, to compare.

    Returns
    -------
    Demo
        `images` has shape (355, 32, 32).

    Examples
    --------
    >>> from nbviz.demos import digits
    >>> network, images, labels, classes = digits()
    >>> images.shape, classes[3]
    ((355, 32, 32), '3')
    """
    images, labels, held_out = digits_pictures()
    model = digits_model(UNTRAINED_SEED).eval()
    accuracy = None if untrained else load_weights(model, WEIGHTS / "digits.safetensors")
    network = Network(model, ToInput(1, SIDE), CLASSES, input_shape=(1, SIDE, SIDE))
    return Demo(network, images[held_out], labels[held_out], CLASSES, accuracy)


def digits_training_data() -> TrainingData:
    """Digits as tensors, for a training loop of your own.

    A fresh `digits_model` gets above 95 % within five epochs, some seconds each. Its first kernels
    form strokes with the penalty of `roughness`; without, they keep the noise they began with.

    Examples
    --------
    >>> import torch.nn.functional as F
    >>> from nbviz.demos import digits_model, digits_training_data, roughness
    >>> data = digits_training_data()
    >>> model = digits_model(seed=1)
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    >>> for batch in torch.randperm(len(data.inputs))[:640].split(32):
    ...     loss = F.cross_entropy(model(data.inputs[batch]), data.labels[batch])
    ...     loss = loss + 1e-2 * roughness(model.conv1.weight)
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     _ = optimizer.step()
    """
    images, labels, held_out = digits_pictures()
    inputs, targets = as_input(images), torch.from_numpy(labels)
    chosen = torch.from_numpy(held_out)
    return TrainingData(inputs[~chosen], targets[~chosen], inputs[chosen], targets[chosen], CLASSES)
