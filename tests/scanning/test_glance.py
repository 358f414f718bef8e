"""Small pictures, names and labels of a data set, without reading more than is needed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset

from nbviz.scanning.source import ImageSource


@pytest.fixture
def folder(tmp_path):
    for name, shade in (("ant/a.jpg", 40), ("bee/b.png", 90), ("bee/c.jpg", 200)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (800, 400), (shade, shade, shade)).save(path)
    return tmp_path


def test_a_large_file_is_read_at_a_fraction(folder):
    source = ImageSource(folder)
    assert source.read(0).picture.size == (800, 400)
    for number, shade in enumerate((40, 90, 200)):
        picture = source.glance(number, 64)
        assert 64 <= min(picture.size) < 200
        assert picture.size[0] == 2 * picture.size[1]
        assert abs(int(np.asarray(picture).mean()) - shade) <= 2


def test_pictures_that_are_in_memory_come_as_they_are():
    pictures = np.zeros((3, 500, 400), np.uint8)
    assert ImageSource(pictures).glance(1, 16).shape == (500, 400)


def test_labels_of_all_are_known_where_they_lie_apart(folder):
    assert ImageSource(folder).labels().tolist() == [0, 1, 1]
    pictures = np.zeros((3, 5, 5), np.uint8)
    assert ImageSource(pictures, labels=["b", None, "a"]).labels().tolist() == [1, -1, 0]
    assert ImageSource(pictures, labels=[4, -7, 2]).labels().tolist() == [4, -1, 2]
    assert ImageSource(pictures, labels=np.array([200, 3, 0], np.uint8)).labels()[0] == 200
    assert ImageSource(pictures).labels() is None


def test_labels_that_come_with_the_pictures_are_not_read():
    class Pairs(Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, number):
            raise AssertionError("it was read")

    assert ImageSource(Pairs()).labels() is None


def test_files_have_names(folder):
    paths = [folder / "bee/b.png", str(folder / "ant/a.jpg")]
    for source, names in (
        (ImageSource(folder), ["ant/a.jpg", "bee/b.png", "bee/c.jpg"]),
        (ImageSource(paths), ["b.png", "a.jpg"]),
    ):
        assert source.in_files
        assert [source.file_name(number) for number in range(source.length)] == names
    assert ImageSource(paths[0]).file_name(0) == "b.png"
    assert ImageSource(np.zeros((2, 5, 5), np.uint8)).file_name(0) is None


def test_what_comes_one_after_the_other_has_none_of_these():
    source = ImageSource(np.zeros((4, 4), np.uint8) for _ in range(3))
    assert not source.in_files
    assert (source.labels(), source.file_name(0)) == (None, None)
    with pytest.raises(TypeError, match="numbers"):
        source.glance(0, 8)
