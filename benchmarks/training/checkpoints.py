"""Size of a checkpoint, and the time to write it. Each report of a trial writes one.

Each backbone has random weights and a linear head for four classes, and has made one AdamW step (two state tensors per
trained parameter) at 64 px, with no stages, half of the stages or all stages frozen. Frozen weights are stored once per
trial and not counted. Checkpoints are written and synced to the disk of the temporary folder, as on a node.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.record import Row, record
from trainables.core.config import TrainConfig
from trainables.core.data.decode.images import PixelFormat
from trainables.core.models.backbones.backbone import stage_count
from trainables.core.models.checkpoints.checkpoint import Checkpoint, save_checkpoint, save_frozen
from trainables.core.models.checkpoints.train_state import capture
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.training.optimization.optimizers import build_optimizer

BACKBONES = (
    "torchvision:squeezenet1_1",
    "mobilenetv3_small_050",
    "efficientnet_b0",
    "resnet50",
    "vit_base_patch16_224",
)
CLASSES, SIZE, BATCH = ("a", "b", "c", "d"), 64, 2


def main(times: Annotated[int, typer.Option(min=1)] = 5) -> None:
    """Write each checkpoint ``times`` times and record its size and the median time."""
    rows = []
    for backbone in BACKBONES:
        stages = stage_count(backbone)
        for frozen, depth in {"none": 0, "half": stages // 2, "all": stages}.items():
            megabytes, seconds = _measured(_trained(backbone, depth), times)
            name = f"{backbone}, {frozen} of {stages} stages frozen"
            rows += [Row(f"{name}: MB", megabytes, "-", None), Row(f"{name}: s to write", seconds, "-", None)]
    record("checkpoints", rows, {"times": times})


def _trained(backbone: str, freeze_depth: int) -> Checkpoint:
    """Return the checkpoint of a model after one training step on noise."""
    config = TrainConfig.from_dict(
        {
            "backbone": backbone,
            "weights": "random",
            "image_size": SIZE,
            "freeze_depth": freeze_depth,
            "head": "linear",
            "optimizer": "adamw",
            "lr": 1e-3,
            "batch_size": BATCH,
            "epochs": 1,
            "device": "cpu",
        }
    )
    model = build_classifier(config, len(CLASSES)).train()
    optimizer = build_optimizer(config, model)
    model(torch.randint(256, (BATCH, SIZE, SIZE, 3), dtype=torch.uint8)).square().mean().backward()
    optimizer.step()
    state = capture(1, model, optimizer, torch.amp.GradScaler(enabled=False))
    return Checkpoint(state, config, CLASSES, PixelFormat(channels=3, white=255), {})


def _measured(checkpoint: Checkpoint, times: int) -> tuple[float, float]:
    """Return the size in megabytes and the median time to write in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        frozen = save_frozen(Path(folder) / "frozen", checkpoint.state, checkpoint.config.frozen)
        seconds = []
        for number in range(times):
            place = Path(folder) / str(number)
            started = time.perf_counter()
            save_checkpoint(place, checkpoint, frozen)
            seconds.append(time.perf_counter() - started)
        return sum(file.stat().st_size for file in place.iterdir()) / 1e6, statistics.median(seconds)


if __name__ == "__main__":
    typer.run(main)
