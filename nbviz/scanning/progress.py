"""How far a scan is: images, images a second, time left, images skipped."""

from __future__ import annotations

from types import TracebackType

from tqdm.auto import tqdm

__all__ = ["Progress"]


class Progress:
    """A bar in the notebook or the terminal.

    Parameters
    ----------
    length : int or None
        Images in all, if known.
    done : int
        Images that were done before.
    shown : bool
    """

    def __init__(self, length: int | None, done: int, *, shown: bool) -> None:
        self._skipped = 0
        self._bar = tqdm(
            total=length,
            initial=done,
            desc="scan",
            unit=" images",
            disable=not shown,
            dynamic_ncols=True,
        )

    def add(self, images: int, skipped: int) -> None:
        """Note images that were done, and others that were skipped."""
        if skipped:
            self._skipped += skipped
            self._bar.set_postfix_str(f"{self._skipped} skipped", refresh=False)
        self._bar.update(images + skipped)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
