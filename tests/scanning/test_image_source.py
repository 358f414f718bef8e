"""Whatever the data set, its images come with the right numbers and labels, and are known again."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from nbviz.network import Network
from nbviz.scanning.source import ImageSource

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), np.uint8)


class Mapped(Dataset):
    """Pairs by number; counts what is read."""

    def __init__(self, size: int, *, change=None, targets: bool = False) -> None:
        self.size, self.change, self.read = size, change, []
        if targets:
            self.targets = [number % 3 for number in range(size)]

    def __len__(self):
        return self.size

    def __getitem__(self, number):
        number = int(number)
        self.read.append(number)
        if number == 3:
            raise OSError("bad sector")
        picture = np.roll(COLOURS[number % 5], number // 5, axis=1).copy()
        return (self.change(picture) if self.change else picture), number % 3


class HuggingFace:
    """As `datasets.Dataset`: rows by number, columns by name, a fingerprint of its own."""

    column_names = ("image", "label")

    def __init__(self, fingerprint: str = "abc") -> None:
        self._fingerprint = fingerprint
        label = SimpleNamespace(names=["cat", "dog", "owl"])
        self.features = {"image": object(), "label": label}

    def __len__(self):
        return 5

    def __getitem__(self, key):
        if key == "label":
            return [0, 1, 2, 0, 1]
        return {"image": Image.fromarray(COLOURS[int(key)]), "label": int(key) % 3}


class Streamed(IterableDataset):
    classes = ("cat", "dog", "owl")

    def __init__(self, *, shuffled: bool = False, length: int | None = None) -> None:
        self.shuffled = shuffled
        if length is not None:
            self.__class__ = type("WithLength", (Streamed,), {"__len__": lambda self: length})

    def __iter__(self):
        order = random.sample(range(5), 5) if self.shuffled else range(5)
        return ((COLOURS[number], number % 3) for number in order)


def values(source: ImageSource) -> list[tuple[int, object]]:
    return [(n, i if isinstance(i, Exception) else i.label) for n, i in source.items()]


@pytest.mark.parametrize(
    "dataset",
    [
        COLOURS,
        list(COLOURS),
        [Image.fromarray(colours) for colours in COLOURS],
        torch.from_numpy(COLOURS).permute(0, 3, 1, 2),
        [torch.from_numpy(colours).permute(2, 0, 1) for colours in COLOURS],
        HuggingFace(),
    ],
    ids=["array", "list", "PIL", "tensor", "tensors", "Hugging Face"],
)
def test_images_by_number_are_what_the_network_takes(dataset):
    source = ImageSource(dataset)
    network = Network(nn.Conv2d(3, 2, 3), input_shape=(3, 8, 9))
    assert source.length == 5
    expected = network.prepare(COLOURS[4])
    for picture in (source.read(4).picture, [*source.items()][4][1].picture):
        torch.testing.assert_close(network.prepare(picture), expected, rtol=0, atol=0)
    assert source.fingerprint() == ImageSource(dataset).fingerprint()


def test_pictures_of_mixed_modes_and_sizes_are_read(tmp_path):
    wide = Image.fromarray(COLOURS[0]).resize((40, 8))
    made = {
        "grey.png": wide.convert("L"), "palette.png": wide.convert("P"),
        "clear.png": wide.convert("RGBA"), "print.jpg": wide.convert("CMYK"),
        "one.png": Image.new("1", (3, 70)), "deep.png": Image.new("I;16", (9, 9)),
    }  # fmt: skip
    for name, picture in made.items():
        picture.save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes((tmp_path / "grey.png").read_bytes()[:60])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.gif").touch()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    source = ImageSource(tmp_path)
    network = Network(nn.Conv2d(3, 2, 3), input_shape=(3, 8, 8))
    said = {}
    for number, item in source.items():
        name = source.name(number)
        if isinstance(item, Exception):
            said[name] = str(item)
        else:
            assert network.prepare(item.picture).shape == (1, 3, 8, 8)
    assert [*said] == ["broken.png", "empty.gif", "gone.png", "text.jpg"]
    assert all(name in text for name, text in said.items() if name != "gone.png")
    assert "is empty (0 bytes)" in said["empty.gif"]
    assert len(source.fingerprint()) == 64


def test_an_item_is_read_once_and_a_failure_does_not_end_it():
    dataset = Mapped(7)
    found = values(ImageSource(dataset))
    assert dataset.read == [*range(7)]
    assert [n for n, _ in found] == [*range(7)]
    assert isinstance(found[3][1], OSError)
    assert [label for n, label in found if n != 3] == [0, 1, 2, 1, 2, 0]
    with pytest.raises(OSError, match="bad sector"):
        ImageSource(dataset).read(3)


def test_class_names_come_from_where_they_are():
    assert ImageSource(HuggingFace()).classes == ("cat", "dog", "owl")
    assert ImageSource(HuggingFace(), classes=["a", "b", "c"]).classes == ("a", "b", "c")
    dataset = Mapped(9)
    assert ImageSource(dataset).classes is None
    dataset.classes = [("tench", "Tinca tinca"), "goldfish", "shark"]
    assert ImageSource(dataset).classes == ("tench, Tinca tinca", "goldfish", "shark")
    assert ImageSource(Subset(Subset(dataset, [1, 2, 4]), [0, 1])).classes[1] == "goldfish"
    assert ImageSource(Streamed()).classes == ("cat", "dog", "owl")
    with pytest.raises(TypeError, match="expected classes as names"):
        ImageSource(dataset, classes="cat")


def test_names_as_labels_become_numbers():
    def labels(**options):
        source = ImageSource(COLOURS, **options)
        return source.classes, [source.read(number).label for number in range(5)]

    names = ["owl", "cat", None, "elk", "cat"]
    assert labels(labels=names) == (("cat", "elk", "owl"), [2, 0, None, 1, 0])
    assert labels(labels=names, classes=["owl", "cat"]) == (("owl", "cat"), [0, 1, None, None, 1])
    outputs = ["cat", "dog", "elk", "owl"]
    assert labels(labels=names, output_names=outputs) == (None, [3, 0, None, 2, 0])
    # one that the network does not know: the names are of the data set
    assert labels(labels=names, output_names=["cat"])[0] == ("cat", "elk", "owl")
    assert labels(labels=[4, 0, None, 1, 0]) == (None, [4, 0, None, 1, 0])
    assert labels(labels=["b"] * 5, classes=["b", "c", "b"])[1] == [0] * 5
    pairs = [(colours, name) for colours, name in zip(COLOURS, names, strict=True)]
    source = ImageSource(pairs, output_names=outputs)
    assert [source.read(n).label for n in range(5)] == [3, 0, None, 2, 0]


@pytest.mark.parametrize("length", [None, 5])
def test_an_iterable_is_a_stream_whether_it_has_a_length_or_not(length):
    source = ImageSource(Streamed(length=length))
    assert source.length is None
    expected = [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1)]
    assert values(source) == expected
    source.fingerprint()
    assert values(source) == expected
    with pytest.raises(TypeError, match=r"use items\(\)"):
        source.read(0)


def test_a_generator_is_read_once_and_nothing_of_it_is_lost():
    source = ImageSource((colours, n) for n, colours in enumerate(COLOURS))
    text = source.fingerprint()
    assert text == source.fingerprint() == ImageSource(iter([*COLOURS])).fingerprint()
    assert text != ImageSource(iter([*COLOURS[1:]])).fingerprint()
    assert values(source) == [(n, n) for n in range(5)]
    with pytest.raises(ValueError, match="a generator that has been used up"):
        [*source.items()]


def test_a_generator_that_breaks_off_is_not_taken_for_finished():
    def breaking():
        yield COLOURS[0], 0
        raise OSError("connection lost")

    source = ImageSource(breaking())
    with pytest.raises(ValueError, match=r"broke off at item 1 \(OSError: connection lost\)"):
        [*source.items()]
    source, found = ImageSource(breaking()), []
    with pytest.raises(ValueError, match="broke off"):
        found.extend(number for number, _ in source.items())


class Recovering:
    """An iterator of which some items fail."""

    def __init__(self, failing) -> None:
        self.failing, self.number = failing, -1

    def __iter__(self):
        return self

    def __next__(self):
        self.number += 1
        if self.number in self.failing:
            raise OSError("bad record")
        if self.number >= 6:
            raise StopIteration
        return {"img": COLOURS[self.number % 5], "label": self.number}


def test_items_of_an_iterator_that_fail_are_told_and_it_goes_on():
    found = values(ImageSource(Recovering({1, 2, 4})))
    assert [n for n, _ in found] == [*range(6)]
    assert [isinstance(label, OSError) for _, label in found] == [n in {1, 2, 4} for n in range(6)]
    assert found[5] == (5, 5)
    with pytest.raises(ValueError, match=r"broke off at item 5 "):
        values(ImageSource(Recovering({5})))
    with pytest.raises(ValueError, match="broke off at item 100 "):
        values(ImageSource(Recovering(range(10**9))))


def test_odd_items_of_a_stream_are_told():
    odd = iter([{"caption": "a cat"}, (COLOURS[0], "cat"), "no such file.png"])
    found = values(ImageSource(odd))
    assert isinstance(found[0][1], TypeError)
    assert found[1] == (1, None)
    assert isinstance(found[2][1], FileNotFoundError)


def test_what_is_no_data_set_is_refused():
    with pytest.raises(TypeError, match=r"a DataLoader, which gives batches; pass its data set"):
        ImageSource(DataLoader(Mapped(4)))
    with pytest.raises(ValueError, match="labels of an iterable with its items"):
        ImageSource(iter([*COLOURS]), labels=[0] * 5)
    with pytest.raises(TypeError, match="got a mapping"):
        ImageSource({"train": COLOURS})
    with pytest.raises(ValueError, match="got 2 labels for 5 pictures"):
        ImageSource(COLOURS, labels=[1, 2])
    with pytest.raises(ValueError, match="at least one picture"):
        ImageSource([])


def changed_pixel():
    changed = COLOURS.copy()
    changed[3, 7, 8, 2] ^= 1
    return changed


@pytest.mark.parametrize(
    "other",
    [changed_pixel(), COLOURS[::-1], COLOURS[:4], np.concatenate([COLOURS, COLOURS[:1]]),
     COLOURS.transpose(0, 2, 1, 3), COLOURS.astype(np.int16)],
    ids=["one pixel", "order", "fewer", "more", "shape", "dtype"],
)  # fmt: skip
def test_other_pictures_have_another_fingerprint(other):
    expected = ImageSource(COLOURS).fingerprint()
    assert ImageSource(COLOURS.copy()).fingerprint() == expected
    assert ImageSource(other).fingerprint() != expected


def test_labels_have_a_fingerprint_of_their_own():
    plain, labelled = ImageSource(Mapped(90)), ImageSource(Mapped(90), labels=[0] * 90)
    assert plain.fingerprint() == labelled.fingerprint()
    texts = {plain.label_fingerprint(), labelled.label_fingerprint()}
    texts |= {ImageSource(Mapped(90), labels=[0] * 89 + [1]).label_fingerprint()}
    assert len(texts) == 3


def test_of_a_large_data_set_few_items_are_read_for_it():
    dataset = Mapped(100_000, targets=True)
    ImageSource(dataset).fingerprint()
    assert len(dataset.read) <= 64 + 4 * 3
    assert {0, 99_999} <= {*dataset.read}


def test_the_fingerprint_is_the_same_in_another_process(tmp_path):
    code = (
        "from tests.scanning.test_image_source import Mapped, ImageSource;"
        "print(ImageSource(Mapped(90)).fingerprint())"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert there.stdout.strip() == ImageSource(Mapped(90)).fingerprint()


def test_a_data_set_of_hugging_face_is_known_by_its_own_fingerprint():
    assert ImageSource(HuggingFace()).fingerprint() == ImageSource(HuggingFace()).fingerprint()
    assert ImageSource(HuggingFace("b")).fingerprint() != ImageSource(HuggingFace()).fingerprint()


def test_of_a_folder_every_file_counts(tmp_path):
    for number in range(100):
        (tmp_path / f"{number:03d}.png").write_bytes(b"%d" % number)
    expected = ImageSource(tmp_path).fingerprint()
    assert ImageSource(str(tmp_path)).fingerprint() == expected
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    assert ImageSource(moved).fingerprint() == expected
    (moved / "002.png").write_bytes(b"longer")
    changed = ImageSource(moved).fingerprint()
    (moved / "002.png").rename(moved / "002a.png")
    assert len({expected, changed, ImageSource(moved).fingerprint()}) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture[:, ::-1].copy() if random.random() < 0.5 else picture,
        lambda picture: torch.from_numpy(picture).float() + torch.randn(()),
        lambda picture: Image.fromarray(np.roll(picture, np.random.randint(8), axis=0)),  # noqa: NPY002
    ],
    ids=["mirrored half of the time", "noise", "shifted"],
)
def test_pictures_that_change_at_random_are_refused(change):
    random.seed(0)
    with pytest.raises(ValueError, match=r"image 0 is read.*random augmentation"):
        ImageSource(Mapped(3, change=change)).fingerprint()


def test_a_shuffled_stream_is_refused():
    with pytest.raises(ValueError, match="take shuffling and random augmentation out"):
        ImageSource(Streamed(shuffled=True)).fingerprint()
    ImageSource(Streamed()).fingerprint()


def test_it_goes_to_another_process_with_its_data(tmp_path):
    for name in ("cat/a.png", "dog/b.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(COLOURS[0]).save(tmp_path / name)
    for dataset in (tmp_path, Mapped(5), COLOURS, HuggingFace()):
        source = ImageSource(dataset)
        source.fingerprint()
        there = cloudpickle.loads(cloudpickle.dumps(source))
        assert there.fingerprint() == source.fingerprint()
        assert (there.length, there.classes) == (source.length, source.classes)
        assert there.read(1).label == source.read(1).label


@pytest.mark.parametrize("path", ["/does/not/exist", Path("gone") / "1.png"])
def test_a_path_where_nothing_is_is_said_at_once(path):
    with pytest.raises(FileNotFoundError, match=f"no such file or folder: '{path}'"):
        ImageSource(path)
    assert ImageSource([path]).length == 1  # of several, each is tried when it is read


@pytest.mark.parametrize("again", [False, True])
def test_the_first_images_are_not_used_up(again):
    items = [(np.full((4, 4, 3), number, np.uint8), number) for number in range(6)]
    source = ImageSource(iter(items) if again else items)
    for count in (2, 4, 3):
        first = list(source.first(count))
        assert [(number, item.label) for number, item in first] == [(n, n) for n in range(count)]
    assert [number for number, _ in source.items()] == [*range(6)]
