"""Checks that every node of a cluster can run the search's trials, made before the first trial starts."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import ray
from pyarrow.fs import FileSystem
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.core.errors import UserError, first_line
from trainables.worker.node_requirements import DRIVER, NodeRequirements, missing_requirements, versions

_TIMEOUT_S = 300.0  # a node may still be starting, and first unpacks this code


@contextmanager
def node_requirements(storage: str, places: Sequence[str]) -> Iterator[NodeRequirements]:
    """Check every node for the driver's package versions, data, weights and storage.

    Args:
        storage: Path or URI of the folder that holds all searches.
        places: Folders and URIs of images and weights that every node must be able to read.

    Yields:
        The requirements, for the nodes that join later. Trials that use them must end within the block.

    Raises:
        UserError: Some node does not qualify; the message names each one, what it lacks, and the remedy.
    """
    with _marked_folder(storage) as folder:
        requirements = NodeRequirements(versions(), tuple(places), folder)
        missing = _missing(requirements)
        if missing:
            raise UserError(f"every node must be able to run trials, but {'; '.join(missing)}")
        yield requirements


def unshared_folders(places: Sequence[str]) -> list[str]:
    """Return the local folders among these that no other node can be checked for yet, as there is only one node."""
    return [place for place in places if "://" not in place] if len(_nodes()) < 2 else []


def _missing(requirements: NodeRequirements) -> list[str]:
    nodes = _nodes()
    if len(nodes) < 2:  # only the driver's own
        return []
    check = ray.remote(num_cpus=0, max_retries=0)(missing_requirements)
    answers = {
        node: check.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(requirements)
        for node in nodes
    }
    return [line for node, answer in answers.items() for line in _answer(nodes[node], answer)]


def _nodes() -> dict[str, str]:
    """Return the host names of live nodes by node ID."""
    return {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}


def _answer(node: str, answer: "ray.ObjectRef[tuple[str, ...]]") -> tuple[str, ...]:
    try:
        missing: tuple[str, ...] = ray.get(answer, timeout=_TIMEOUT_S)
    except GetTimeoutError:
        return (f"{node} did not answer within {_TIMEOUT_S:.0f} s: see `ray status`, or remove it from the cluster",)
    except RayError as error:
        return (f"{node} cannot run this code ({first_line(error)}): install constraints.txt there",)
    return missing


@contextmanager
def _marked_folder(storage: str) -> Iterator[str]:
    """Create a temporary folder below ``storage`` with a file by which nodes recognise the driver's storage."""
    folder = f"{storage.rstrip('/')}/.nodes-{uuid.uuid4().hex}"
    try:
        files, path = FileSystem.from_uri(folder)
        files.create_dir(path, recursive=True)
        files.open_output_stream(f"{path}/{DRIVER}").close()
    except (OSError, ValueError) as error:
        raise UserError(f"--storage must be writable, but {storage} is not: {first_line(error)}") from error
    try:
        yield folder
    finally:
        with suppress(OSError):  # a leftover folder does no harm
            files.delete_dir(path)
