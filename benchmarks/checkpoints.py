"""Bytes of a checkpoint, and how long it takes to write: what each report sends to the storage.

Each backbone with a linear head for four classes, random weights, after one real step of AdamW (two slots a trained
parameter) at 64 px: everything trained, the first half of the stages frozen, and all of them. What is frozen is stored
once a trial and not counted. Written to the temporary folder's disk and synced, as a trial does on its node.
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
from trainables.core.training.optimizers import build_optimizer

BACKBONES = (
    "torchvision:squeezenet1_1",
    "mobilenetv3_small_050",
    "efficientnet_b0",
    "resnet50",
    "vit_base_patch16_224",
)
CLASSES, SIZE, BATCH = ("a", "b", "c", "d"), 64, 2


def main(times: Annotated[int, typer.Option(min=1)] = 5) -> None:
    """Writes each checkpoint ``times`` times; its seconds are the median."""
    rows = []
    for backbone in BACKBONES:
        stages = stage_count(backbone)
        for frozen, depth in {"none": 0, "half": stages // 2, "all": stages}.items():
            megabytes, seconds = _measured(_trained(backbone, depth), times)
            of = f"{backbone}, {frozen} of {stages} stages frozen"
            rows += [Row(f"{of}: MB", megabytes, "-", None), Row(f"{of}: s to write", seconds, "-", None)]
    record("checkpoints", rows, {"times": times})


def _trained(backbone: str, freeze_depth: int) -> Checkpoint:
    """After one step on noise."""
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
    """Megabytes, and the median of the seconds."""
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
