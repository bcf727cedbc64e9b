"""Damage of image files that Pillow does not report, as after a copy that was interrupted."""

import zlib

_PNG_HEADER = 8  # bytes before the first chunk
_PADDING = 16  # zero bytes at the end that no encoder writes by chance


def check_undamaged(data: bytes, kind: str | None) -> None:
    """Raise ValueError if a PNG's checksums are wrong, or if zeros take the place of the end of a JPEG.

    Args:
        data: Bytes of the file.
        kind: Its format as Pillow names it.
    """
    if kind == "PNG" and not _has_right_checksums(memoryview(data)):
        raise ValueError("a checksum in the file is wrong, so it is damaged: copy it again")
    if kind in ("JPEG", "MPO") and data.endswith(bytes(_PADDING)) and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise ValueError("its end is missing, and zeros take its place: copy it again")


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
