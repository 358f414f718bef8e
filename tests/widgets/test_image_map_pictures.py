"""The pictures of an ImageMap: the right one in each tile, whatever the images are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset

from nbviz import ImageMap
from nbviz.analysis.map_places import priority
from nbviz.scanning.source import ImageSource
from nbviz.widgets import image_map_answers, wire
from nbviz.widgets.image_map_tiles import ImageTiles, Tiles, tile_of
from tests.fixtures.mapped import COUNT, finished, grouped, plain_pictures, small_map
from tests.fixtures.scanned import arrays_of, asked, refused


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """However slow the machine, all that is asked is answered at once."""
    monkeypatch.setattr(image_map_answers, "_PATIENCE", float("inf"))


def tiles_in(packed, arrays):
    """Each tile of a sheet, uint8 (m, side, side, 3)."""
    assert arrays["sheet"][:2].tolist() == [0xFF, 0xD8]
    sheet = np.asarray(Image.open(io.BytesIO(arrays["sheet"].tobytes())))
    side, across = packed["tile"], packed["columns"]
    assert sheet.shape[1] == side * across
    places = [(n // across * side, n % across * side) for n in range(len(arrays["rows"]))]
    return np.stack([sheet[top : top + side, left : left + side] for top, left in places])


@pytest.mark.parametrize("side", [8, 32, 64, 256])
@pytest.mark.parametrize("rows", [[5], [0, 59], [*range(59, -1, -1)]])
def test_each_tile_shows_its_image_to_its_edge(side, rows, frontend):
    view = small_map(images=plain_pictures())
    answer, arrays = asked(frontend, view, "tiles", tile=side, rows=rows)
    assert arrays["rows"].tolist() == rows
    np.testing.assert_allclose(arrays["aspect"], 1.5)
    assert not arrays["broken"].any()
    colours = plain_pictures()[rows][:, :1, :1]
    # JPEG's rounding of a plain colour, which would be more if a neighbour bled into a tile.
    assert np.abs(tiles_in(answer, arrays).astype(int) - colours).max() <= 3


def test_rows_are_not_numbers_where_images_are_left_out(frontend):
    features, _ = grouped()
    features[[0, 30]] = np.nan
    view = small_map(features=features, images=plain_pictures())
    answer, arrays = asked(frontend, view, "tiles", tile=16, rows=[0, 28, 29])
    colours = plain_pictures()[[1, 29, 31]][:, :1, :1]
    assert np.abs(tiles_in(answer, arrays).astype(int) - colours).max() <= 3


def test_where_pictures_are_slow_those_that_are_there_come_first(frontend, monkeypatch):
    monkeypatch.setattr(image_map_answers, "_PATIENCE", -1.0)
    view = small_map(images=plain_pictures())
    assert asked(frontend, view, "tiles", tile=16, rows=[7, 8, 9])[1]["rows"].tolist() == [7]


def test_a_sheet_is_no_larger_than_a_texture_may_be(frontend):
    view = small_map(features=grouped(120)[0], images=plain_pictures(120), labels=None)
    arrays = asked(frontend, view, "tiles", tile=256, rows=[*range(120)])[1]
    assert arrays["rows"].tolist() == [*range(64)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tile": 20, "rows": [1]}, "steps of 8"),
        ({"tile": 512, "rows": [1]}, "8 to 256"),
        ({"tile": 16, "rows": []}, "1 to 1024"),
        ({"tile": 16, "rows": [60]}, "60"),
        ({"tile": 16, "rows": [-1]}, "60"),
    ],
)
def test_tiles_that_cannot_be_are_refused(fields, message, frontend):
    view = small_map(images=plain_pictures())
    assert message in refused(frontend, view, "tiles", **fields)


def test_without_images_it_says_what_to_pass(frontend):
    view = finished(small_map())
    assert "images=" in view.missing
    assert view.missing in refused(frontend, view, "tiles", tile=16, rows=[1])
    assert view.pictures == {}


def test_few_pixels_are_enlarged_in_blocks_and_many_are_averaged():
    rng = np.random.default_rng(0)
    few = Image.fromarray(rng.integers(0, 256, (4, 8, 3), np.uint8))
    tile = tile_of(few, 32)
    np.testing.assert_array_equal(tile.pixels, np.asarray(few).repeat(8, 0).repeat(4, 1))
    assert tile.aspect == 2
    smooth = np.linspace(0, 255, 640).astype(np.uint8)
    many = Image.fromarray(np.repeat(np.repeat(smooth[None], 480, 0)[..., None], 3, axis=2))
    blocks = smooth.reshape(32, 20).mean(1)
    assert np.abs(tile_of(many, 32).pixels[..., 0] - blocks).max() <= 3
    wide = Image.fromarray(rng.integers(0, 256, (4, 320, 3), np.uint8))
    assert tile_of(wide, 32).pixels.shape == (32, 32, 3)
    rows = tile_of(wide, 32).pixels.reshape(4, 8, 32, 3)
    assert (rows == rows[:, :1]).all()


def test_files_are_read_side_by_side_each_into_its_tile(tmp_path, frontend):
    modes = ["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16", "LA"]
    paths = []
    for number in range(COUNT):
        mode = modes[number % len(modes)]
        shade = number * 4
        picture = Image.new("L", (90 + number, 70), shade)
        if mode == "I;16":
            picture = Image.fromarray(np.full((70, 90 + number), shade * 257, np.uint16))
        elif mode != "L":
            picture = picture.convert("RGB").convert("L" if mode == "LA" else mode).convert(mode)
        paths.append(tmp_path / f"{number}.{'tif' if mode == 'CMYK' else 'png'}")
        picture.save(paths[-1])
    view = small_map(images=paths)
    answer, arrays = asked(frontend, view, "tiles", tile=32, rows=[*range(COUNT)])
    np.testing.assert_allclose(arrays["aspect"], (90 + np.arange(COUNT)) / 70, rtol=1e-6)
    for number, tile in enumerate(tiles_in(answer, arrays)):
        if modes[number % len(modes)] == "1":  # dithered
            continue
        assert abs(float(tile.mean()) - number * 4) <= 3, number


def test_an_image_that_cannot_be_read_is_crossed_out_and_said(tmp_path, frontend):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.new("RGB", (30, 30), "red").save(good)
    bad.write_bytes(good.read_bytes()[:40])
    view = ImageMap(grouped(3)[0], [good, bad, tmp_path / "gone.png"], method="pca")
    answer, arrays = asked(frontend, view, "tiles", tile=32, rows=[0, 1, 2])
    assert arrays["broken"].tolist() == [0, 1, 1]
    tiles = tiles_in(answer, arrays).astype(int)
    assert np.abs(tiles[0] - [255, 0, 0]).max() <= 3
    assert np.ptp(tiles[1]) > 50
    assert [*view.problems] == [1, 2]
    assert view.problems[1].startswith("bad.png: ")
    card = asked(frontend, view, "card", row=1)[0]
    assert card["title"] == "bad.png"
    assert any("Not shown: bad.png" in line for line in card["lines"])
    Image.new("RGB", (30, 30), "blue").save(bad)
    arrays = asked(frontend, view, "tiles", tile=32, rows=[1])[1]
    assert (arrays["broken"].tolist(), [*view.problems]) == ([0], [2])


class Counted(Dataset):
    def __init__(self):
        self.reads = []

    def __len__(self):
        return 20

    def __getitem__(self, number):
        self.reads.append(number)
        return plain_pictures(20)[number]


def test_tiles_are_kept_up_to_a_bound():
    data = Counted()
    tiles = ImageTiles(ImageSource(data), max_bytes=4 * 16 * 16 * 3)
    data.reads.clear()
    tiles.made([1, 2, 3, 4], 16, 9.0)
    tiles.made([1, 2, 3, 4], 16, 9.0)
    assert data.reads == [1, 2, 3, 4]
    tiles.made([5], 16, 9.0)
    tiles.made([1], 16, 9.0)  # was used least lately
    assert data.reads == [1, 2, 3, 4, 5, 1]
    assert tiles.nbytes == 4 * 16 * 16 * 3
    tiles.made([1], 8, 9.0)  # another size is another tile
    assert len(data.reads) == 7


def test_a_saved_page_has_the_first_pictures_by_priority():
    view = finished(small_map(images=plain_pictures()))
    arrays = arrays_of(view.pictures)
    order = np.argsort(priority(np.arange(COUNT)))
    assert arrays["rows"].tolist() == order.tolist()
    colours = plain_pictures()[order][:, :1, :1]
    assert np.abs(tiles_in(view.pictures, arrays).astype(int) - colours).max() <= 3


def test_a_saved_page_is_bounded():
    count = 1500
    noise = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    features = np.random.default_rng(1).random((count, 4), np.float32)
    view = finished(ImageMap(features, noise, method="pca"))
    assert 300_000 < wire.payload_bytes(view.pictures) <= 600_000
    rows = arrays_of(view.pictures)["rows"]
    order = np.argsort(priority(np.arange(count)))
    assert rows.tolist() == order[: len(rows)].tolist()
    plain = finished(ImageMap(features, np.zeros_like(noise), method="pca"))
    assert len(arrays_of(plain.pictures)["rows"]) == 1024


def test_no_tiles_make_a_sheet_too():
    packed = Tiles(16, [], []).packed()
    assert arrays_of(packed)["rows"].tolist() == []
