"""Whatever file a person drops: a picture comes out of it, or a sentence that helps."""

from __future__ import annotations

import io
import re
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from nbviz import model_input, picture_files
from nbviz.picture_files import (
    MAX_PART_BYTES,
    NOTE,
    PictureFileError,
    PictureUpload,
    read_picture,
)

RNG = np.random.default_rng(0)
# Smooth, so that lossy formats keep it nearly as it is.
COLOURS = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize((50, 40))
)
ORIENTATION = 0x0112


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def seen(picture: Image.Image, channels: int = 3) -> np.ndarray:
    """The picture as a network's transform gets it, int (H, W[, 3])."""
    return np.asarray(model_input.picture_with_channels(picture, channels)).astype(int)


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG2000", {"irreversible": False}, 0),
        ("PPM", {}, 0),
        ("JPEG", {"quality": 95}, 12),
    ],
    ids=str,
)
def test_a_picture_of_every_usual_format_is_read(kind, options, tolerance):
    picture = read_picture(encoded(Image.fromarray(COLOURS), kind, **options), f"a.{kind}")
    assert np.abs(seen(picture) - COLOURS).max() <= tolerance
    assert picture.info[NOTE] == ""
    assert not hasattr(picture, "fp"), "the picture still holds its file"


GREY = COLOURS[..., 0]


def sixteen_bits() -> bytes:
    return encoded(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG")


def clear_palette() -> bytes:
    picture = Image.fromarray(COLOURS).quantize(16)
    return encoded(picture, "PNG", transparency=picture.getpixel((0, 0)))


@pytest.mark.parametrize(
    ("data", "mode", "expected"),
    [
        (encoded(Image.fromarray(GREY), "PNG"), "L", GREY),
        (sixteen_bits(), "I;16", GREY),
        (encoded(Image.fromarray(GREY.astype(np.int32) * 257), "TIFF"), "I", GREY),
        (encoded(Image.fromarray(GREY > 128), "PNG"), "1", (GREY > 128) * 255),
    ],
    ids=["8 bits", "16 bits", "32 bits of which 16 are used", "1 bit"],
)
def test_a_grey_picture_of_any_depth_is_grey_for_the_network(data, mode, expected):
    picture = read_picture(data, "grey")
    assert picture.mode in {mode, "I"}  # Pillow before 11 reads 16 bits as 32
    np.testing.assert_array_equal(seen(picture, 1), expected)
    np.testing.assert_array_equal(seen(picture, 3), np.stack([expected] * 3, 2))


def test_transparency_is_laid_over_white():
    alpha = np.zeros((40, 50), np.uint8)
    alpha[:20] = 255
    for mode in ("RGBA", "LA"):
        picture = Image.fromarray(COLOURS).convert(mode[:-1])
        picture.putalpha(Image.fromarray(alpha))
        read = read_picture(encoded(picture, "PNG"), "clear.png")
        assert read.mode == mode
        assert (seen(read)[20:] == 255).all()
        np.testing.assert_array_equal(seen(read)[:20], seen(picture.convert(mode[:-1]))[:20])
    read = read_picture(clear_palette(), "clear.gif")
    assert read.mode == "P"
    assert tuple(seen(read)[0, 0]) == (255, 255, 255)
    assert seen(read, 1)[0, 0] == 255
    one = encoded(Image.fromarray(GREY), "PNG", transparency=int(GREY[0, 0]))
    assert seen(read_picture(one, "one grey is clear.png"))[0, 0, 0] == 255


def test_colours_for_print_are_shown_as_on_paper():
    # Full ink of one of cyan, magenta and yellow takes away red, green or blue.
    for ink in range(3):
        pixels = np.zeros((32, 32, 4), np.uint8)
        pixels[..., ink] = 255
        data = encoded(Image.fromarray(pixels, "CMYK"), "JPEG", quality=100)
        picture = read_picture(data, "print.jpg")
        assert picture.mode == "CMYK"
        shown = seen(picture)[16, 16]
        assert shown[ink] < 30
        assert all(shown[other] > 220 for other in range(3) if other != ink)


def test_lab_is_brought_to_grey_and_colour():
    picture = read_picture(encoded(Image.new("LAB", (8, 8), (255, 128, 128)), "TIFF"), "lab.tif")
    for channels in (1, 3):
        assert seen(picture, channels).min() >= 250


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_photograph_stands_upright(kind):
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = 255
    # What the camera wrote, held to the left: 6 says that it is to be turned right for showing.
    lying = Image.fromarray(np.rot90(upright))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture = read_picture(encoded(lying, kind, exif=exif), "held.jpg")
    assert picture.size == (60, 40)
    assert np.abs(seen(picture) - upright).max() <= 30
    assert picture.getexif().get(ORIENTATION, 1) == 1


def test_broken_exif_is_no_reason_to_refuse(monkeypatch):
    def broken(_):
        raise SyntaxError("bad EXIF")

    monkeypatch.setattr(picture_files.ImageOps, "exif_transpose", broken)
    picture = read_picture(encoded(Image.fromarray(COLOURS), "PNG"), "a.png")
    np.testing.assert_array_equal(seen(picture), COLOURS)
    assert "not turned" in picture.info[NOTE]


def test_of_an_animation_the_first_frame_is_shown_and_said():
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue", "green")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        picture = read_picture(data, f"moving.{kind}")
        assert picture.info[NOTE] == "the first of several frames"
        red, green, blue = seen(picture)[10, 15]
        assert red > 240
        assert max(green, blue) < 15


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "1", "RGBA", "LA", "I;16"])
def test_a_large_picture_is_brought_down_and_shows_the_same(mode):
    # Against Pillow's own reduction of what the network would have got of the whole file.
    ramp = Image.fromarray(COLOURS).resize((1300, 910), Image.Resampling.BICUBIC)
    if mode == "I;16":
        whole = Image.fromarray(np.asarray(ramp.convert("L")).astype(np.uint16) * 257)
    else:
        whole = ramp.convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    picture = read_picture(encoded(whole, kind), "large", side=300)
    assert picture.size == (434, 304)
    assert picture.info[NOTE] == "read at 434×304 of 1300×910 pixels"
    expected = model_input.picture_with_channels(whole, 3).reduce(3)
    assert np.abs(seen(picture) - np.asarray(expected)).max() <= 2


