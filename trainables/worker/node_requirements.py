"""Requirements that a node must meet to run the driver's trials: package versions, data, weights and storage."""

import socket
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pyarrow.fs import FileSystem, FileType

# Packages that results depend on.
PACKAGES = (
    "ray",
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "transformers",
    "albumentations",
)
# Name of the file that a driver writes into a folder on the storage, so that nodes can recognise it.
DRIVER = "driver"


@dataclass(frozen=True)
class NodeRequirements:
    """Requirements of the driver for nodes that run its trials.

    Attributes:
        versions: The driver's ``versions()``.
        places: Folders and URIs of images and weights that must be readable.
        storage: Path or URI of a folder that must hold the file ``DRIVER`` and be writable.
    """

    versions: tuple[tuple[str, str], ...]
    places: tuple[str, ...]
    storage: str


def versions() -> tuple[tuple[str, str], ...]:
    """Return the installed version of each of ``PACKAGES``, ``none`` if it is missing."""
    return tuple((package, _version(package)) for package in PACKAGES)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def missing_requirements(requirements: NodeRequirements) -> tuple[str, ...]:
    """Return one line per requirement that this node does not meet, with the remedy."""
    installed = dict(versions())
    lines = [
        f"has {package} {installed[package]}, the driver {required}: install constraints.txt there"
        for package, required in requirements.versions
        if installed[package] != required
    ]
    lines += [
        f"cannot read {place}: give --data and --weights as folders that all nodes share, or as s3:// or gs://"
        for place in requirements.places
        if not _is_readable(place)
    ]
    lines += _storage_problems(requirements.storage)
    return tuple(f"{socket.gethostname()} {line}" for line in lines)


def _is_readable(place: str) -> bool:
    if "://" not in place:
        return Path(place).exists()
    try:
        files, path = FileSystem.from_uri(place)
        return bool(files.get_file_info(path).type != FileType.NotFound)
    except (OSError, ValueError):  # unreachable from this node, or not permitted
        return False


def _storage_problems(storage: str) -> list[str]:
    remedy = "give --storage as a folder that all nodes share, or as s3:// or gs://"
    try:
        files, path = FileSystem.from_uri(storage)
        if files.get_file_info(f"{path}/{DRIVER}").type != FileType.File:
            return [f"cannot read the driver's files in --storage: {remedy}"]
        files.open_output_stream(f"{path}/{socket.gethostname()}").close()
    except (OSError, ValueError) as error:
        return [f"cannot write to --storage ({error}): {remedy}"]
    return []
