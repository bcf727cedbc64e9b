"""Whether every node of a cluster can run this search's trials, found out before the first of them."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ray
from pyarrow.fs import FileSystem
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.core.errors import UserError, first_line
from trainables.node import DRIVER, lacks, versions

_PATIENCE_S = 300.0  # a node unpacks this code first, and may be starting


def check_nodes(storage: str, folders: Sequence[str]) -> None:
    """Asks every node for the driver's versions, folders and storage. A lone node is the driver's own.

    Args:
        storage: Path or URI of where searches are kept.
        folders: Local folders that every node must see, of images and weights.

    Raises:
        UserError: The message names each node that lacks something, what it lacks, and the remedy.
    """
    nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if len(nodes) < 2:
        return
    with _marked(storage) as folder:
        question = ray.remote(num_cpus=0, max_retries=0)(lacks)
        asked = {
            node: question.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                versions(), folders, folder
            )
            for node in nodes
        }
        lacking = [f"{nodes[node]} {what}" for node, answer in asked.items() for what in _answer(answer)]
    if lacking:
        raise UserError(f"every node must be able to run trials, but {'; '.join(lacking)}")


def _answer(answer: "ray.ObjectRef[list[str]]") -> list[str]:
    try:
        found: list[str] = ray.get(answer, timeout=_PATIENCE_S)
    except GetTimeoutError:
        return [f"did not answer within {_PATIENCE_S:.0f} s: see `ray status`, or take it out of the cluster"]
    except RayError as error:
        return [f"cannot run this code ({first_line(error)}): install constraints.txt there"]
    return found


@contextmanager
def _marked(storage: str) -> Iterator[str]:
    """A new folder below ``storage`` that holds a file of the driver's; removed in the end."""
    folder = f"{storage.rstrip('/')}/.nodes-{uuid.uuid4().hex}"
    try:
        files, path = FileSystem.from_uri(folder)
        files.create_dir(path, recursive=True)
        files.open_output_stream(f"{path}/{DRIVER}").close()
    except OSError as error:
        raise UserError(f"--storage must be writable, but {storage} is not: {first_line(error)}") from error
    try:
        yield folder
    finally:
        files.delete_dir(path)
