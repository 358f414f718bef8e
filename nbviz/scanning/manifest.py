"""What a scan is of: the network, the data set, the settings. The text file beside its numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nbviz.analysis.unit_statistics.settings import PassSettings
from nbviz.network import Network
from nbviz.scanning.range_files import write_whole
from nbviz.scanning.source import ImageSource
from nbviz.weights_hash import weights_hash

__all__ = ["FORMAT", "MANIFEST", "VERSION", "Manifest", "ScanMismatchError", "ScanStoreError"]

#: Name of the file, and what stands in it.
MANIFEST, FORMAT, VERSION = "scan.json", "nbviz-scan", 1


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
        (its text), ``classes`` (names of the outputs or None).
    dataset : dict
        ``fingerprint``, ``labels`` (hash of the labels), ``length`` (None if unknown) and
        ``classes`` (names of the labels or None).
    settings : dict
        Those of the pass, and what else decides on the numbers, such as ``batch_size``.
    layers : list of dict
        ``name``, ``kind``, ``layout``, ``channels``, ``grid`` and ``stride`` of each.
    end : int or None
        Number of images, known once a data set without length was read to its end.
    """

    network: dict[str, Any]
    dataset: dict[str, Any]
    settings: dict[str, Any]
    layers: list[dict[str, Any]]
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
        write_whole(folder / MANIFEST, lambda file: _write_text(file, text))

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
            *_differences("network", self.network, wanted.network),
            *_differences("data set", self.dataset, wanted.dataset),
            *_differences("settings", self.settings, wanted.settings),
        ]
        if not different and self.layers != wanted.layers:
            different = ["network: its layers"]
        if different:
            raise ScanMismatchError(
                f"expected {folder} to hold this scan, but it was made with other values:\n"
                + "\n".join(f"- {line}" for line in different)
                + "\nPass what it was made with to go on with it, or another store= for a new scan."
            )

    def check_network(self, network: Network) -> None:
        """Raise unless the network is the one scanned.

        Raises
        ------
        ScanMismatchError
            Saying what differs.
        """
        given = json.loads(json.dumps(_described(network)))
        names = ("model", "weights", "input_shape", "transform")
        different = _differences("network", _some(self.network, names), _some(given, names))
        if different:
            raise ScanMismatchError(
                "expected the network that was scanned, got another one:\n"
                + "\n".join(f"- {line}" for line in different)
                + "\nPass that network, or scan this one into another store."
            )

    def check_dataset(self, source: ImageSource) -> None:
        """Raise unless the pictures are those scanned; their labels do not matter.

        Raises
        ------
        ScanMismatchError
            Saying what differs.
        """
        length = source.length
        given = {"length": length, "fingerprint": source.fingerprint()}
        different = _differences("data set", _some(self.dataset, tuple(given)), given)
        if different:
            raise ScanMismatchError(
                "expected the data set that was scanned, got another one:\n"
                + "\n".join(f"- {line}" for line in different)
                + "\nPass that data set, in the same order and with the same transform."
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
    }


def _check(parts: Mapping[str, Any]) -> None:
    for name, keys in {
        "network": ("model", "weights", "input_shape", "transform", "classes"),
        "dataset": ("fingerprint", "labels", "length", "classes"),
        "settings": ("layers",),
    }.items():
        for key in keys:
            parts[name][key]
    for layer in parts["layers"]:
        layer["name"], layer["channels"]
    PassSettings.from_json(parts["settings"])


def _some(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: values[name] for name in names}


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


def _write_text(file: Any, text: str) -> None:
    file.write(text.encode())
