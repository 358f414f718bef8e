"""What a scan is of: the network, the data set, the settings. The text file beside its numbers."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nbviz.analysis.unit_statistics.settings import PassSettings
from nbviz.network import Network
from nbviz.scanning.range_files import write_whole
from nbviz.scanning.reading import Reader
from nbviz.scanning.source import ImageSource, Item
from nbviz.weights_hash import weights_hash

__all__ = ["FORMAT", "MANIFEST", "VERSION", "Manifest", "ScanMismatchError", "ScanStoreError"]

#: Name of the file, and what stands in it.
MANIFEST, FORMAT, VERSION = "scan.json", "nbviz-scan", 1

# Inputs that are noted, out of the first images.
_INPUTS, _LOOKED_AT = 3, 8


class ScanStoreError(ValueError):
    """A directory or file that is no scan, or a damaged or newer one."""


class ScanMismatchError(ValueError):
    """A scan that was made of something else; the message says what differs and what to do."""


@dataclass(frozen=True)
class Manifest:
    """What a scan is of.

    Attributes
    ----------
    network : dict
        ``model`` (name of the class), ``weights`` (`weights_hash`), ``input_shape``, ``transform``
        (its text), ``classes`` (names of the outputs or None), ``architecture`` (kind and shape of
        every layer by name).
    dataset : dict
        ``fingerprint``, ``labels`` (hash of the labels), ``length`` (None if unknown) and
        ``classes`` (names of the labels or None).
    settings : dict
        Those of the pass, and what else decides on the numbers, such as ``batch_size``.
    layers : list of dict
        ``name``, ``kind``, ``layout``, ``channels``, ``grid`` and ``stride`` of each.
    inputs : dict
        Of the first images that can be prepared, by number: mean, standard deviation, minimum and
        maximum of the network's input, and 16 of its values.
    end : int or None
        Number of images, known once a data set without length was read to its end.
    """

    network: dict[str, Any]
    dataset: dict[str, Any]
    settings: dict[str, Any]
    layers: list[dict[str, Any]]
    inputs: dict[str, list[float]]
    end: int | None = None

    @classmethod
    def of(
        cls, network: Network, source: ImageSource, settings: PassSettings, **run: Any
    ) -> Manifest:
        """The manifest of a scan that is to be made.

        Parameters
        ----------
        network : Network
        source : ImageSource
        settings : PassSettings
        **run
            What else decides on the numbers, such as ``batch_size``; plain values.
        """
        layers = [network.layers[name] for name in settings.layers]
        made = cls(
            network=_described(network),
            dataset={
                "fingerprint": source.fingerprint(),
                "labels": source.label_fingerprint(),
                "length": source.length,
                "classes": source.classes,
            },
            settings={**settings.to_json(), **run},
            layers=[
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "layout": layer.layout,
                    "channels": layer.channels,
                    "grid": layer.grid,
                    "stride": None if layer.stride is None else [float(s) for s in layer.stride],
                }
                for layer in layers
            ],
            inputs=_first_inputs(network, source),
        )
        # As it is when read again: lists for tuples.
        return replace(made, **json.loads(json.dumps(asdict(made))))

    @property
    def pass_settings(self) -> PassSettings:
        """The settings of the pass."""
        return PassSettings.from_json(self.settings)

    @property
    def length(self) -> int | None:
        """Number of images, None if unknown yet."""
        known: int | None = self.dataset["length"]
        return self.end if known is None else known

    def layer(self, name: str) -> dict[str, Any] | None:
        """What is known of a layer, None if it was not scanned."""
        return next((layer for layer in self.layers if layer["name"] == name), None)

    def write(self, folder: Path) -> None:
        """Write it into a store's folder, whole or not at all."""
        try:
            made_by = version("nbviz")
        except PackageNotFoundError:
            made_by = "unknown"
        content = {"format": FORMAT, "version": VERSION, "nbviz": made_by, **asdict(self)}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        write_whole(folder / MANIFEST, text.encode())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read it from a store's folder.

        Raises
        ------
        ScanStoreError
            If there is none, or it is damaged, of something else, or of a newer version.
        """
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ScanStoreError(
                f"expected the directory of a scan, but {folder} has no {MANIFEST}; pass the "
                f"directory that was given as store="
            ) from None
        except ValueError as error:
            raise ScanStoreError(
                f"expected {path} to be JSON, but it is damaged ({error}); put it back from a "
                f"copy, or scan into another directory"
            ) from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ScanStoreError(
                f'expected {path} to have "format": "{FORMAT}", so it is of something else; pass '
                f"the directory of a scan"
            )
        if not isinstance(content.get("version"), int) or content["version"] > VERSION:
            raise ScanStoreError(
                f"expected a scan of version {VERSION} or older, but {path} is of version "
                f"{content.get('version')!r} (nbviz {content.get('nbviz')!r}); update nbviz to "
                f"read it"
            )
        try:
            parts = {name: content[name] for name in cls.__dataclass_fields__}
            _check(parts)
        except (KeyError, TypeError) as error:
            raise ScanStoreError(
                f"expected {path} to describe a scan, but it is damaged ({error!r}); put it back "
                f"from a copy, or scan into another directory"
            ) from error
        return cls(**parts)

    def check_same(self, wanted: Manifest, folder: Path) -> None:
        """Raise unless a scan with these numbers is the one that is wanted.

        Raises
        ------
        ScanMismatchError
            Saying what differs.
        """
        different = [
            *_network_differences(self.network, wanted.network),
            *_differences("data set", self.dataset, wanted.dataset),
            *_differences("settings", self.settings, wanted.settings),
        ]
        if not different and self.layers != wanted.layers:
            different = ["network: its layers"]
        _expect_none(
            different or _input_differences(self.inputs, wanted.inputs),
            f"expected {folder} to hold this scan, but it was made with other values",
            "Pass what it was made with to go on with it, or another store= for a new scan.",
        )

    def check_network(self, network: Network) -> None:
        """Raise unless the network is the one scanned; names of its outputs do not matter.

        Raises
        ------
        ScanMismatchError
            Saying what differs.
        """
        given = json.loads(json.dumps(_described(network)))
        _expect_none(
            _network_differences({**self.network, "classes": given["classes"]}, given),
            "expected the network that was scanned, got another one",
            "Pass that network, or scan this one into another store.",
        )

    def check_dataset(self, source: ImageSource) -> None:
        """Raise unless the pictures are those scanned; their labels do not matter.

        Raises
        ------
        ScanMismatchError
            Saying what differs.
        """
        given = {"length": source.length, "fingerprint": source.fingerprint()}
        _expect_none(
            _differences("data set", {name: self.dataset[name] for name in given}, given),
            "expected the data set that was scanned, got another one",
            "Pass that data set, in the same order and with the same transform.",
        )

    def check_inputs(self, network: Network, source: ImageSource) -> None:
        """Raise unless the network prepares the pictures as it did.

        Raises
        ------
        ScanMismatchError
            Saying what differs.
        """
        _expect_none(
            _input_differences(self.inputs, _first_inputs(network, source)),
            "expected the transform that was scanned with, got another one",
            "Pass that transform with the network, or scan with this one into another store.",
        )


def _described(network: Network) -> dict[str, Any]:
    with network.lock:
        weights = weights_hash(network.model)
    transform = network.transform
    # A default text holds an address, which differs from run to run.
    text = None if transform is None else re.sub(r" at 0x[0-9a-fA-F]+", "", repr(transform))
    return {
        "model": type(network.model).__name__,
        "weights": weights,
        "input_shape": network.input_shape,
        "transform": text,
        "classes": network.classes,
        "architecture": {
            layer.name: f"{layer.kind} {'×'.join(map(str, layer.output_shape))}"
            for layer in network.layers
        },
    }


def _first_inputs(network: Network, source: ImageSource) -> dict[str, list[float]]:
    """What tells the transform again where its text is that of another one, as of a lambda."""
    reader, found = Reader.of(network, source), dict[str, list[float]]()
    for number, item in source.first(_LOOKED_AT):
        if isinstance(item, Item):
            with contextlib.suppress(Exception):  # in the scan it is skipped, with its reason
                values = reader.prepared(item).double().flatten()
                some = values[torch.linspace(0, len(values) - 1, 16).long()]
                whole = [values.mean(), values.std(correction=0), values.min(), values.max()]
                found[str(number)] = [float(value) for value in [*whole, *some]]
        if len(found) == _INPUTS:
            break
    return found


def _check(parts: Mapping[str, Any]) -> None:
    for name, keys in {
        "network": ("model", "weights", "input_shape", "transform", "classes", "architecture"),
        "dataset": ("fingerprint", "labels", "length", "classes"),
        "settings": ("layers",),
    }.items():
        for key in keys:
            parts[name][key]
    for layer in parts["layers"]:
        layer["name"], layer["channels"]
    PassSettings.from_json(parts["settings"])


def _expect_none(different: Sequence[str], what: str, to_do: str) -> None:
    if different:
        raise ScanMismatchError("\n- ".join([f"{what}:", *different]) + f"\n{to_do}")


def _network_differences(had: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    """A line for each entry that differs; of layers, told where the rest is the same, the first."""
    layers = "architecture"
    lines = _differences("network", {**had, layers: None}, {**got, layers: None})
    return lines or _differences("layers", had[layers], got[layers])[:3]


def _input_differences(
    had: Mapping[str, Sequence[float]], got: Mapping[str, Sequence[float]]
) -> list[str]:
    """A line if an image was prepared differently, by more than another way of rounding."""
    common = sorted(had.keys() & got.keys())
    highest = max((abs(value) for number in common for value in had[number]), default=0.0)
    for number in common:
        before, now = np.array(had[number]), np.array(got[number])
        # A step of 8 bits is 0.4 % of the range; in a mean such steps even out.
        close = highest * np.where(np.arange(len(now)) < 1, 1e-3, 1e-2)
        if (np.abs(before - now) > close).any():
            means = f"mean {before[0]:.4g}, now {now[0]:.4g}"
            deviations = f"deviation {before[1]:.4g}, now {now[1]:.4g}"
            line = f"network: transform makes another input of image {number}: was "
            return [f"{line}{means}; {deviations}"]
    return []


def _differences(part: str, had: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    """A line for each entry that differs."""
    lines = []
    for name in [*had, *(name for name in got if name not in had)]:
        before, now = had.get(name), got.get(name)
        if before != now:
            lines.append(f"{part}: {name} was {_short(before)}, now {_short(now)}")
    return lines


def _short(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:40]}… ({len(text)} characters)"
