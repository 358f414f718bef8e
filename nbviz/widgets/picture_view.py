"""PictureView: a view of a network that looks at pictures, of a data set or of one's own.

It takes what ``js/picture-inputs/inputs.ts`` sends: files, drawings and frames of a camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import traitlets
from torch import Tensor, nn

from nbviz.analysis.input_picture import input_picture
from nbviz.network import Network
from nbviz.picture_files import PictureUpload
from nbviz.picture_set import PictureSet
from nbviz.widgets import wire
from nbviz.widgets.base import View, answers


class PictureView(View):
    """Base of views that show what a network makes of a picture.

    A subclass calls `_open_pictures` before traits are set, and says in `_take` what happens with
    a picture that is not of the data set.
    """

    image = traitlets.Int(0, min=-1).tag(sync=True)
    """Number of the picture in the data set; -1 while another is on show (see `look_at`)."""
    inputs = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: where pictures come from."""

    network: Network

    def _open_pictures(
        self, network: Network | nn.Module, pictures: Any, labels: Sequence[Any] | None
    ) -> None:
        self.network = Network.of(network)
        with self.network.lock:
            if pictures is None:
                pictures = np.zeros(self._input_size()[1:], np.uint8)
            self._pictures = PictureSet(pictures, labels)
            first = self.network.prepare(self._pictures.picture(0))
            self._dark = input_picture(self.network, first).dark
        self._source = "dataset"
        self._uploads = PictureUpload()

    def _exclusive(self) -> AbstractContextManager[Any]:
        lock: AbstractContextManager[Any] = self.network.lock
        return lock

    def _take(self, batch: Tensor, source: str, *, live: bool) -> None:
        """Show a prepared picture that is not of the data set; `live` if more follow at once."""
        raise NotImplementedError

    def look_at(self, picture: Any) -> None:
        """Show a picture that is not of the data set.

        Parameters
        ----------
        picture : picture
            Whatever `Network.prepare` takes, or the path of a file.
        """
        with self.network.lock:
            given = PictureSet([picture]).picture(0)
            self._take(self.network.prepare(given), "own", live=False)

    def _input_size(self) -> tuple[int, int, int]:
        channels, height, width = (1, 1, *self.network.input_shape)[-3:]
        return channels, height, width

    def _inputs_state(self) -> dict[str, Any]:
        channels, height, width = self._input_size()
        return {
            "images": len(self._pictures),
            "labels": self._label() if self._source == "dataset" else "",
            "channels": channels,
            "height": height,
            "width": width,
            "dark": self._dark,
            "source": self._source,
            "labelled": isinstance(self._pictures.label(0), int) and len(self._pictures) > 1,
        }

    def _label(self) -> str:
        label = self._pictures.label(self.image)
        classes = self.network.classes
        if isinstance(label, int) and classes is not None and 0 <= label < len(classes):
            return classes[label]
        return "" if label is None else str(label)

    @traitlets.validate("image")
    def _check_image(self, proposal: dict[str, Any]) -> int:
        if proposal["value"] < 0 and self._source == "dataset":
            raise traitlets.TraitError(
                "image -1 is a picture that is not of the data set; look_at(picture) shows one"
            )
        return self._checked_number(proposal)

    def _checked_number(self, proposal: dict[str, Any]) -> int:
        number: int = proposal["value"]
        if number >= len(self._pictures):
            raise traitlets.TraitError(
                f"{proposal['trait'].name} must be the number of a picture, at most "
                f"{len(self._pictures) - 1}; got {number}"
            )
        return number

    @answers("pixels")
    def _take_pixels(
        self, arrays: dict[str, np.ndarray], source: str, done: bool = True, **asked: Any
    ) -> dict[str, Any]:
        """A drawing or a frame of the camera, uint8 (H, W, 1) or (H, W, 3)."""
        del asked
        pixels = arrays["pixels"]
        picture = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        with self.network.lock:
            batch = self.network.prepare(picture)
            self._take(batch, source, live=not done)
        return wire.pack({})

    @answers("picture_file")
    def _take_file(self, arrays: dict[str, np.ndarray], **part: Any) -> dict[str, Any]:
        """A part of a file; with the last one the picture is shown."""
        picture = self._uploads.add(data=arrays["data"].tobytes(), **part)
        if picture is not None:
            self.look_at(picture)
        return wire.pack({})
