"""Whatever pictures a person has, they come out by number with the right label, and unread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from nbviz.picture_files import PictureFileError
from nbviz.picture_set import PictureSet

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), np.uint8)


def as_array(picture) -> np.ndarray:
    return np.asarray(picture)


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(COLOURS[0]),
        COLOURS[0, ..., 0],
        COLOURS[0],
        np.concatenate([COLOURS[0], COLOURS[0, ..., :1]], axis=2),
        torch.zeros(3, 8, 9),
        torch.zeros(1, 3, 8, 9),
        torch.zeros(8, 9),
    ],
    ids=["PIL", "grey", "colour", "with alpha", "tensor", "batch of one", "grey tensor"],
)
def test_one_picture_is_taken_as_it_is(picture):
    one = PictureSet(picture, labels=["cat"])
    assert len(one) == 1
    assert one.picture(0) is picture
    assert one.label(0) == "cat"
    assert PictureSet(picture).label(0) is None


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_is_read_when_it_is_asked_for(kind, tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*a\.png"):
        PictureSet(kind(path))
    path.touch()
    one = PictureSet(kind(path))
    assert len(one) == 1
    Image.fromarray(COLOURS[0]).save(path)
    np.testing.assert_array_equal(as_array(one[0]), COLOURS[0])
    path.write_text("not a picture")
    with pytest.raises(PictureFileError, match=r"“a\.png” looks like text"):
        one.picture(0)


def test_a_path_below_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.fromarray(COLOURS[0]).save(tmp_path / "a.png")
    assert PictureSet("~/a.png").picture(0).size == (9, 8)


@pytest.mark.parametrize(
    "pictures",
    [
        list(COLOURS),
        tuple(Image.fromarray(colours) for colours in COLOURS),
        COLOURS,
        COLOURS[..., 0],
        COLOURS[..., :1],
        torch.from_numpy(COLOURS).permute(0, 3, 1, 2).float(),
        [torch.from_numpy(colours).float() for colours in COLOURS],
    ],
    ids=["list", "tuple of PIL", "array", "grey array", "one channel", "tensor", "tensors"],
)
def test_many_pictures_come_by_number(pictures):
    many = PictureSet(pictures)
    assert len(many) == 5
    for number in range(5):
        np.testing.assert_array_equal(as_array(many.picture(number)), as_array(pictures[number]))
        assert many.label(number) is None
    assert not many.labelled
    assert len(list(many)) == 5


@pytest.mark.parametrize("kind", [list, np.array])
def test_many_paths_are_files_and_not_one_picture(kind, tmp_path):
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    many = PictureSet(kind(paths), labels=["a", "b", "c"])
    for colours, path in zip(COLOURS, paths, strict=False):
        Image.fromarray(colours).save(path)
    assert len(many) == 3
    np.testing.assert_array_equal(as_array(many.picture(2)), COLOURS[2])
    assert many.label(2) == "c"


class Counting(Dataset):
    """As data sets of torchvision: pairs, and labels apart, if any."""

    def __init__(self, labels, *, targets=True, size=None, target_transform=None):
        self.labels, self.size, self.target_transform = labels, size or len(labels), None
        if target_transform is not None:
            self.target_transform = target_transform
        if targets:
            self.targets = labels
        self.read = []

    def __len__(self):
        return self.size

    def __getitem__(self, number):
        self.read.append(number)
        label = self.labels[number % len(self.labels)]
        label = self.target_transform(label) if self.target_transform else label
        return Image.fromarray(COLOURS[number % 5]), label


def test_a_torch_data_set_is_read_only_where_it_is_asked_for():
    data = Counting([3, 1, 4, 1, 5])
    pictures = PictureSet(data)
    assert pictures.labelled
    assert [pictures.label(number) for number in range(5)] == [3, 1, 4, 1, 5]
    assert pictures.numbers_by_class() == ([0, 1, 2, 3, 4], [3, 1, 4, 1, 5])
    few = pictures.subset([4, 2])
    assert len(few) == 2
    assert data.read == []
    np.testing.assert_array_equal(as_array(few[1]), COLOURS[2])
    assert data.read == [2]


def test_labels_that_a_data_set_changes_on_the_way_are_those_of_its_items():
    pictures = PictureSet(Counting([3, 1, 4], target_transform=lambda label: 10 * label))
    assert [pictures.label(number) for number in range(3)] == [30, 10, 40]


def test_a_torch_data_set_without_labels_apart_tells_them_with_its_pictures():
    data = Counting([3, 1, 4], targets=False)
    pictures = PictureSet(data)
    assert data.read == []
    assert pictures.label(2) == 4
    assert data.read == [2]


@pytest.mark.parametrize("size", [1999, 2000, 2001, 3999, 4000, 10_000])
def test_no_more_than_so_many_pictures_are_read_for_their_labels(size):
    data = Counting([0, 1, 2], targets=False, size=size)
    numbers, labels = PictureSet(data).numbers_by_class(most=2000)
    assert data.read == numbers
    assert 1000 <= len(numbers) <= 2000
    assert labels == [number % 3 for number in numbers]
    steps = np.diff(numbers)
    assert (steps == steps[0]).all()
    assert numbers[-1] >= size - steps[0]


class Columns:
    """As data sets of Hugging Face: mappings by number, columns by name."""

    def __init__(self, **columns):
        self.columns, self.column_names, self.read = columns, list(columns), []

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        self.read.append(key)
        return {name: column[key] for name, column in self.columns.items()}


@pytest.mark.parametrize("image", ["image", "img", "pixel_values"])
@pytest.mark.parametrize("label", ["label", "labels", "fine_label"])
def test_a_hugging_face_data_set_is_read_only_where_it_is_asked_for(image, label):
    data = Columns(**{image: list(COLOURS), label: [7, 8, 9, 7, 8], "caption": list("abcde")})
    pictures = PictureSet(data)
    assert (len(pictures), pictures.label(3)) == (5, 7)
    assert data.read == []
    np.testing.assert_array_equal(as_array(pictures.picture(3)), COLOURS[3])
    assert data.read == [3]


def test_a_hugging_face_data_set_without_labels_has_none():
    pictures = PictureSet(Columns(image=list(COLOURS)))
    assert not pictures.labelled
    assert pictures.numbers_by_class() == ([], [])


def test_items_may_be_pairs_or_mappings():
    pairs = PictureSet([(COLOURS[0], 4), [COLOURS[1], "dog"], (COLOURS[2], torch.tensor(3))])
    assert [pairs.label(number) for number in range(3)] == [4, "dog", 3]
    mappings = PictureSet([{"img": COLOURS[0], "class": 4}, {"pixel_values": COLOURS[1]}])
    assert [mappings.label(number) for number in range(2)] == [4, None]
    for pictures in (pairs, mappings):
        np.testing.assert_array_equal(as_array(pictures.picture(1)), COLOURS[1])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([3, 1, 4, 1, 5], [3, 1, 4, 1, 5]),
        (np.array([3, 1, 4, 1, 5], np.uint8), [3, 1, 4, 1, 5]),
        (torch.tensor([3, 1, 4, 1, 5]), [3, 1, 4, 1, 5]),
        ([torch.tensor(3), np.int64(1), 4, True, None], [3, 1, 4, 1, None]),
        (np.array(["a", "b", "c", "d", "e"]), ["a", "b", "c", "d", "e"]),
        (("a", "b", "c", "d", "e"), ["a", "b", "c", "d", "e"]),
        ((number for number in range(5)), [0, 1, 2, 3, 4]),
    ],
    ids=["list", "numpy", "torch", "mixed", "numpy strings", "strings", "generator"],
)
def test_labels_of_any_form_are_plain_numbers_and_names(labels, expected):
    pictures = PictureSet(COLOURS, labels)
    found = [pictures.label(number) for number in range(5)]
    assert found == expected
    assert {type(label) for label in found} <= {int, str, type(None)}
    numbers, of = pictures.numbers_by_class()
    assert of == [label for label in expected if isinstance(label, int)]
    assert len(numbers) == len(of)


def test_labels_that_are_given_go_before_those_of_the_data_set():
    pictures = PictureSet(Counting([3, 1, 4]), labels=[0, 0, 9])
    assert pictures.label(2) == 9


@pytest.mark.parametrize(
    "target", [torch.zeros(4), np.zeros(4), [1, 2], 0.5, Image.fromarray(COLOURS[0])]
)
def test_targets_that_are_no_classes_are_no_labels(target):
    pictures = PictureSet([(COLOURS[0], target)])
    assert pictures.label(0) is None
    assert not pictures.labelled


@pytest.mark.parametrize(
    ("labels", "error", "said"),
    [
        ([1, 2], ValueError, "got 2 labels for 5 pictures"),
        (torch.zeros(6), ValueError, "got 6 labels for 5 pictures"),
        ([0, 1, 2, 0.5, 4], TypeError, "got 0.5 for picture 3"),
        (np.eye(5), TypeError, r"got \[1.0, 0.0.* for picture 0"),
        ("abcde", TypeError, "a list of labels"),
        ({0: 1}, TypeError, "a list of labels"),
        (3, TypeError, "a list of labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused_at_once(labels, error, said):
    with pytest.raises(error, match=said):
        PictureSet(COLOURS, labels)


@pytest.mark.parametrize(
    ("pictures", "error", "said"),
    [
        ([], ValueError, "at least one picture"),
        (np.zeros((0, 8, 8), np.uint8), ValueError, "at least one picture"),
        (torch.zeros(0, 3, 8, 8), ValueError, "at least one picture"),
        (3.5, TypeError, "got float"),
        (None, TypeError, "got NoneType"),
        (b"\x89PNG", TypeError, "got bytes; pass the path"),
        (iter(COLOURS), TypeError, "some of the items of an iterable"),
        ({"image": COLOURS[0]}, TypeError, "got a mapping"),
    ],
)
def test_what_is_no_picture_says_what_to_pass(pictures, error, said):
    with pytest.raises(error, match=said):
        PictureSet(pictures)


@pytest.mark.parametrize("number", [5, -1])
def test_a_number_that_is_not_there_is_refused_with_those_that_are(number):
    pictures = PictureSet(COLOURS)
    for asked in (pictures.picture, pictures.__getitem__):
        with pytest.raises(IndexError, match=f"from 0 to 4, got {number}"):
            asked(number)


def test_items_without_a_picture_are_named():
    pictures = PictureSet([{"caption": "a cat", "url": "..."}])
    with pytest.raises(TypeError, match=r"got \['caption', 'url'\]; pass the pictures"):
        pictures.picture(0)
