"""Class probabilities of a trained classifier, of an image as it is or averaged over views of it."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.build import trained_network
from trainables.core.models.networks.classifier import Classifier

# Test-time augmentation: each view is (quarter turns, mirrored left to right).
VIEWS: Mapping[str, tuple[tuple[int, bool], ...]] = {
    "none": ((0, False),),
    "flips": ((0, False), (0, True), (2, True)),  # as it is, left to right, upside down
    "turns": ((0, False), (1, False), (2, False), (3, False)),
    "all": tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True)),
}


def trained_classifier(checkpoint: Checkpoint, device: torch.device) -> Classifier:
    """The classifier of a checkpoint in eval mode; no weights are needed from elsewhere."""
    model = trained_network(checkpoint, device)
    assert isinstance(model, Classifier)
    return model


@torch.inference_mode()
def predict_probabilities(
    model: Classifier,
    images: NDArray[np.uint8],
    indices: NDArray[np.int64],
    batch_size: int = 64,
    views: str = "none",
) -> NDArray[np.float32]:
    """Scores images in float32, whatever precision the model was trained in, so that every machine agrees.

    Args:
        model: In eval mode.
        images: (N, S, S, channels) uint8.
        indices: (n,) which of them.
        batch_size: Images in a forward pass.
        views: A key of ``VIEWS``; probabilities are the arithmetic mean over its views.

    Returns:
        (n, C) float32 probabilities.
    """
    device = next(model.parameters()).device
    parts = []
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for start in range(0, len(indices), batch_size):
            batch = torch.from_numpy(images[indices[start : start + batch_size]]).to(device)
            seen = [model(_view(batch, *view)).softmax(dim=1) for view in VIEWS[views]]
            parts.append((torch.stack(seen).mean(dim=0) if len(seen) > 1 else seen[0]).cpu())
    probabilities: NDArray[np.float32] = torch.cat(parts).numpy()
    return probabilities


def averaged(of_models: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(n, C) mean of a member's models; of a single one, its probabilities as they are."""
    if len(of_models) == 1:
        return of_models[0]
    mean: NDArray[np.float64] = np.mean(np.stack(of_models), axis=0, dtype=np.float64)
    return mean.astype(np.float32)


def _view(batch: torch.Tensor, turns: int, mirrored: bool) -> torch.Tensor:
    """(B, S, S, channels) images, turned and then mirrored."""
    turned = torch.rot90(batch, turns, (1, 2)) if turns else batch
    return turned.flip(2) if mirrored else turned
