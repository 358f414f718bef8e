"""What one token attends to, head by head and through all layers, laid on the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nbviz.analysis.attention import AttentionMaps, attention, attention_layers, rollout
from nbviz.network import Network

# Weights of all layers up to here, for the rollout; beyond this it is left out, and said so.
_MOST_BYTES = 512 * 2**20


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """Attention of one layer, of which any query token can be asked without another pass."""

    maps: AttentionMaps
    through: np.ndarray | None
    """float32, shape (tokens, tokens): rollout through all layers up to this one (`rollout`)."""
    note: str
    """Whole sentences: what to know of this layer, and why there is no rollout; or empty."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the maps that `of_token` gives."""
        heads = tuple(f"head {head}" for head in range(self.maps.attention.heads))
        return heads if self.through is None else (*heads, "rollout")

    def of_token(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights of one query, float32: (maps, rows, columns), and (maps, prefix tokens).

        NaN where no token of the query's window lies.

        Raises
        ------
        IndexError
            If there is no such query.
        ValueError
            If the keys lie on no grid.
        """
        laid = self.maps.from_token(query)
        if self.through is None:
            return laid.grid, laid.prefix
        flow = self.maps.on_grid(self.through[query], query)
        return (
            np.concatenate([laid.grid, flow.grid]),
            np.concatenate([laid.prefix, flow.prefix]),
        )


def head_maps(network: Network, batch: Tensor, layer: str) -> HeadMaps:
    """The attention of one layer to one image, and the rollout up to it where layers chain.

    Parameters
    ----------
    network : Network
    batch : Tensor, shape (1, C, H, W)
    layer : str
        Out of `attention_layers(network)`.

    Raises
    ------
    ValueError
        If it is no attention layer.
    """
    known = attention_layers(network)
    names = [entry.name for entry in known]
    if layer not in names:
        return HeadMaps(attention(network, batch, layer)[layer], None, "")  # raises, and says why
    here = known[names.index(layer)]
    upto = known[: here.number + 1]
    chains = all(entry.self_attention and entry.keys == here.keys for entry in upto)
    size = sum(4 * entry.heads * entry.queries * entry.keys for entry in upto)
    notes = [f"{here.note[0].upper()}{here.note[1:]}."] if here.note else []
    if not chains:
        notes.append("No rollout: tokens of layers up to here differ, or stay within windows.")
    elif size > _MOST_BYTES:
        notes.append(f"No rollout: the weights of all layers would take {size / 2**20:.0f} MB.")
        chains = False
    wanted = [entry.name for entry in upto] if chains else [layer]
    found = attention(network, batch, wanted)
    through = rollout(list(found.values())) if chains else None
    return HeadMaps(found[layer], through, " ".join(notes))
