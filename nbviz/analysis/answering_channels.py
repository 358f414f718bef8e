"""The other way round: which channels answer to one picture, or a part of it, as to few others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nbviz.analysis.capture import run_pass
from nbviz.analysis.layers import Layer, Layers
from nbviz.analysis.map_layout import expect_drawable, maps_of
from nbviz.analysis.receptive_field import Box
from nbviz.analysis.unit_places import units_centred_in
from nbviz.analysis.unit_statistics.statistics import UnitStatistics
from nbviz.network import Network

__all__ = ["Answer", "answering_channels"]

# A share of one in a hundred is written 0.01, and 1 - 0.99 is a little less.
_ROUNDING = 1e-9


class StatisticsByLayer(Protocol):
    """A scan, or a mapping of layers' names to their statistics."""

    def __getitem__(self, layer: str, /) -> UnitStatistics: ...


@dataclass(frozen=True)
class Answer:
    """A channel that answers more strongly than to nearly all of the data.

    Attributes
    ----------
    layer, channel : str, int
    value : float
        Its strongest activation, within the box where one was given.
    row, col : int
        Where that is on the layer's grid.
    share_above : float
        Share of the images whose peak, over all places, is above it.
    """

    layer: str
    channel: int
    value: float
    row: int
    col: int
    share_above: float


def answering_channels(
    network: Network | nn.Module,
    statistics: StatisticsByLayer,
    prepared: Tensor,
    box: Box | None,
    layers: Sequence[str],
    quantile: float = 0.99,
) -> list[Answer]:
    """The channels that answer to a picture more strongly than to most of the data.

    A channel is among them if its peak lies above those of at least a share `quantile` of the
    images; of a picture that is like the rest about ``1 - quantile`` of all channels are. With a
    box only the units whose receptive field is centred in it count
    (`nbviz.analysis.unit_places.units_centred_in`: the nearest, where there are none), while the
    images' peaks are still those over all places: fewer channels pass.

    Parameters
    ----------
    network : Network or nn.Module
        The one that was scanned. It is run once, and left as it was.
    statistics : scan, or mapping of str to UnitStatistics
        For each of `layers`.
    prepared : Tensor, shape (1, C, H, W) or (C, H, W)
        As `network.prepare` gives it.
    box : Box or None
        In pixels of the network's input; None for all of it. Layers whose units have no place on
        the picture, as those of a vector, are then left out.
    layers : sequence of str
        Drawable ones. One that the model does not run for this picture answers nothing.
    quantile : float
        0 to 1.

    Returns
    -------
    list of Answer
        The rarest first; of equally rare ones the earlier layer, then the lower channel. A channel
        that is not finite somewhere is not among them.

    Raises
    ------
    UnknownLayerError
        If there is no layer of a name.
    ValueError
        If a layer cannot be drawn, `quantile` is no share, the box is empty or outside the picture,
        or more than one picture was given.

    Examples
    --------
    >>> from nbviz.analysis.data_pass import scan_batch
    >>> network = Network(nn.Sequential(nn.Identity()), input_shape=(2, 4, 4))
    >>> pictures = torch.arange(10.0).reshape(10, 1, 1, 1).expand(10, 2, 4, 4)
    >>> statistics = scan_batch(network, pictures, ["0"], images=range(10))
    >>> picture = torch.zeros(2, 4, 4)
    >>> picture[1, 2, 3] = 8.5
    >>> answering_channels(network, statistics, picture, None, ["0"], quantile=0.9)
    [Answer(layer='0', channel=1, value=8.5, row=2, col=3, share_above=0.1)]
    """
    if not 0 <= quantile <= 1:
        msg = f"expected a quantile from 0 to 1, got {quantile}; 0.99 is more than 99 % of the data"
        raise ValueError(msg)
    network = Network.of(network)
    batch = prepared[None] if prepared.ndim == len(network.input_shape) else prepared
    if len(batch) != 1:
        msg = f"expected one picture, got a batch of {len(batch)}"
        raise ValueError(msg)
    if box is not None:
        _expect_within(box, tuple(batch.shape[-2:]))
    peaks = _peaks(network, batch, box, layers)
    found = [
        answer
        for name in dict.fromkeys(layers)
        if name in peaks
        for answer in _rare(name, peaks[name], statistics[name], quantile)
    ]
    return sorted(found, key=lambda answer: answer.share_above)  # stable: layers stay in order


def _expect_within(box: Box, size: tuple[int, ...]) -> None:
    inside = box.top >= 0 and box.left >= 0 and box.bottom <= size[0] and box.right <= size[1]
    if box.is_empty or not inside:
        msg = f"expected a box with pixels of the picture of {size[0]} x {size[1]}, got {box}"
        raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class _Peaks:
    """The strongest activation of each channel and the first place of it; all (channels,)."""

    value: NDArray[np.float32]
    row: NDArray[np.int64]
    col: NDArray[np.int64]


def _peaks(
    network: Network, batch: Tensor, box: Box | None, names: Sequence[str]
) -> dict[str, _Peaks]:
    found: dict[str, _Peaks] = {}
    with network.lock:
        known: Layers = network.layers
        wanted = {name: known[name] for name in names}
        for layer in wanted.values():
            expect_drawable(layer)
        if box is not None:
            wanted = {name: layer for name, layer in wanted.items() if layer.grid is not None}

        def take(name: str, value: Tensor, *, owned: bool) -> None:  # noqa: ARG001
            found[name] = _peak_of(wanted[name], value, box)

        run_pass(network, batch, wanted, take, to_the_end=False, layers=known)
    return found


def _peak_of(layer: Layer, value: Tensor, box: Box | None) -> _Peaks:
    maps = maps_of(layer, value.detach())
    units = Box(0, 0, maps.shape[1], maps.shape[2])
    if box is not None:
        units = units_centred_in(layer, box)
    part = maps[:, units.top : units.bottom, units.left : units.right].float().cpu().numpy()
    flat = part.reshape(len(part), -1)
    whole = torch.isfinite(maps).flatten(1).all(1).cpu().numpy()
    where = flat.argmax(1)
    peak = np.where(whole, flat[np.arange(len(flat)), where], np.nan).astype(np.float32)
    row, col = np.divmod(where, units.width)
    return _Peaks(peak, row + units.top, col + units.left)


def _below(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """The next number below, so that images which answer just as much count as above it.

    Below zero, which most channels answer to most images, none too small for the format to hold in
    full: statistics take such for zero.
    """
    tiny = np.finfo(np.float32).smallest_normal
    below = np.nextafter(value, np.float32(-np.inf))
    result: NDArray[np.float32] = np.where(abs(value) <= tiny, -tiny, below).astype(np.float32)
    return result


def _rare(name: str, peaks: _Peaks, statistics: UnitStatistics, quantile: float) -> list[Answer]:
    known = np.isfinite(peaks.value)
    value = np.where(known, peaks.value, np.float32(0))
    share = np.asarray(statistics.peak_share_above(value))
    reached = np.asarray(statistics.peak_share_above(_below(value)))
    most = 1 - quantile + _ROUNDING
    rare = known & (share <= most) & (reached <= most)
    return [
        Answer(
            name,
            int(channel),
            float(peaks.value[channel]),
            int(peaks.row[channel]),
            int(peaks.col[channel]),
            float(share[channel]),
        )
        for channel in np.flatnonzero(rare)
    ]
