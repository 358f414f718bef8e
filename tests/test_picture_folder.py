"""A folder of pictures: which files, in which order, of which class."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from nbviz.picture_set import PictureFolder, PictureSet

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), np.uint8)


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_subfolders_are_classes(kind, tmp_path):
    for number, name in enumerate(("dog/1.png", "cat/deep/down/2.png", "cat/3.JPEG")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(COLOURS[number]).save(tmp_path / name, "PNG")
    touch(tmp_path, "cat/notes.txt", "empty/readme.md")
    pictures = PictureSet(kind(tmp_path))
    assert pictures.folder.names == ["cat/3.JPEG", "cat/deep/down/2.png", "dog/1.png"]
    assert pictures.classes == ("cat", "dog")
    assert [pictures.label(number) for number in range(3)] == [0, 0, 1]
    assert pictures.numbers_by_class() == ([0, 1, 2], [0, 0, 1])
    np.testing.assert_array_equal(np.asarray(pictures.picture(1)), COLOURS[1])
    path, label = pictures.item(2)
    assert (path, label) == (str(tmp_path.resolve() / "dog" / "1.png"), 1)


def test_it_is_the_order_and_numbering_of_torchvision(tmp_path):
    from torchvision.datasets import ImageFolder

    touch(tmp_path, "b/2.png", "b/10.png", "a-c/x.png", "a/z.png", "a/Z.png", "B/ä.jpg", "a/y.bmp")
    theirs = ImageFolder(str(tmp_path))
    ours = PictureFolder(tmp_path)
    assert list(ours) == [path for path, _ in theirs.samples]
    assert (ours.classes, ours.targets) == (tuple(theirs.classes), theirs.targets)


def test_a_flat_folder_has_no_classes_and_a_mixed_one_some(tmp_path):
    touch(tmp_path, "b.png", "a.webp")
    flat = PictureSet(tmp_path)
    assert (flat.folder.names, flat.classes, flat.label(0)) == (["a.webp", "b.png"], None, None)
    touch(tmp_path, "aa/c.png")
    mixed = PictureSet(tmp_path)
    assert mixed.folder.names == ["a.webp", "aa/c.png", "b.png"]
    assert (mixed.classes, [mixed.label(n) for n in range(3)]) == (("aa",), [None, 0, None])
    given = PictureSet(tmp_path, labels=["x", "y", "z"])
    assert given.label(1) == "y"
    assert given.item(1)[1] == "y"


def test_what_is_hidden_or_no_picture_is_left_out(tmp_path):
    touch(tmp_path, ".a.png", "._a.png", ".ipynb_checkpoints/a.png", "__MACOSX/a.png", "a.png.txt")
    touch(tmp_path, "a", "png", "b.tar", "c.tar")
    with pytest.raises(ValueError, match=r"only other files \(2 of \.tar, 2 of no suffix, 1 of"):
        PictureFolder(tmp_path)
    touch(tmp_path, "z.png")
    assert PictureFolder(tmp_path).names == ["z.png"]


def test_a_folder_without_files_says_so(tmp_path):
    (tmp_path / "below").mkdir()
    with pytest.raises(ValueError, match="found no files; pass the folder of the pictures"):
        PictureSet(tmp_path)


def test_links_are_followed_but_never_round_and_round(tmp_path):
    touch(tmp_path / "data", "a/1.png")
    touch(tmp_path / "elsewhere", "2.png")
    (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "data" / "a" / "round").symlink_to(tmp_path / "data", target_is_directory=True)
    (tmp_path / "data" / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    folder = PictureFolder(tmp_path / "data")
    assert folder.names == ["a/1.png", "a/gone.png", "b/2.png"]
    assert folder.classes == ("a", "b")


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.png", "b/2.png")
    look = os.scandir

    def refused(folder):
        if str(folder).endswith("b"):
            raise PermissionError(13, "Permission denied", str(folder))
        return look(folder)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError, match="b"):
        PictureFolder(tmp_path)


def test_it_is_a_sequence_of_paths(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png")
    folder = PictureFolder(tmp_path)
    assert len(folder) == 3
    assert folder[1:] == [str(tmp_path.resolve() / "b.png"), str(tmp_path.resolve() / "c.png")]
    assert folder[-1] == folder[2]
