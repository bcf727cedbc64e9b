"""A data set that injects a fault into the processes of the ranks other than 0."""

import multiprocessing
import os
import signal
from dataclasses import dataclass, fields

import torch
import torch.distributed as dist

from trainables.core.data.dataset import Dataset
from trainables.core.errors import WeightsError
from trainables.core.models.networks.classifier import Classifier


@dataclass(frozen=True)
class FaultyRank(Dataset):
    """A data set that strikes whenever another rank than 0 opens its images."""

    fault: str = ""

    @classmethod
    def of(cls, data, fault):
        return cls(**{field.name: getattr(data, field.name) for field in fields(Dataset)}, fault=fault)

    def images(self, size):
        if multiprocessing.parent_process() is not None:
            FAULTS[self.fault]()
        return super().images(size)


def raises():
    raise RuntimeError("struck")


def raises_a_users_error():
    raise WeightsError("these weights do not fit")


def is_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def is_killed_in_the_third_pass():
    forward, passes = Classifier.forward, []

    def counted(model, pixels):
        passes.append(len(pixels))
        if len(passes) == 3:
            is_killed()
        return forward(model, pixels)

    Classifier.forward = counted


def is_killed_in_the_third_sum():
    """Rank 0 has heard from this rank, and waits for its tensors."""
    all_reduce, sums = dist.all_reduce, []

    def counted(values):
        sums.append(values)
        if len(sums) == 3:
            is_killed()
        return all_reduce(values)

    dist.all_reduce = counted


def has_room_for_four_images():
    forward = Classifier.forward

    def forward_in_memory(model, pixels):
        if len(pixels) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(model, pixels)

    Classifier.forward = forward_in_memory


FAULTS = {
    "raises": raises,
    "raises a user's error": raises_a_users_error,
    "is killed": is_killed,
    "is killed in the third pass": is_killed_in_the_third_pass,
    "is killed in the third sum": is_killed_in_the_third_sum,
    "has room for four images": has_room_for_four_images,
}
