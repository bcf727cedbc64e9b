"""The augmenter of batches: parameters are drawn on the CPU for many batches, and applied wherever a batch is."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import albumentations as A
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.data.augment.batched.counter_random import fold, image_keys, uniform
from trainables.core.data.augment.batched.draws import Drawn, drawn, drawn_erasing
from trainables.core.data.augment.batched.operation import Pixels
from trainables.core.data.augment.policies import POLICIES, PolicyOptions, source_size

_PARAMETERS, _PIXELS = 1, 2  # numbers of a step's random streams; 0 chooses between its operations


class Parameters(NamedTuple):
    """Everything that is drawn for n images.

    Attributes:
        values: (n, P) float32 parameters of all operations, one after the other.
        keys: (n, steps) int64 keys of the random numbers for single pixels.
    """

    values: Tensor
    keys: Tensor

    def to(self, device: torch.device) -> Self:
        """Copy to a device, without waiting for it."""
        if device.type != "cuda":
            return self
        return type(self)(*(tensor.pin_memory().to(device, non_blocking=True) for tensor in self))

    def split(self, sizes: list[int]) -> Iterator[Self]:
        """Yield the parameters of batches of these sizes."""
        for values, keys in zip(torch.split(self.values, sizes), torch.split(self.keys, sizes), strict=True):
            yield type(self)(values, keys)


class _Step:
    """A transform of a policy, or one of several. Equal operations of different transforms are applied together.

    Args:
        choices: Operations with their probabilities. The rest, up to 1, changes nothing.
    """

    def __init__(self, choices: list[tuple[Drawn | None, float]]):
        self._choices = choices
        self.operations = list(dict.fromkeys(choice.operation for choice, _ in choices if choice is not None))

    def draw(self, keys: Tensor) -> list[Tensor]:
        """Return (n, P) parameters of each operation for (n,) keys."""
        shares = torch.tensor([probability for _, probability in self._choices], dtype=torch.float64)
        chosen = torch.searchsorted(shares.cumsum(0), uniform(keys, 1)[:, 0], right=True)
        values = {operation: torch.tensor([operation.neutral]).repeat(len(keys), 1) for operation in self.operations}
        for number, (choice, _) in enumerate(self._choices):
            rows = (chosen == number).nonzero()[:, 0]
            if choice is not None:
                values[choice.operation][rows] = choice.draw(fold(keys[rows], _PARAMETERS)).float()
        return list(values.values())


class BatchAugmenter:
    """Applies a policy to whole batches on their device.

    Policies and distributions are those of ``Augmenter``, but not the draws. These are a pure function of (seed, epoch,
    image, draw), in any batch and on any device; only the noise of pixels may be rounded differently.

    Args:
        policy: Key of ``POLICIES``.
        options: Options of the policy.
        seed: Seed of the training.
        erasing: Probability of erasing a random rectangle after the policy, in 0..1.
    """

    def __init__(self, policy: str, options: PolicyOptions, seed: int, erasing: float = 0.0):
        self._seed = seed
        side, build = source_size(policy, options.image_size), POLICIES[policy]
        self._steps = []
        for transform in build(options) if build is not None else []:
            self._steps.append(_Step([(drawn(leaf, side), share) for leaf, share in _leaves(transform, transform.p)]))
            side = options.image_size if isinstance(transform, A.RandomResizedCrop) else side
        if erasing:
            self._steps.append(_Step([(drawn_erasing(side), erasing)]))

    @property
    def is_identity(self) -> bool:
        """True if images are never changed."""
        return not self._steps

    def draw(self, images: NDArray[np.int64], draws: NDArray[np.int64], epoch: int) -> Parameters:
        """Draw how images are changed.

        Args:
            images: (n,) indices in the data set.
            draws: (n,) numbers that say how often each image was already shown in this epoch.
            epoch: Epoch, from 1.
        """
        keys = image_keys(self._seed, epoch, torch.from_numpy(images), torch.from_numpy(draws))
        of_steps = [fold(keys, number) for number in range(len(self._steps))]
        values = [part for step, own in zip(self._steps, of_steps, strict=True) for part in step.draw(own)]
        return Parameters(torch.cat(values, dim=1), torch.stack([fold(own, _PIXELS) for own in of_steps], dim=1))

    def flips(self, images: NDArray[np.int64], draws: NDArray[np.int64], epoch: int) -> NDArray[np.bool_]:
        """Return, for (n,) images under the policy ``flip``, which ones are mirrored."""
        mirrored: NDArray[np.bool_] = (self.draw(images, draws, epoch).values[:, 0] == 1).numpy()
        return mirrored

    def __call__(self, pixels: Pixels, parameters: Parameters) -> Pixels:
        """Change a batch by parameters on its device, without waiting for the device."""
        first = 0
        for number, step in enumerate(self._steps):
            for operation in step.operations:
                last = first + len(operation.neutral)
                pixels = operation(pixels, parameters.values[:, first:last], parameters.keys[:, number])
                first = last
        return pixels


def _leaves(transform: Any, probability: float) -> Iterator[tuple[Any, float]]:
    """Yield a transform, or those it draws one from, with their probabilities."""
    if not isinstance(transform, A.OneOf):
        yield transform, probability
        return
    for child, share in zip(transform.transforms, transform.transforms_ps, strict=True):
        yield from _leaves(child, probability * share)