def test_a_large_photograph_is_scaled_by_its_decoder_and_shows_the_same():
    photo = Image.fromarray(COLOURS).resize((2600, 1820), Image.Resampling.BICUBIC)
    data = encoded(photo, "JPEG", quality=95)
    picture = read_picture(data, "photo.jpg", side=400)
    assert picture.size == (650, 455)
    assert picture.info[NOTE] == "read at 650×455 of 2600×1820 pixels"
    whole = Image.open(io.BytesIO(data)).resize((224, 224), Image.Resampling.BICUBIC)
    small = picture.resize((224, 224), Image.Resampling.BICUBIC)
    assert np.abs(seen(small) - np.asarray(whole)).mean() < 0.5


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"%PDF-1.7\n...", "PDF document; export the page"),
        (b"PK\x03\x04\x14\x00", "zip archive or office document; take the picture out"),
        (b"\x1f\x8b\x08\x00", "gzip archive; unpack"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG drawing"),
        (b"\xef\xbb\xbf  <svg/>", "SVG drawing"),
        (b"<!DOCTYPE html><p>404", "a web page, not the picture on it"),
        (b"Dear all,\ngr\xc3\xbc\xc3\x9fe", "looks like text"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(20), "a video"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(20), "HEIC picture.*save it as JPEG"),
        (b"\x93NUMPY\x01\x00", "NumPy array; load it in Python"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"\x80\x02}q\x01\x00\x00", r"nothing known \(its first bytes are 80 02 7d 71\)"),
        (b"\xff\xd8\xff\xe0", "starts as a JPEG file and cannot be read"),
        (b"\x89PNG\r\n\x1a\n", "starts as a PNG file and cannot be read"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else "",
)
def test_what_is_no_picture_is_named(data, what):
    if "HEIC" in what and "HEIF" in Image.OPEN:
        pytest.skip("a plugin reads HEIC here")
    with pytest.raises(PictureFileError, match=f"(?s)“file.png”.*{what}"):
        read_picture(data, "file.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "PPM"])
def test_a_file_that_is_cut_short_says_so_at_whatever_byte(kind):
    data = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    for count in range(1, len(data) - 64, max(1, len(data) // 25)):
        with pytest.raises(PictureFileError, match="“part”") as caught:
            read_picture(data[:count], "part")
        assert len(str(caught.value)) < 400
        assert count < 200 or re.search(r"[\d,]+ bytes.*(cut short|damaged)", str(caught.value))


def test_bytes_that_were_changed_never_raise_anything_else():
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"):
        data = np.frombuffer(encoded(Image.fromarray(COLOURS), kind), np.uint8)
        for _ in range(60):
            changed = data.copy()
            at = RNG.integers(0, min(len(data), 400), 6)
            changed[at] = RNG.integers(0, 256, 6)
            with suppress(PictureFileError):
                read_picture(changed.tobytes(), kind)


def test_too_many_pixels_are_refused_before_they_are_decoded():
    # A megabyte of compressed nothing: 20 001 by 20 000 pixels, and more than Pillow itself opens.
    for side in (10_500, 20_000):
        data = encoded(Image.new("1", (side + 1, side)), "PNG")
        with pytest.raises(PictureFileError, match="at most 100 megapixels"):
            read_picture(data, "bomb.png")


@pytest.mark.filterwarnings("error")
def test_a_picture_below_the_limit_is_read_without_a_warning():
    picture = read_picture(encoded(Image.new("1", (10_000, 9_999)), "PNG"), "large.png")
    assert picture.size == (1112, 1111)


def test_values_of_unknown_range_are_refused():
    for pixels in (np.ones((4, 4), np.float32), np.full((4, 4), 70_000, np.int32)):
        with pytest.raises(PictureFileError, match="scale them to"):
            read_picture(encoded(Image.fromarray(pixels), "TIFF"), "range.tif")


def test_a_name_is_shown_in_one_short_line():
    name = "a\n<b>\u202egnp" + "x" * 200 + ".png"
    with pytest.raises(PictureFileError) as caught:
        read_picture(b"text", name)
    message = str(caught.value)
    assert "\n" not in message
    assert "\u202e" not in message
    assert len(message) < 160
    assert "“a�<b>�gnp" in message


def parts(data: bytes, count: int = 3) -> list[bytes]:
    edges = np.linspace(0, len(data), count + 1).astype(int)
    return [data[a:b] for a, b in pairwise(edges)]


PNG = encoded(Image.fromarray(COLOURS), "PNG")


def test_an_upload_in_parts_becomes_the_picture():
    upload = PictureUpload()
    for _ in range(2):
        first, second, third = (np.frombuffer(part, np.uint8) for part in parts(PNG))
        assert upload.add("a.png", 0, 3, len(PNG), first) is None
        assert upload.add("a.png", 1, 3, len(PNG), second) is None
        picture = upload.add("a.png", 2, 3, len(PNG), third)
        assert picture is not None
        np.testing.assert_array_equal(seen(picture), COLOURS)
    assert upload._data == b""


def test_a_newer_upload_replaces_an_older_one():
    upload = PictureUpload()
    first, second, third = parts(PNG)
    upload.add("a.png", 0, 3, len(PNG), first, upload="1")
    for number, part in enumerate((first, second)):
        upload.add("a.png", number, 3, len(PNG), part, upload="2")
    with pytest.raises(PictureFileError, match="without those before it, or another file"):
        upload.add("a.png", 1, 3, len(PNG), second, upload="1")
    assert upload.add("a.png", 2, 3, len(PNG), third, upload="2") is not None


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ([(1, 3, 90, b"x")], "part 2 of .* without those before it"),
        ([(0, 3, 90, b"x"), (2, 3, 90, b"x")], "expected part 2 of .*, got part 3"),
        ([(0, 3, 90, b"x"), (1, 3, 90, b"x"), (1, 3, 90, b"x")], "expected part 3 of"),
        ([(0, 1, 90, b"x")], "expected 90 bytes of .*, got 1;"),
        ([(0, 2, 3, b"abcd")], "expected 3 bytes of .*, got 4;"),
        ([(3, 3, 90, b"x")], "from 0 to 2"),
        ([(-1, 3, 90, b"x")], "from 0 to 2"),
        ([(0, 1.0, 90, b"x")], "whole numbers"),
        ([(0, 99, 65_000_000, b"x")], "at most 64 MB, but .* has 65 MB"),
        ([(0, 9, 9_000_000, bytes(MAX_PART_BYTES + 1))], "parts of at most 4,194,304 bytes"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused_and_forgotten(sent, message):
    upload = PictureUpload()
    *before, last = sent
    for part, count, size, data in before:
        upload.add("a.png", part, count, size, data)
    with pytest.raises(PictureFileError, match=message):
        upload.add("a.png", last[0], last[1], last[2], last[3])
    assert upload._data == b""
    assert upload.add("a.png", 0, 1, len(PNG), PNG) is not None
