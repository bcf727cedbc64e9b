"""Damage of image files that Pillow does not report, as after a copy that was interrupted."""

import zlib

import numpy as np
from PIL.ImageFile import ImageFile

_PNG_HEADER = 8  # bytes before the first chunk
_PADDING = 16  # zero bytes at the end that no encoder writes by chance


def check_undamaged(data: bytes, image: ImageFile) -> None:
    """Raise ValueError for damage, or for images after the first one in a PNM file.

    A PNG's checksums are compared. Zeros must not take the place of the end of a JPEG. The samples of a PNM file must
    not exceed its maximum, to which Pillow would cut them.

    Args:
        data: Bytes of the file.
        image: The image as Pillow opened it, before it is loaded.
    """
    kind = image.format
    if kind == "PNG" and not _has_right_checksums(memoryview(data)):
        raise ValueError("a checksum in the file is wrong, so it is damaged: copy it again")
    if kind in ("JPEG", "MPO") and data.endswith(bytes(_PADDING)) and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise ValueError("its end is missing, and zeros take its place: copy it again")
    if kind == "PPM":
        _check_pnm(data, image)


def _check_pnm(data: bytes, image: ImageFile) -> None:
    """Raise ValueError if a binary PNM file has further data, or samples above its maximum."""
    if data[1:2] not in b"456":
        return
    start, arguments = image.tile[0][2:]
    if image.mode == "1":
        maximum, size = 1, -(-image.width // 8) * image.height
    else:
        maximum = arguments[-1] if isinstance(arguments, tuple) else 2**16 - 1 if image.mode == "I" else 2**8 - 1
        size = len(image.getbands()) * image.width * image.height * (2 if maximum > 255 else 1)
    if data[start + size :].strip():
        raise ValueError("it has data after its image, perhaps further images: store each one as a file of its own")
    if image.mode == "1" or len(data) < start + size:  # Pillow refuses a truncated file
        return
    samples = np.frombuffer(data[start : start + size], ">u2" if maximum > 255 else "u1")
    if samples.max(initial=0) > maximum:
        raise ValueError(f"its samples must not exceed {maximum}, the maximum in its header, but reach {samples.max()}")


def _has_right_checksums(data: memoryview) -> bool:
    """Return False if the checksum of a complete chunk of pixels is wrong."""
    start = _PNG_HEADER
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")  # of the content, which a checksum follows
        kind, checksum = bytes(data[start + 4 : start + 8]), bytes(data[end : end + 4])
        if kind == b"IDAT" and len(checksum) == 4 and zlib.crc32(data[start + 4 : end]).to_bytes(4, "big") != checksum:
            return False
        start = end + 4
    return True
