"""What a node must have in common with the driver: versions, and what it sees."""

import socket
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pyarrow.fs import FileSystem, FileType

PACKAGES = (
    "ray",
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "transformers",
    "albumentations",
)
DRIVER = "driver"  # the file that a driver puts into a folder for the nodes to find


@dataclass(frozen=True)
class Demands:
    """What a driver demands of the nodes that run its trials.

    Attributes:
        versions: Its ``versions()``.
        places: Folders and URIs of images and weights.
        storage: Path or URI of a folder in which it has put ``DRIVER``.
    """

    versions: tuple[tuple[str, str], ...]
    places: tuple[str, ...]
    storage: str


def versions() -> tuple[tuple[str, str], ...]:
    """The packages here on which results depend, each with its version; ``none`` where one is missing."""
    return tuple((package, _version(package)) for package in PACKAGES)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def lacks(demands: Demands) -> tuple[str, ...]:
    """What keeps this node from running trials, in words."""
    here = dict(versions())
    differs = [
        f"has {package} {here[package]}, the driver {there}: install constraints.txt there"
        for package, there in demands.versions
        if here[package] != there
    ]
    unseen = [
        f"does not see {place}: give --data and --weights as folders that all nodes share, or as s3:// or gs://"
        for place in demands.places
        if not _sees(place)
    ]
    told = (*differs, *unseen, *_storage_lacks(demands.storage))
    return tuple(f"{socket.gethostname()} {what}" for what in told)


def _sees(place: str) -> bool:
    if "://" not in place:
        return Path(place).exists()
    try:
        files, path = FileSystem.from_uri(place)
        return bool(files.get_file_info(path).type != FileType.NotFound)
    except (OSError, ValueError):  # no way there from this node, or no right to look
        return False


def _storage_lacks(storage: str) -> list[str]:
    remedy = "give --storage as a folder that all nodes share, or as s3:// or gs://"
    try:
        files, path = FileSystem.from_uri(storage)
        if files.get_file_info(f"{path}/{DRIVER}").type != FileType.File:
            return [f"does not see what the driver writes to --storage: {remedy}"]
        files.open_output_stream(f"{path}/{socket.gethostname()}").close()
    except (OSError, ValueError) as error:
        return [f"cannot write to --storage ({error}): {remedy}"]
    return []
