"""Pictures out of files that a person drops on a view: any file, and what to say of a wrong one.

`read_picture` reads the bytes of one file; `PictureUpload` puts a file together that the browser
sends in parts. Neither trusts what came: names, sizes and bytes are a stranger's.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

#: What a picture may have at most; at 3 bytes a pixel it is 300 MB once decoded.
MAX_PIXELS = 100_000_000
#: What a file may have at most, and a part of it.
MAX_BYTES, MAX_PART_BYTES = 64_000_000, 4_194_304
#: Key in a picture's ``info`` under which `read_picture` says what is not as in the file.
NOTE = "nbviz note"

# Pillow also reads what it hands to another program (EPS), and what any bytes pass for (TGA).
_FORMATS = (
    "PNG", "JPEG", "MPO", "GIF", "WEBP", "AVIF", "HEIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM",
    "QOI", "PCX", "PSD", "ICO", "ICNS", "SGI", "DDS", "XBM", "XPM",
)  # fmt: skip

_PNG_ADVICE = "save or export it as PNG or JPEG"
# How a file starts (from byte `offset`), what it then is, and what to do with it.
_STARTS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"%PDF", "a PDF document", "export the page as PNG"),
    (0, b"%!PS", "a PostScript document", "export the page as PNG"),
    (0, b"PK\x03\x04", "a zip archive or office document", "take the picture out of it"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (0, b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (0, b"Rar!", "a RAR archive", "unpack it first"),
    (257, b"ustar", "a tar archive", "unpack it first"),
    (0, b"\x93NUMPY", "a NumPy array", "load it in Python and pass the array"),
    (0, b"\x89HDF", "an HDF5 file", "load it in Python and pass the array"),
    (0, b"version https://git-lfs", "a pointer of Git LFS", "fetch the picture with git lfs pull"),
    (0, b"\xff\x0a", "a JPEG XL picture", _PNG_ADVICE),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture", _PNG_ADVICE),
    (0, b"\x1aE\xdf\xa3", "a video (WebM or Matroska)", "save one frame of it as PNG"),
    (8, b"WAVE", "a sound", "choose a picture"),
    (8, b"AVI ", "a video (AVI)", "save one frame of it as PNG"),
    (0, b"ID3", "a sound", "choose a picture"),
    (0, b"OggS", "a sound or video (Ogg)", "choose a picture"),
    (0, b"\x7fELF", "a program", "choose a picture"),
    (0, b"MZ", "a program", "choose a picture"),
)
_PICTURE_STARTS = (
    (0, b"\x89PNG", "PNG"), (0, b"\xff\xd8", "JPEG"), (0, b"GIF8", "GIF"), (8, b"WEBP", "WebP"),
    (0, b"BM", "BMP"), (0, b"II*\x00", "TIFF"), (0, b"MM\x00*", "TIFF"), (0, b"qoif", "QOI"),
    (0, b"8BPS", "Photoshop"), (4, b"jP  ", "JPEG 2000"),
)  # fmt: skip
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


class PictureFileError(ValueError):
    """A file that is no picture for nbviz; the message says what came and what to do."""


def read_picture(data: bytes | bytearray, name: str, *, side: int = 1024) -> Image.Image:
    """The picture in a file, turned as the camera was held, no longer tied to the file.

    Parameters
    ----------
    data : bytes
        The whole file, of any kind.
    name : str
        Its name, for messages only; nothing in it is trusted.
    side : int, default 1024
        Pixels of the shorter side that are enough. A picture with at least twice as many is read
        at a whole fraction of its size, averaged (JPEG by its decoder, in halves): a network looks
        at some hundred, and a photograph of 30 megapixels would slow down all that follows.

    Returns
    -------
    PIL image
        In the mode of the file (grey, palette, CMYK, 16 bits, transparency, ...), as
        `Network.prepare` takes them. ``picture.info[NOTE]`` says what is not as in the file, and
        is empty otherwise. Of an animation the first frame.

    Raises
    ------
    PictureFileError
        If it is no picture (what it is instead is said), cut short, damaged, of more than
        `MAX_PIXELS`, or of values whose range is not known (floating point).

    Examples
    --------
    >>> stream = io.BytesIO()
    >>> Image.new("L", (40, 30)).save(stream, "PNG")
    >>> read_picture(stream.getvalue(), "grey.png").size
    (40, 30)
    """
    shown = shown_name(name)
    notes: list[str] = []
    picture = _opened(bytes(data), shown)
    kind = picture.format or "picture"
    whole = picture.size
    if getattr(picture, "is_animated", False) and kind != "MPO":
        notes.append("the first of several frames")
    shrink = min(whole) // side
    try:
        if shrink > 1:
            picture.draft(None, (whole[0] // shrink, whole[1] // shrink))
        picture.load()
    except MemoryError:
        raise
    except Exception as error:
        raise PictureFileError(_damaged(shown, kind, len(data), error)) from error
    if picture.mode == "F" or (picture.mode == "I" and _beyond_16_bits(picture)):
        raise PictureFileError(
            f"expected a picture of 8 or 16 bits a channel, but {shown} holds "
            f"{'floating-point' if picture.mode == 'F' else '32-bit'} values of unknown range; "
            f"scale them to 0..255 and pass a uint8 array from Python"
        )
    picture = _reduced(picture, min(picture.size) // side)
    if picture.size != whole:
        notes.append(f"read at {picture.size[0]}×{picture.size[1]} of {whole[0]}×{whole[1]} pixels")
    try:
        turned = ImageOps.exif_transpose(picture)
    except Exception:  # noqa: BLE001 - what a camera or an editor wrote there may break in any way
        turned = picture.copy()
        notes.append("not turned: its EXIF data cannot be read")
    turned.info[NOTE] = "; ".join(notes)
    return turned


def shown_name(name: str) -> str:
    """A file's name as it may stand in a message: in quotes, one line, of moderate length."""
    printable = "".join(c if c.isprintable() else "�" for c in str(name)[:1000]).strip()
    if len(printable) > 60:
        printable = f"{printable[:40]}…{printable[-16:]}"
    return f"“{printable}”" if printable else "the file"


