"""Features of training images by all members of an ensemble, which registered models compare new images with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.dataset import Dataset
from trainables.core.serving.training_features import MOST_IMAGES, TrainingFeatures

# Maps checkpoints of members and (n,) images to the (n, F) features of each, as ``trainables.worker.inference`` does.
Extract = Callable[[Sequence[str], NDArray[np.int64]], list[NDArray[np.float32]]]
_MOST_HELD_OUT = 2000


@dataclass(frozen=True, eq=False)
class MemberFeatures:
    """Features of training images, and of held-out images of other groups.

    Attributes:
        training: (N, F) features of each of M members.
        held_out: (n, F) features of each of M members.
        groups: (n,) groups of the held-out images.
        independent: (N,) True for one training image of each group.
    """

    training: Sequence[NDArray[np.float32]]
    held_out: Sequence[NDArray[np.float32]]
    groups: NDArray[np.int64]
    independent: NDArray[np.bool_]

    def of(self, members: Sequence[int]) -> TrainingFeatures:
        """Return the features of an ensemble of some members, given by position."""
        training, held_out = ([part[member] for member in members] for part in (self.training, self.held_out))
        return TrainingFeatures.of(training, held_out, self.groups, self.independent)


def member_features(data: Dataset, checkpoints: Sequence[str], extract: Extract) -> MemberFeatures:
    """Extract features of images that trained every member, and of images that trained none.

    With folds these are the images that trained the first model of each member, and those of its own fold.

    Args:
        data: Data set of the search.
        checkpoints: Checkpoints of M members.
        extract: Function that runs the members.
    """
    held_out = data.folds[0] if data.folds else data.splits["select"]
    training = np.setdiff1d(data.splits[data.training], held_out)
    generator = np.random.default_rng(0)
    drawn, held_out = (
        generator.permutation(rows)[:most] for rows, most in ((training, MOST_IMAGES), (held_out, _MOST_HELD_OUT))
    )
    training, held_out = np.sort(drawn), np.sort(held_out)
    of_groups = drawn[np.unique(data.groups[drawn], return_index=True)[1]]
    features = extract(checkpoints, np.concatenate([training, held_out]))
    return MemberFeatures(
        training=[each[: len(training)] for each in features],
        held_out=[each[len(training) :] for each in features],
        groups=data.groups[held_out],
        independent=np.isin(training, of_groups),
    )
