"""Whether the nodes of a cluster can run this search's trials, found out before the first of them."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import ray
from pyarrow.fs import FileSystem
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.core.errors import UserError, first_line
from trainables.worker.node_requirements import DRIVER, Demands, lacks, versions

_PATIENCE_S = 300.0  # a node unpacks this code first, and may be starting


@contextmanager
def demanded(storage: str, places: Sequence[str]) -> Iterator[Demands]:
    """Asks every node that is there for the driver's versions, places and storage.

    Args:
        storage: Path or URI of where searches are kept.
        places: Folders and URIs that every node must see, of images and weights.

    Yields:
        What trials ask of nodes that come later; they must end before the block does.

    Raises:
        UserError: The message names each node that lacks something, what it lacks, and the remedy.
    """
    with _marked(storage) as folder:
        demands = Demands(versions(), tuple(places), folder)
        lacking = _lacking(demands)
        if lacking:
            raise UserError(f"every node must be able to run trials, but {'; '.join(lacking)}")
        yield demands


def to_be_shared(places: Sequence[str]) -> list[str]:
    """The folders among these that no other node can be asked for yet: there is the driver's alone."""
    return [place for place in places if "://" not in place] if len(_nodes()) < 2 else []


def _lacking(demands: Demands) -> list[str]:
    nodes = _nodes()
    if len(nodes) < 2:  # the driver's own
        return []
    question = ray.remote(num_cpus=0, max_retries=0)(lacks)
    asked = {
        node: question.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(demands)
        for node in nodes
    }
    return [what for node, answer in asked.items() for what in _answer(nodes[node], answer)]


def _nodes() -> dict[str, str]:
    """Host names by the nodes' ids."""
    return {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}


def _answer(node: str, answer: "ray.ObjectRef[tuple[str, ...]]") -> tuple[str, ...]:
    try:
        found: tuple[str, ...] = ray.get(answer, timeout=_PATIENCE_S)
    except GetTimeoutError:
        return (f"{node} did not answer within {_PATIENCE_S:.0f} s: see `ray status`, or take it out of the cluster",)
    except RayError as error:
        return (f"{node} cannot run this code ({first_line(error)}): install constraints.txt there",)
    return found


@contextmanager
def _marked(storage: str) -> Iterator[str]:
    """A new folder below ``storage`` that holds a file of the driver's; removed in the end."""
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
        with suppress(OSError):  # what is left is empty
            files.delete_dir(path)