def _opened(data: bytes, shown: str) -> Image.Image:
    if not data:
        raise PictureFileError(f"expected a picture, but {shown} is empty (0 bytes)")
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    try:
        # Pillow warns of what is refused below with a better reason.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise PictureFileError(
            f"expected a picture of at most {MAX_PIXELS // 10**6} megapixels, but {shown} has more "
            f"than that; save a smaller copy"
        ) from error
    except UnidentifiedImageError as error:
        raise PictureFileError(_what_it_is(data, shown)) from error
    except MemoryError:
        raise
    except Exception as error:
        raise PictureFileError(_damaged(shown, "picture", len(data), error)) from error
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PictureFileError(
            f"expected a picture of at most {MAX_PIXELS // 10**6} megapixels, but {shown} has "
            f"{width}×{height} pixels, {width * height / 1e6:.0f} megapixels; save a smaller copy"
        )
    return picture


def _damaged(shown: str, kind: str, count: int, error: Exception) -> str:
    text = str(error) or type(error).__name__
    short = "truncated" in text or isinstance(error, EOFError)
    what = "it is cut short" if short else "its data is damaged"
    return (
        f"expected a whole picture, but of the {kind} {shown} came {count:,} bytes and {what}; "
        f"copy or download it again (Pillow: {text:.120})"
    )


def _what_it_is(data: bytes, shown: str) -> str:
    """What to say of bytes that Pillow does not know."""
    for offset, start, kind in _PICTURE_STARTS:
        if data.startswith(start, offset):
            return (
                f"expected a whole picture, but {shown} starts as a {kind} file and cannot be "
                f"read ({len(data):,} bytes came): it is cut short or damaged; copy or download it "
                f"again"
            )
    what, advice = _looks_like(data)
    return f"expected a picture, but {shown} looks like {what}; {advice}"


def _looks_like(data: bytes) -> tuple[str, str]:
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in _HEIF_BRANDS:
            return (
                "a HEIC picture, as phones take them",
                "save it as JPEG, or run pillow_heif.register_heif_opener() in the notebook",
            )
        if brand in {b"avif", b"avis"}:
            return "an AVIF picture, which this Pillow was built without", _PNG_ADVICE
        return "a video (MP4 or QuickTime)", "save one frame of it as PNG"
    for offset, start, what, advice in _STARTS:
        if data.startswith(start, offset):
            return what, advice
    text = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "an SVG drawing, made of shapes and not of pixels", "export it as PNG"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, not the picture on it", "save the picture itself"
    if _is_text(data[:4096]):
        return "text", "choose a picture file, such as PNG or JPEG"
    return f"nothing known (its first bytes are {data[:4].hex(' ')})", _PNG_ADVICE


def _is_text(start: bytes) -> bool:
    # A character may be cut at the end of what is looked at.
    text = start.decode("utf-8", errors="ignore")
    odd = sum(not (c.isprintable() or c in "\t\r\n\f") for c in text)
    return len(text.encode()) >= len(start) - 3 and odd == 0


