"""What stands in the rows of a TopPatches on a page: channels, activations, patches."""

from __future__ import annotations

import numpy as np
from playwright.sync_api import expect

GAP = 6


def row(position):
    return f".row[aria-rowindex='{position + 1}']:not([hidden])"


def cells(where):
    return f"{where} .cell:not([hidden])"


def expect_pictures(view, where=None):
    where = where or row(0)
    expect(view.find(cells(where)).first).to_be_visible()
    expect(view.find(f"{where} .cell.empty:not([hidden])")).to_have_count(0)


def expect_channels(view, expected):
    for at, channel in enumerate(expected):
        expect(view.find(f"{row(at)} .channel")).to_have_text(str(channel))


def values(view, where):
    texts = view.find(f"{cells(where)} .value").all_inner_texts()
    return np.array([float(text.replace("−", "-")) for text in texts])


def tiles(view, where, size, count):
    """The patches on the screen, (count, size, size, 3)."""
    pixels = view.pixels(f"{where} canvas")[:size, :, :3].astype(int)
    return np.stack([pixels[:, at * (size + GAP) :][:, :size] for at in range(count)])


def expect_figures(shown, exact):
    """As they are rounded to three figures of the largest."""
    assert len(shown) == len(exact)
    np.testing.assert_allclose(shown, exact, atol=0.006 * np.abs(exact).max())
