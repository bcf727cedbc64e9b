import math

import pytest
import torch
from torch import nn

from trainables.core.errors import ConfigError
from trainables.core.training.parallel.ranks import RankError, Ranks
from trainables.core.training.parallel.step_sums import StepSums, check_equal


class Stated(Ranks):
    """A rank whose others have given items."""

    def __init__(self, rank, count, others=()):
        self.rank, self.count, self.others = rank, count, others

    def join(self):
        pass

    def gather(self, item):
        return [item, *self.others]

    def sum(self, values):
        pass

    def finish_sums(self):
        pass


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("length", [0, 1, 2, 5, 8, 21])
def test_blocks_follow_each_other_and_differ_by_at_most_one(count, length):
    numbers = range(10, 10 + length)
    blocks = [Stated(rank, count).block(numbers) for rank in range(count)]
    assert [number for block in blocks for number in block] == list(numbers)
    assert len(blocks[0]) == max(map(len, blocks)) <= min(map(len, blocks)) + 1
    assert blocks[0].start == numbers.start and blocks[-1].stop == numbers.stop


def test_random_numbers_differ_between_ranks_and_rank_0_has_those_of_one_device():
    assert [Stated(rank, 3).seed_keys for rank in range(3)] == [(), (1,), (2,)]


def test_weights_that_drift_apart_are_an_error():
    model = nn.Linear(3, 2)
    norm = float(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).norm())
    check_equal(model, Stated(0, 3, [norm, norm * (1 + 1e-6)]))
    with pytest.raises(RankError, match="all ranks must have the same weights, but their norms are"):
        check_equal(model, Stated(0, 3, [norm, norm * 1.01]))
    nn.init.constant_(model.weight, math.nan)  # the next loss is an error of its own
    check_equal(model, Stated(0, 2, [math.nan]))


def test_a_batch_norm_that_averages_over_all_batches_is_refused():
    with pytest.raises(ConfigError, match="batch norm that averages over all batches: use one"):
        StepSums(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, momentum=None)), Stated(0, 2))