def _beyond_16_bits(picture: Image.Image) -> bool:
    low, high = picture.getextrema()
    return not 0 <= low <= high <= 65535  # type: ignore[operator]


def _reduced(picture: Image.Image, factor: int) -> Image.Image:
    """The picture with blocks of `factor` by `factor` pixels averaged."""
    if factor < 2:
        return picture
    if picture.mode == "P":  # numbers of colours have no average
        clear = "transparency" in picture.info
        converted = picture.convert("RGBA" if clear else "RGB")
        converted.info.pop("transparency", None)
        picture = converted
    elif picture.mode == "PA":
        picture = picture.convert("RGBA")
    elif picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode.startswith("I;16"):
        picture = picture.convert("I")
    elif "transparency" in picture.info:  # one colour of them is clear; after averaging, no colour
        picture = picture.convert("LA" if picture.mode == "L" else "RGBA")
    reduced = picture.reduce(factor)
    reduced.info = dict(picture.info)
    return reduced


class PictureUpload:
    """One file at a time, put together from the parts that the browser sends.

    A first part begins anew and drops what came of an earlier file. At most `max_bytes` are held,
    and none once the file is whole or something is wrong with it.

    Parameters
    ----------
    max_bytes : int
        Largest file that is taken.
    side : int
        As in `read_picture`.

    Examples
    --------
    >>> stream = io.BytesIO()
    >>> Image.new("L", (40, 30)).save(stream, "PNG")
    >>> data, upload = stream.getvalue(), PictureUpload()
    >>> upload.add("grey.png", 0, 2, len(data), data[:50]) is None
    True
    >>> upload.add("grey.png", 1, 2, len(data), data[50:]).size
    (40, 30)
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES, side: int = 1024) -> None:
        self.max_bytes, self.side = max_bytes, side
        self._begin(())

    def add(
        self, name: str, part: int, parts: int, size: int, data: Any, *, upload: str = ""
    ) -> Image.Image | None:
        """The picture once its last part is there, None before.

        Parameters
        ----------
        name : str
            The file's name.
        part, parts : int
            Which part this is, from 0, and how many there are.
        size : int
            Bytes of the whole file.
        data : bytes or uint8 array
            This part, at most `MAX_PART_BYTES`.
        upload : str
            Tells two uploads of one name apart.

        Raises
        ------
        PictureFileError
            If the file is too large, a part is missing or was sent twice, another file came in
            between, the bytes are not as many as announced, or as `read_picture` raises.
        """
        chunk = memoryview(data).cast("B") if len(data) else memoryview(b"")
        key = (upload, name, parts, size)
        if part == 0:
            self._begin(key)
        try:
            self._check(shown_name(name), key, part, len(chunk))
        except PictureFileError:
            if key == self._key:
                self._begin(())
            raise
        self._data += chunk
        self._next += 1
        if self._next < parts:
            return None
        whole = self._data
        self._begin(())
        return read_picture(whole, name, side=self.side)

    def _begin(self, key: tuple[Any, ...]) -> None:
        self._key, self._next, self._data = key, 0, bytearray()

    def _check(self, shown: str, key: tuple[Any, ...], part: int, count: int) -> None:
        _, _, parts, size = key
        if not all(type(number) is int for number in (part, parts, size)):
            raise PictureFileError(
                f"expected part, parts and size of {shown} as whole numbers, got {part!r}, "
                f"{parts!r} and {size!r}"
            )
        if not (0 <= part < parts and size >= 0):
            raise PictureFileError(
                f"expected a part of {shown} from 0 to {parts - 1}, got part {part} and a size of "
                f"{size} bytes"
            )
        if size > self.max_bytes:
            raise PictureFileError(
                f"expected a file of at most {self.max_bytes / 1e6:.0f} MB, but {shown} has "
                f"{size / 1e6:.0f} MB; save a smaller copy"
            )
        if count > MAX_PART_BYTES:
            raise PictureFileError(
                f"expected parts of at most {MAX_PART_BYTES:,} bytes, got {count:,} of {shown}"
            )
        if part > 0 and key != self._key:
            raise PictureFileError(
                f"part {part + 1} of {shown} came without those before it, or another file came "
                f"meanwhile; send it again"
            )
        if part != self._next:
            raise PictureFileError(
                f"expected part {self._next + 1} of {shown}, got part {part + 1}; send it again"
            )
        came = len(self._data) + count
        if came > size or (part == parts - 1 and came < size):
            raise PictureFileError(
                f"expected {size:,} bytes of {shown}, got {came:,}; send it again"
            )
