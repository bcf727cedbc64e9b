"""What a node must have in common with the driver: versions, and what it sees."""

import socket
from collections.abc import Mapping, Sequence
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


class NodeError(Exception):
    """A node cannot do what the driver will ask of it."""


def versions() -> dict[str, str]:
    """Of the packages here on which results depend; ``none`` where one is missing."""
    return {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def differences(expected: Mapping[str, str]) -> list[str]:
    """What of the driver's versions this node lacks, in words."""
    here = versions()
    return [
        f"has {package} {here[package]}, the driver {there}: install constraints.txt there"
        for package, there in expected.items()
        if here[package] != there
    ]


def check_versions(expected: Mapping[str, str]) -> None:
    """Refuses to train on a node that differs from the driver.

    Raises:
        NodeError: The message names the node, what differs, and the remedy.
    """
    different = differences(expected)
    if different:
        raise NodeError(f"{socket.gethostname()} {'; '.join(different)}")


def lacks(expected: Mapping[str, str], folders: Sequence[str], storage: str) -> list[str]:
    """What keeps this node from running trials, in words.

    Args:
        expected: The driver's ``versions()``.
        folders: Local folders that the driver sees, of images and weights.
        storage: Path or URI of a folder in which the driver has put ``DRIVER``.
    """
    unseen = [
        f"does not see {folder}: give --data and --weights as folders that all nodes share"
        for folder in folders
        if not Path(folder).exists()
    ]
    return [*differences(expected), *unseen, *_storage_lacks(storage)]


def _storage_lacks(storage: str) -> list[str]:
    remedy = "give --storage as a folder that all nodes share, or as s3:// or gs://"
    try:
        files, path = FileSystem.from_uri(storage)
        if files.get_file_info(f"{path}/{DRIVER}").type != FileType.File:
            return [f"does not see what the driver writes to --storage: {remedy}"]
        files.open_output_stream(f"{path}/{socket.gethostname()}").close()
    except OSError as error:
        return [f"cannot write to --storage ({error}): {remedy}"]
    return []
