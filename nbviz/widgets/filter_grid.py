"""FilterGrid: the kernels of a layer, to sort, judge, select, and watch while they form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from torch import nn

from nbviz.analysis import filters
from nbviz.analysis.colormaps import COLORMAPS
from nbviz.analysis.kernel_history import KernelHistory, Snapshot
from nbviz.analysis.kernel_pictures import GALLERY_PANELS, NORMALISE, kernel_sheet
from nbviz.network import Network
from nbviz.widgets import wire
from nbviz.widgets.base import Choice, View, answers, bundle, nearest
from nbviz.widgets.kernel_print import Page, save_kernels
from nbviz.widgets.training_watch import TrainingWatch

if TYPE_CHECKING:
    import bqplot

SORTS = ("index", "norm", "noise", "similarity")

_DEAD, _DUPLICATE, _NONFINITE, _NOISY = 1, 2, 4, 8
_NOT_JUDGED = 65535

# A history goes to the browser whole, and into a saved notebook.
_HISTORY_BYTES = 16_000_000


class FilterGrid(View):
    """The kernels of a network's layer, live.

    Parameters
    ----------
    network : Network or nn.Module
    layer : str, optional
        Name as ``named_modules`` gives it; the first layer that has kernels when None.
    max_bytes : int, default 32 MiB
        Most bytes of kernels sent to the browser, one a weight. Of a larger layer the first
        output channels are shown, and the view says so.
    history_frames : int, default 128
        Most snapshots of a layer kept by `watch`.
    **traits
        Initial values of `sort`, `normalise`, `colormap`, `zoom`, `selected`.

    Raises
    ------
    ValueError
        If the network has no layer of that name (the nearest are named), or no kernels at all.
    TypeError
        For an argument that does not exist (the nearest is named).

    Examples
    --------
    >>> import nbviz
    >>> network, *_ = nbviz.demos.digits()
    >>> grid = nbviz.FilterGrid(network, sort="noise")
    >>> grid.selected = [0, 3]
    >>> grid  # doctest: +SKIP
    """

    _esm = bundle("filter-grid")

    layer = traitlets.Unicode().tag(sync=True)
    """Layer on show. `str`; setting an unknown one raises and names the nearest."""
    sort = Choice(SORTS, default_value="index").tag(sync=True)
    """``"index"``, ``"norm"`` (largest first), ``"noise"`` (noisiest first), ``"similarity"``."""
    normalise = Choice(NORMALISE, default_value="kernel").tag(sync=True)
    """What one colour scale spans: ``"kernel"``, ``"layer"``, or ``"symmetric"`` about zero."""
    colormap = Choice(("auto", *COLORMAPS), default_value="auto").tag(sync=True)
    """``"auto"`` (red, green, blue where kernels read an image; else diverging), ``"diverging"``,
    ``"sequential"``, ``"grey"``."""
    zoom = traitlets.Int(0, min=0, max=40).tag(sync=True)
    """CSS pixels a weight, 0 to 40; 0 (default) fits."""
    selected = traitlets.List(traitlets.Int(min=0)).tag(sync=True)
    """Output channels selected, in the order they were. `list` of `int`."""
    channel = traitlets.Int(-1, min=-1).tag(sync=True)
    """Output channel selected last; -1 (default) for none. Setting it selects this one alone."""
    step = traitlets.Int(-1, min=-1).tag(sync=True)
    """Step of the snapshot on show while or after `watch`; -1 (default) is the newest."""

    layers = traitlets.List(traitlets.Dict()).tag(sync=True, shown=True)
    """Read-only: layers that have kernels, as dicts for the menu."""
    kernels = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: kernels on show, packed for the browser; see `nbviz.widgets.wire`."""
    history = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: snapshots of the layer on show, packed; written when a watch ends."""
    watching = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: state of `watch` (``active``, ``frames``, ``bytes``, ``limit``)."""

    def __init__(
        self,
        network: Network | nn.Module,
        layer: str | None = None,
        *,
        max_bytes: int = 32 * 2**20,
        history_frames: int = 128,
        **traits: Any,
    ) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be 1 or more; got {max_bytes}")
        self.network = Network.of(network)
        self.training: TrainingWatch | None = None
        self._max_bytes = max_bytes
        self._history_frames = history_frames
        self._histories: dict[str, KernelHistory] = {}
        self._new_history()  # refuses a wrong history_frames now, not when a training starts
        with self.network.lock:
            shown = self._read(layer)
            self._layers = self._find_layers()
            super().__init__(layer=shown.layer.name, **traits)
            self.layers = [_menu_entry(entry) for entry in self._layers.values()]
            self._show(shown)

    @property
    def scores(self) -> filters.KernelScores:
        """Norm, noise and marks of every kernel of the layer on show, as arrays."""
        return self._snapshot.scores

    @property
    def health(self) -> filters.KernelHealth:
        """What is said of the layer on show: `verdict`, `sentence` and counts."""
        return self._snapshot.health

    def refresh(self) -> None:
        """Read the weights anew and show them; the list of layers too, if the model was changed."""
        with self.network.lock, self.hold_sync():
            self._layers = self._find_layers()
            self.layers = [_menu_entry(entry) for entry in self._layers.values()]
            shown = self._read(self.layer)
            self.selected = [i for i in self.selected if i < shown.layer.shape[0]]
            self.step = -1
            self._show(shown)

    def watch(self, every: int = 50) -> TrainingWatch:
        """Show the kernels while a plain training loop runs.

        As a context manager it counts the steps of every optimiser that holds weights of the
        layer, so the loop stays as it is. Otherwise call the result once a step.

        Parameters
        ----------
        every : int, default 50
            Steps between two snapshots. The screen follows at most four times a second.

        Raises
        ------
        ValueError
            If `every` is below 1.
        TypeError
            If it is no whole number.

        Examples
        --------
        >>> model = nn.Sequential(nn.Conv2d(1, 8, 5), nn.Flatten(), nn.LazyLinear(10))
        >>> images, labels = torch.randn(16, 1, 12, 12), torch.arange(16) % 10
        >>> _ = model(images)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> grid = FilterGrid(model)
        >>> with grid.watch(every=5) as watch:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         nn.functional.cross_entropy(model(images), labels).backward()
        ...         _ = optimizer.step()
        >>> watch.step, grid.history["steps"]
        (20, [0, 5, 10, 15, 20])

        >>> on_step = grid.watch(every=5)
        >>> on_step()  # in the loop, after optimizer.step()
        >>> on_step.finish()  # after the loop
        """
        return TrainingWatch(self, every)

    def chart(self, score: str = "noise") -> bqplot.Figure:
        """The distribution of a score over the kernels, as a bqplot figure linked to the grid.

        Drag across the bars to select those kernels in the grid; what the grid selects is marked
        in the chart.

        Parameters
        ----------
        score : {"noise", "norm"}

        Examples
        --------
        >>> ipywidgets.VBox([grid, grid.chart("norm")])  # doctest: +SKIP
        """
        if score not in ("noise", "norm"):
            raise ValueError(
                f"score must be 'noise' or 'norm'; got {score!r}{nearest(score, ['noise', 'norm'])}"
            )
        # bqplot takes long to import, and most grids are shown without a chart.
        from nbviz.widgets.kernel_chart import kernel_chart

        return kernel_chart(self, score)

    def save(self, path: str | Path, *, dpi: int = 300) -> list[Path]:
        """Write the kernels as on show, with numbers, title and scale, for print.

        Parameters
        ----------
        path : str or Path
            With suffix ``.png`` or ``.svg`` that file; with none both.
        dpi : int, default 300
            Dots per inch of the pixels in either.

        Returns
        -------
        list of Path
            Files written.

        Raises
        ------
        ValueError
            For another suffix.
        """
        kernels, snapshot = self._chosen()
        choices = self._sheet_choices(kernels, snapshot)
        page = Page(caption=self.still_caption(), scores=snapshot.scores, dpi=dpi)
        return save_kernels(kernels, Path(path), page, **choices)

    def still(self) -> np.ndarray:
        """The kernels as on show; of a large layer the first 64 outputs and inputs."""
        kernels, snapshot = self._chosen()
        few = kernels.values.shape[1] <= GALLERY_PANELS
        choices = self._sheet_choices(kernels, snapshot)
        sheet = kernel_sheet(kernels, **choices, max_outputs=256 if few else 64, max_inputs=64)
        return sheet.picture

    def still_caption(self) -> str:
        """One sentence: which kernels, how many, and what was found."""
        kernels, snapshot = self._chosen()
        inputs, height, width = kernels.values.shape[1:]
        model = type(self.network.model).__name__
        when = f" after step {snapshot.step} of training" if snapshot.step >= 0 else ""
        return (
            f"{kernels.layer.shape[0]} kernels of {inputs}x{height}x{width} in layer "
            f"{self.layer!r} of {model}{when}. {snapshot.health.sentence}"
        )

    # From here on: what keeps traits, snapshots and the browser together.

    def begin_training(self, watch: TrainingWatch) -> None:
        """Forget earlier trainings and follow `watch`."""
        with self.network.lock, self.hold_sync():
            self.training = watch
            self._histories.clear()
            self.problem = ""
            self.step = -1
            self.history = {}

    def record(self, step: int, *, show: bool, last: bool = False) -> None:
        """Add the kernels as they are now to the history, as of `step`."""
        with self.network.lock, self.hold_sync():
            kernels = self._read(self.layer)
            name = kernels.layer.name
            if name not in self._histories:
                self._histories[name] = self._new_history()
            if show:
                self._histories[name].add(self._show(kernels, step=step, order=last))
                self._show_watching()
            else:
                self._histories[name].add(take_snapshot(kernels, step))

    def show_history(self) -> None:
        """Hand the snapshots of the layer on show to the view."""
        with self.network.lock, self.hold_sync():
            self._show_watching()
            history = self._histories.get(self.layer)
            if self.training is not None or not history:
                self.history = {}
                return
            snapshots = history.snapshots
            masked = any(snapshot.quantised.nonfinite is not None for snapshot in snapshots)
            each = [_arrays(snapshot, masked=masked) for snapshot in snapshots]
            self.history = wire.pack(
                {name: np.stack([arrays[name] for arrays in each]) for name in each[0]},
                layer=self.layer,
                steps=[snapshot.step for snapshot in snapshots],
                health=[_health_state(snapshot) for snapshot in snapshots],
            )

    def _show_watching(self) -> None:
        history = self._histories.get(self.layer)
        self.watching = {
            "active": self.training is not None,
            "frames": len(history) if history else 0,
            "bytes": history.nbytes if history else 0,
            "limit": history.bytes_limit() if history else 0,
        }

    def _new_history(self) -> KernelHistory:
        return KernelHistory(self._history_frames, max_bytes=_HISTORY_BYTES)

    def _find_layers(self) -> dict[str, filters.KernelLayer]:
        return {entry.name: entry for entry in filters.kernel_layers(self.network)}

    def _read(self, layer: str | None) -> filters.Kernels:
        return filters.kernels(self.network, layer, max_bytes=self._max_bytes)

    def _show(
        self, kernels: filters.Kernels, *, step: int | None = None, order: bool = True
    ) -> Snapshot:
        """Make `kernels` what is on show; `step` says that a training is at it."""
        snapshot = take_snapshot(kernels, -1 if step is None else step)
        self._shown, self._snapshot = kernels, snapshot
        arrays = _arrays(snapshot)
        if order:
            arrays["similarity"] = filters.similarity_order(kernels).astype(np.uint16)
        duplicate_of = snapshot.scores.duplicate_of
        self.kernels = wire.pack(
            arrays,
            layer=kernels.layer.name,
            step=snapshot.step,
            colour=kernels.layer.colour,
            outputs=kernels.layer.shape[0],
            note=_note(kernels.layer),
            health=_health_state(snapshot),
            duplicates={str(i): int(duplicate_of[i]) for i in np.flatnonzero(duplicate_of >= 0)},
        )
        return snapshot

    def _chosen(self) -> tuple[filters.Kernels, Snapshot]:
        """What the view shows: the newest kernels, or the snapshot that was scrubbed to."""
        history = self._histories.get(self.layer)
        if self.step < 0 or not history:
            return self._shown, self._snapshot
        before = [s for s in history.snapshots if s.step <= self.step] or history.snapshots[:1]
        return replace(self._shown, values=filters.dequantise(before[-1].quantised)), before[-1]

    def _sheet_choices(self, kernels: filters.Kernels, snapshot: Snapshot) -> dict[str, Any]:
        if self.sort == "index":
            order = np.arange(len(kernels.values))
        elif self.sort == "similarity":
            order = filters.similarity_order(self._shown)
        else:
            order = _largest_first(getattr(snapshot.scores, self.sort))
        in_colour = self.colormap == "auto" and kernels.layer.colour
        map_name = None if in_colour else "diverging" if self.colormap == "auto" else self.colormap
        return {"order": order, "normalise": self.normalise, "map_name": map_name}

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict[str, Any]) -> str:
        name: str = proposal["value"]
        entry = self._layers.get(name)
        if entry is None:
            raise traitlets.TraitError(
                f"no layer {name!r} with kernels in {type(self.network.model).__name__}"
                f"{nearest(name, list(self._layers))}; `grid.layers` lists them"
            )
        if entry.problem is not None:
            raise traitlets.TraitError(f"layer {name!r} cannot be drawn: {entry.problem}")
        return name

    @traitlets.observe("layer")
    def _change_layer(self, change: dict[str, Any]) -> None:
        del change
        if not self.kernels:
            return
        with self.network.lock, self.hold_sync():
            self.selected = []
            self.step = -1
            if self.training is not None:
                self.training.record(show=True, last=True)
            else:
                self._show(self._read(self.layer))
            self.show_history()

    @traitlets.validate("selected")
    def _check_selected(self, proposal: dict[str, Any]) -> list[int]:
        chosen: list[int] = list(dict.fromkeys(proposal["value"]))
        outputs = self._layers[self.layer].shape[0]
        beyond = [output for output in chosen if output >= outputs]
        if beyond:
            raise traitlets.TraitError(
                f"selected holds channel {beyond[0]}, but layer {self.layer!r} has {outputs} "
                f"output channels, numbered 0 to {outputs - 1}"
            )
        return chosen

    @traitlets.validate("channel")
    def _check_channel(self, proposal: dict[str, Any]) -> int:
        channel: int = proposal["value"]
        outputs = self._layers[self.layer].shape[0]
        if channel >= outputs:
            raise traitlets.TraitError(
                f"channel must be below {outputs}, the output channels of layer {self.layer!r}; "
                f"got {channel}"
            )
        return channel

    @traitlets.observe("selected")
    def _name_channel(self, change: dict[str, Any]) -> None:
        self.channel = change["new"][-1] if change["new"] else -1

    @traitlets.observe("channel")
    def _select_channel(self, change: dict[str, Any]) -> None:
        channel = change["new"]
        if channel != (self.selected[-1] if self.selected else -1):
            self.selected = [] if channel < 0 else [channel]

    @answers("kernel")
    def _exact_kernel(self, output: int, **asked: Any) -> dict[str, Any]:
        """Exact float32 weights of one output channel of the kernels on show, for the lens."""
        del asked  # the view drops an answer whose layer and step are not what it shows
        with self.network.lock:
            name, step = self._shown.layer.name, self._snapshot.step
            weights = self._shown.values[output]
        return wire.pack({"weights": weights}, layer=name, step=step, output=output)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the browser set, never in the middle of a snapshot of a training."""
        with self.network.lock:
            super().set_state(sync_data)


def take_snapshot(kernels: filters.Kernels, step: int) -> Snapshot:
    """The kernels as they are drawn and judged, as of a step of training."""
    scores = filters.score(kernels)
    return Snapshot(step, filters.quantise(kernels.values), scores, filters.health(kernels, scores))


def _arrays(snapshot: Snapshot, *, masked: bool = False) -> dict[str, np.ndarray]:
    """Arrays of a snapshot as the view takes them; at most 13 bytes a kernel beside its weights."""
    quantised, scores = snapshot.quantised, snapshot.scores
    judged = np.isfinite(scores.noise)
    fixed = np.rint(np.where(judged, np.clip(scores.noise, 0, 1), 0) * (_NOT_JUDGED - 1))
    flags = (
        _DEAD * scores.dead
        + _DUPLICATE * (scores.duplicate_of >= 0)
        + _NONFINITE * (scores.nonfinite > 0)
        + _NOISY * scores.noisy
    )
    arrays = {
        "values": quantised.values,
        "scale": quantised.scale,
        "norm": scores.norm,
        "noise": np.where(judged, fixed, _NOT_JUDGED).astype(np.uint16),
        "flags": flags.astype(np.uint8),
    }
    if quantised.nonfinite is not None:
        arrays["nonfinite"] = quantised.nonfinite
    elif masked:
        arrays["nonfinite"] = np.zeros(-(-quantised.values.size // 8), np.uint8)
    return arrays


def _health_state(snapshot: Snapshot) -> dict[str, str]:
    return {"verdict": snapshot.health.verdict, "sentence": snapshot.health.sentence}


def _menu_entry(layer: filters.KernelLayer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "shape": list(layer.shape),
        "problem": layer.problem or "",
    }


def _note(layer: filters.KernelLayer) -> str:
    """What a person must know of how the kernels are drawn."""
    if layer.kind != "Linear":
        return ""
    channels, height, width = layer.shape[1:]
    return (
        f"The weights are laid out as the {channels}x{height}x{width} image that the layer reads; "
        "if it reads another, give nbviz.Network(model, input_shape=(channels, height, width))."
    )


def _largest_first(values: np.ndarray) -> np.ndarray:
    """Indices from the largest value down; NaN last, ties by index, as in the view."""
    return np.argsort(-np.where(np.isnan(values), -np.inf, values), kind="stable")
