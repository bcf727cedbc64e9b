"""Class probabilities of a trained classifier."""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.checkpoint import Checkpoint
from trainables.core.models.classifier import Classifier, build_classifier


def trained_classifier(checkpoint: Checkpoint, device: torch.device) -> Classifier:
    """The classifier of a checkpoint in eval mode; no weights are needed from elsewhere."""
    architecture = dataclasses.replace(checkpoint.config, weights="random")
    model = build_classifier(architecture, len(checkpoint.class_names))
    model.load_state_dict(checkpoint.state.model_tensors())
    return model.to(device).to(memory_format=torch.channels_last).eval()


@torch.inference_mode()
def predict_probabilities(
    model: Classifier, images: NDArray[np.uint8], indices: NDArray[np.int64], batch_size: int = 64
) -> NDArray[np.float32]:
    """Scores images in float32, whatever precision the model was trained in, so that every machine agrees.

    Args:
        model: In eval mode.
        images: (N, S, S, channels) uint8.
        indices: (n,) which of them.
        batch_size: Images in a forward pass.

    Returns:
        (n, C) float32 probabilities.
    """
    device = next(model.parameters()).device
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        parts = [
            model(torch.from_numpy(images[indices[start : start + batch_size]]).to(device)).softmax(dim=1).cpu()
            for start in range(0, len(indices), batch_size)
        ]
    probabilities: NDArray[np.float32] = torch.cat(parts).numpy()
    return probabilities
