"""How kernels formed: a bounded series of snapshots of one layer, taken while it trains."""

from __future__ import annotations

from dataclasses import dataclass

from nbviz.analysis.filters import KernelHealth, KernelScores, QuantisedKernels


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The kernels of a layer after some step of training, as they are drawn."""

    step: int
    quantised: QuantisedKernels
    scores: KernelScores
    health: KernelHealth

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        arrays = [self.quantised.values, self.quantised.scale, self.quantised.nonfinite]
        scores = self.scores
        arrays += [scores.norm, scores.noise, scores.dead, scores.duplicate_of, scores.nonfinite]
        return sum(array.nbytes for array in arrays if array is not None)


class KernelHistory:
    """Snapshots that always span the whole training within a bounded memory.

    When it is full, every second snapshot goes and later ones are kept at the wider spacing; the
    first and the newest always stay. A plain ring would forget how the kernels began, which is
    what a replay is for.

    Parameters
    ----------
    limit : int
        Most snapshots kept, at least 2.
    max_bytes : int
        Most bytes kept, whatever `limit` says; at least two snapshots are kept all the same.

    Raises
    ------
    ValueError
        If `limit` is below 2.
    """

    def __init__(self, limit: int = 128, max_bytes: int = 32_000_000) -> None:
        if limit < 2:
            raise ValueError(f"a history needs room for 2 snapshots or more; got limit={limit}")
        self.limit = limit
        self.max_bytes = max_bytes
        self._snapshots: list[Snapshot] = []
        # Steps between snapshots that are kept; grows when the history is thinned.
        self._spacing = 0

    def add(self, snapshot: Snapshot) -> None:
        """Append a snapshot; one of the same step takes the place of the last.

        A step before the last starts the series anew: another training began.
        """
        kept = self._snapshots
        if kept and snapshot.step < kept[-1].step:
            self.clear()
        if kept and snapshot.step == kept[-1].step:
            kept.pop()
        if len(kept) > 1 and kept[-1].step - kept[-2].step < self._spacing:
            kept.pop()  # it was only kept as the newest
        kept.append(snapshot)
        while len(kept) > 2 and (len(kept) > self.limit or self.nbytes > self.max_bytes):
            last = kept[-1]
            kept[:] = kept[:-1:2]
            kept.append(last)
            self._spacing = kept[1].step - kept[0].step

    def __len__(self) -> int:
        return len(self._snapshots)

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """Oldest first."""
        return tuple(self._snapshots)

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return sum(snapshot.nbytes for snapshot in self._snapshots)

    def bytes_limit(self) -> int:
        """Most bytes this history will hold, at the size of its snapshots."""
        each = max((snapshot.nbytes for snapshot in self._snapshots), default=0)
        return min(self.limit * each, max(self.max_bytes, 2 * each))

    def clear(self) -> None:
        """Forget all snapshots."""
        self._snapshots.clear()
        self._spacing = 0
