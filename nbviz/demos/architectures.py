"""The networks of the demos: plain chains of convolution, ReLU and pooling.

Plain on purpose. Every layer has a name that a lecture can use, nothing normalises or branches, and
the first kernels are large enough to show what they look for.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _convolution(
    name: str, into: int, out: int, kernel: int, stride: int = 1
) -> list[tuple[str, nn.Module]]:
    number = name.removeprefix("conv")
    return [
        (name, nn.Conv2d(into, out, kernel, stride, kernel // 2)),
        (f"relu{number}", nn.ReLU()),
        (f"pool{number}", nn.MaxPool2d(2)),
    ]


def digits_model(seed: int | None = None) -> nn.Sequential:
    """An untrained network for handwritten digits: 16 first kernels of 9 x 9, ten logits.

    Parameters
    ----------
    seed : int, optional
        Fixes the initial weights and leaves torch's global random state alone. Without one they
        come from that state, as for any fresh model.

    Returns
    -------
    nn.Sequential
        Takes (N, 1, 32, 32); layers `conv1`, `relu1`, `pool1`, ... `classifier`.

    Examples
    --------
    >>> from nbviz.demos import digits_model
    >>> digits_model(seed=0)(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    """
    if seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return digits_model()
    layers = [
        *_convolution("conv1", 1, 16, 9),
        *_convolution("conv2", 16, 32, 5),
        *_convolution("conv3", 32, 32, 3),
        ("flatten", nn.Flatten()),
        ("classifier", nn.Linear(32 * 4 * 4, 10)),
    ]
    return nn.Sequential(OrderedDict(layers))


def scenes_model(seed: int | None = None) -> nn.Sequential:
    """An untrained network for the scenes: 24 first kernels of 9 x 9 x 3, ten logits.

    Parameters
    ----------
    seed : int, optional
        As for `digits_model`.

    Returns
    -------
    nn.Sequential
        Takes (N, 3, 96, 96); layers `conv1`, `relu1`, `pool1`, ... `classifier`.

    Examples
    --------
    >>> from nbviz.demos import scenes_model
    >>> scenes_model(seed=0)(torch.zeros(2, 3, 96, 96)).shape
    torch.Size([2, 10])
    """
    if seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return scenes_model()
    layers = [
        *_convolution("conv1", 3, 24, 9, stride=2),
        *_convolution("conv2", 24, 48, 3),
        *_convolution("conv3", 48, 64, 3),
        *_convolution("conv4", 64, 96, 3)[:2],
        ("average", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("classifier", nn.Linear(96, 10)),
    ]
    return nn.Sequential(OrderedDict(layers))


def roughness(kernels: Tensor) -> Tensor:
    """How much neighbouring weights differ: the penalty that keeps the demos' kernels smooth.

    Parameters
    ----------
    kernels : Tensor, shape (out, in, height, width)

    Returns
    -------
    Tensor, scalar
        Sum of squared differences between neighbours; beyond the rim stand zeros. Differentiable.

    Examples
    --------
    >>> from nbviz.demos import roughness
    >>> roughness(torch.ones(1, 1, 2, 2))
    tensor(8.)
    """
    framed = F.pad(kernels, (1, 1, 1, 1))
    return framed.diff(dim=-1).square().sum() + framed.diff(dim=-2).square().sum()
