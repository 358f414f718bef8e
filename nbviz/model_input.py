"""What a model takes and gives: the shape of its input, an image made to fit, and the logits.

`Network` asks here. Models of torchvision, timm and transformers say what they take; for others the
shape is found by trying. Nothing here imports timm or transformers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

SIDES = [224, 32, 64, 28, 96, 128, 299, 384, 256, 48, 16, 227, 8, 112, 160, 192, 240, 260, 300]
SIDES += [331, 380, 448, 512]


# A model that fails so often in the very same words does so for another reason than its input.
_SAME_FAILURES = 3


def model_dtype(model: nn.Module) -> torch.dtype:
    """Give the dtype that a model computes in: that of its first floating or complex parameter."""
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        if tensor.is_floating_point() or tensor.is_complex():
            return tensor.dtype
    return torch.float32


def model_device(model: nn.Module) -> torch.device:
    """Give the device that a model lies on: that of its first parameter or buffer."""
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        return tensor.device
    return torch.device("cpu")


def infer_input_shape(
    model: nn.Module, transform: Any, accepts: Callable[[tuple[int, ...]], None]
) -> tuple[int, ...]:
    """Give the shape of a model's input, without the batch dimension.

    In this order: what the transform crops to, timm's configuration, that of transformers (if the
    model runs on it), and the first shape that runs (sides 224, 32, 64, 28, ... with the channels
    of the first convolution, or a square image or a vector for a first Linear).

    Parameters
    ----------
    model : nn.Module
        Only looked at.
    transform : object
        The network's transform, or None.
    accepts : callable
        Runs the model on an input of a shape, and raises if it cannot.

    Raises
    ------
    ValueError
        If no shape runs; the message shows the model's last error.
    """
    declared = declared_shape(model, transform)
    if declared is not None and _crop_size(transform) is not None:
        return declared
    error: Exception | None = None
    tried, repeated = [], list[str]()
    for shape in [*([declared] if declared else []), *_guesses(model)]:
        try:
            accepts(shape)
        except Exception as failure:  # noqa: BLE001, PERF203 - a model may fail in any way on a wrong shape
            same = repeated and repeated[-1] == repr(failure)
            repeated = [*repeated, repr(failure)] if same else [repr(failure)]
            error = failure
            tried.append(shape)
            # A check of the shape may use the same words for each; other errors name sizes.
            checked = isinstance(failure, AssertionError | ValueError)
            if len(repeated) == _SAME_FAILURES and not checked:
                break
        else:
            return shape
    kinds = type(model).__name__
    msg = (
        f"expected {kinds} to run on one of {len(tried)} usual input shapes "
        f"({', '.join(map(str, tried[:3]))}, ...), but none worked; pass "
        f"input_shape=(channels, height, width). The last error was {type(error).__name__}: {error}"
    )
    raise ValueError(msg) from error


def declared_shape(model: nn.Module, transform: Any) -> tuple[int, ...] | None:
    """Give the input shape that a transform or a configuration states, None if none does."""
    side = _crop_size(transform)
    if side is not None:
        return (input_channels(model) or 3, *side)
    size = timm_config(model).get("input_size")
    if size is not None:
        return (input_channels(model) or int(size[0]), *(int(n) for n in size[1:]))
    config = getattr(model, "config", None)
    image_size = getattr(config, "image_size", None)
    if image_size is not None:
        pair = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        channels = getattr(config, "num_channels", None) or input_channels(model) or 3
        return (int(channels), *(int(n) for n in pair))
    return None


def timm_config(model: nn.Module) -> Mapping[str, Any]:
    """Give what a timm model says of its input (size, mean, std); empty for other models."""
    for name in ("pretrained_cfg", "default_cfg"):
        config = getattr(model, name, None)
        if isinstance(config, Mapping):
            return config
    return {}


def _crop_size(transform: Any) -> tuple[int, int] | None:
    """Give the side that a torchvision preset or a composed transform crops to."""
    for step in reversed(getattr(transform, "transforms", None) or [transform]):
        size = getattr(step, "crop_size", None)
        if size is None and type(step).__name__ in {
            "CenterCrop",
            "RandomCrop",
            "RandomResizedCrop",
        }:
            size = getattr(step, "size", None)
        if size is None and type(step).__name__ == "Resize":
            size = getattr(step, "size", None)
            if not isinstance(size, Sequence) or len(size) != 2:
                return None  # one number is the shorter side; the other depends on the image
        if size is not None:
            pair = [size, size] if isinstance(size, int) else list(size) * (2 // len(size))
            return int(pair[0]), int(pair[1])
    return None


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def _first_of(model: nn.Module, *attributes: str) -> nn.Module | None:
    """Give the first module that has all `attributes`, in the order of `modules`."""
    for module in model.modules():
        if all(isinstance(getattr(module, name, None), int) for name in attributes):
            return module
    return None


def input_channels(model: nn.Module) -> int | None:
    """Give the channels that the first convolution takes, None without a convolution."""
    first = _first_of(model, "in_channels", "out_channels")
    return None if first is None else int(first.in_channels)  # type: ignore[arg-type]


def _guesses(model: nn.Module) -> Iterator[tuple[int, ...]]:
    layers = [
        module
        for module in model.modules()
        if hasattr(module, "in_channels") or hasattr(module, "in_features")
    ]
    first: Any = layers[0] if layers else None
    features = getattr(first, "in_features", None)
    if isinstance(features, int):
        for planes in (1, 3):
            side = math.isqrt(features // planes)
            if side > 1 and planes * side * side == features:
                yield (planes, side, side)
        yield (features,)
    channels = input_channels(model)
    options = [3, 1] if channels is None else [channels]
    name = type(_first_of(model, "in_channels", "out_channels")).__name__
    for number in options:
        if "1d" in name:
            yield from ((number, side) for side in (*SIDES, 1024, 16000))
        elif "3d" in name:
            yield from ((number, depth, side, side) for depth, side in ((16, 112), (8, 32)))
        else:
            yield from ((number, side, side) for side in SIDES)


def logits_of(output: Any) -> Tensor:
    """Give the logits in what a classifier returned.

    A tensor is taken as it is; of an object with ``logits`` that attribute; of a dictionary the
    entry ``"logits"``, or its only tensor; of a tuple or list the first tensor. Trailing
    dimensions of size 1 after the classes are dropped.

    Raises
    ------
    TypeError
        If none of these holds.
    """
    found = getattr(output, "logits", output)
    if isinstance(found, Mapping):
        tensors = [value for value in found.values() if isinstance(value, Tensor)]
        found = found.get("logits", tensors[0] if len(tensors) == 1 else found)
    elif isinstance(found, tuple | list):
        found = next((value for value in found if isinstance(value, Tensor)), found)
    if not isinstance(found, Tensor):
        keys = f" with keys {sorted(map(str, found))}" if isinstance(found, Mapping) else ""
        msg = (
            f"expected the model to return logits (a tensor, an object with `.logits`, a tuple "
            f"that starts with them), got {type(output).__name__}{keys}; wrap the model in a "
            f"module that returns the logits"
        )
        raise TypeError(msg)
    while found.ndim > 2 and found.shape[-1] == 1:
        found = found[..., 0]
    return found


def as_picture(image: Any) -> Image.Image:
    """Give a PIL image for a PIL image, a uint8 array (H, W[, 3 or 4]), or a uint8 tensor.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If the array has another shape.
    """
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, Tensor) and image.dtype == torch.uint8:
        image = (image.permute(1, 2, 0) if image.ndim == 3 else image).cpu().numpy()
        image = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
        msg = (
            f"expected a PIL image, a uint8 array or a float tensor, got {kind}; open a file "
            f"with PIL.Image.open(path)"
        )
        raise TypeError(msg)
    if image.dtype != np.uint8:
        msg = (
            f"expected an array of dtype uint8 (0 to 255), got {image.dtype}; pass values that are "
            f"already the model's input as a float tensor, torch.from_numpy(array)"
        )
        raise TypeError(msg)
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] in (3, 4)):
        msg = (
            f"expected an array of shape (height, width), (height, width, 3) or (height, width, "
            f"4), got {image.shape}; colour comes last"
        )
        raise ValueError(msg)
    return Image.fromarray(np.ascontiguousarray(image))


def picture_with_channels(picture: Image.Image, channels: int | None) -> Image.Image:
    """Give the picture in grey for a network of one input channel, else in RGB (over white).

    Both have 8 bits a channel, as transforms take them: of 16 bits the upper ones are kept.

    Raises
    ------
    ValueError
        If the picture's range is not known (floating point, or 32-bit integers beyond 16 bits).
    """
    if picture.mode[0] in "IF":
        picture = _in_8_bits(picture)
    elif picture.mode == "LAB":  # which Pillow brings to RGB, but not to grey
        picture = picture.convert("RGB")
    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        picture = Image.alpha_composite(white, rgba)
    return picture.convert("L" if channels == 1 else "RGB")


def _in_8_bits(picture: Image.Image) -> Image.Image:
    """Give a grey picture of 16 bits in 8; what Pillow converts by itself is cut off at 255."""
    values = np.asarray(picture)
    low, high = values.min(initial=0), values.max(initial=0)
    if picture.mode == "F" or not 0 <= low <= high <= 65535:
        msg = (
            f"expected a picture of 8 or 16 bits a channel, got mode {picture.mode!r} with values "
            f"from {low:g} to {high:g}; scale it to 0..255 and pass a uint8 array, or pass the "
            f"model's input as a float tensor"
        )
        raise ValueError(msg)
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def plain_input(picture: Image.Image, shape: tuple[int, ...], config: Mapping[str, Any]) -> Tensor:
    """Give a picture as float (C, H, W) in [0, 1], resized, standardised if `config` says how.

    Parameters
    ----------
    picture : Image
        Grey or RGB.
    shape : tuple of int
        (C, H, W) of the network's input.
    config : mapping
        ``mean`` and ``std`` per channel, or empty.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        msg = (
            f"expected a network whose input is a grey or RGB image, got input shape {shape}; "
            f"pass a transform that makes such an input, or a float tensor"
        )
        raise ValueError(msg)
    if picture.size != (shape[2], shape[1]):
        picture = picture.resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, dtype=np.float32) / 255
    values = torch.from_numpy(pixels.reshape(shape[1], shape[2], shape[0])).permute(2, 0, 1)
    mean, std = config.get("mean"), config.get("std")
    if mean is not None and std is not None and len(mean) == len(std) == shape[0]:
        values = (values - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    return values.contiguous()


def transformed(result: Any) -> Tensor:
    """Give the float tensor (C, H, W) in what a transform returned (an image processor's, too).

    Raises
    ------
    TypeError, ValueError
        If there is none.
    """
    if isinstance(result, Mapping) or hasattr(result, "pixel_values"):
        result = result["pixel_values"]
    if isinstance(result, list | tuple) and len(result) == 1:
        result = result[0]
    if isinstance(result, np.ndarray):
        result = torch.from_numpy(result)
    if not isinstance(result, Tensor) or not result.is_floating_point():
        got = str(result.dtype) if isinstance(result, Tensor) else type(result).__name__
        msg = (
            f"expected the transform to return a float tensor (channels, height, width), got "
            f"{got}; add a step that converts, e.g. torchvision.transforms.ToTensor()"
        )
        raise TypeError(msg)
    return result


def batch_of_one(values: Tensor) -> Tensor:
    """Give a float image (C, H, W) or (1, C, H, W) as a batch (1, C, H, W).

    Raises
    ------
    ValueError
        If the shape is none of these.
    """
    batch = values[None] if values.ndim == 3 else values
    if batch.ndim != 4 or batch.shape[0] != 1:
        msg = (
            f"expected one image of shape (channels, height, width) or (1, channels, height, "
            f"width), got {tuple(values.shape)}; pass images of a batch one by one"
        )
        raise ValueError(msg)
    return batch.detach()


@dataclass(frozen=True)
class Preparation:
    """Makes a model's input from one image; see `Network.prepare`.

    Attributes
    ----------
    transform : callable or None
        The network's transform.
    channels : int or None
        Of the model's input; None where only the transform knows.
    shape : tuple of int or None
        (C, H, W) of the model's input, for a network without transform.
    config : dict
        What a timm model says of its input.
    dtype : torch.dtype
        Of the result.
    """

    transform: Any
    channels: int | None
    shape: tuple[int, ...] | None
    config: dict[str, Any]
    dtype: torch.dtype

    def __call__(self, image: Any) -> Tensor:
        """The input (1, C, H, W) on the CPU, or where a float tensor lies."""
        if isinstance(image, Tensor) and image.is_floating_point():
            return batch_of_one(image).to(self.dtype)
        picture = picture_with_channels(as_picture(image), self.channels)
        if self.transform is not None:
            values = transformed(self.transform(picture))
        else:
            values = plain_input(picture, self.shape or (), self.config)
        return batch_of_one(values).to(self.dtype)
