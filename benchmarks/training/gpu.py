"""Training on one GPU: ``fit`` against a bare loop, augmentation, a trial against timm's loader, four fits on one GPU.

``python -m benchmarks.training.gpu`` needs a CUDA device, torch, timm, albumentations, scikit-learn, pyarrow and typer,
but not Ray, Optuna, MLflow or a network connection: images are synthetic and weights random, which does not change
timings. Each result is written as soon as it is there. ``--pair resnet50:128`` measures one network at one size, into
``results/gpu_resnet50_128.json``. ``--smoke`` runs a miniature version on any device, as a check.

1. Images per second of ``fit`` (bf16, batch size 64), against a bare loop over tensors on the GPU.
2. Images per second of ``fit`` with the policy ``strong``, which augments batches on the GPU, against ``fit`` without
   augmentation.
3. Wall time of a trial of 3 epochs over 5,120 JPEGs in its own process, with start-up and decoding, against timm's
   ``ImageDataset`` and ``create_loader`` with prefetching from pinned memory, and the same model, optimizer and
   precision. Like a worker, ours gets a data set that the driver has already checked and split.
4. Images per second of four concurrent ``fit`` processes on one GPU, against one process.
"""

import dataclasses
import pickle
import queue
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import timm
import torch
import typer
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.record import Row, at_least, at_most, show, write
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.device import autocast, resolve_precision
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.training.fit import fit

BATCH, EPOCHS, CLASSES = 64, 3, 4
GOAL_LIMIT, GOAL_AUGMENTED, GOAL_TRIAL, GOAL_PACKING = 0.97, 0.85, 0.5, 1.5
BACKBONES, SIZES = ("efficientnet_b2", "resnet50"), (128, 224)
TIMEOUT_S = 300.0  # for concurrent processes to be ready, and to finish
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Pair = tuple[str, int]  # backbone and image size
app = typer.Typer(add_completion=False)


@app.command()
def measure(
    smoke: Annotated[bool, typer.Option(help="Run a miniature version on any device.")] = False,
    images: Annotated[int, typer.Option(help="Number of images in the data set.")] = 5120,
    pair: Annotated[list[str] | None, typer.Option(help="BACKBONE:SIZE to measure; repeatable. Default: all.")] = None,
) -> None:
    """Measure all four, and write each result when it is there."""
    if DEVICE == "cpu" and not smoke:
        print("GPU benchmarks skipped: no CUDA device found")
        return
    chosen = pair or (["resnet18:32"] if smoke else [f"{backbone}:{size}" for backbone in BACKBONES for size in SIZES])
    pairs = [(backbone, int(size)) for backbone, _, size in (text.rpartition(":") for text in chosen)]
    file = "_".join(["gpu", *(pair or [])]).replace(":", "_")
    rows: list[Row] = []
    details: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for size in {size for _, size in pairs}:
            write_jpegs(Path(name) / str(size), 160 if smoke else images, size)
        for row, measured in _measurements(pairs, Path(name), workers=2 if smoke else 8):
            rows.append(row)
            details[row.measurement] = measured
            print(f"{row.measurement}: {measured}", flush=True)
            if not smoke:
                write(file, rows, details)
    show(rows)


def _measurements(pairs: list[Pair], folder: Path, workers: int) -> Iterator[tuple[Row, dict[str, Any]]]:
    for backbone, size in pairs:
        limit = _against_the_limit(backbone, size, folder)
        yield at_least(f"fit / bare loop, {backbone} {size}px", limit["ratio"], GOAL_LIMIT), limit
        augmented = _augmented(backbone, size, folder)
        name = f"fit with the policy strong / without augmentation, {backbone} {size}px"
        yield at_least(name, augmented["ratio"], GOAL_AUGMENTED), augmented
        trial = _trial(backbone, size, folder, workers)
        yield at_most(f"trial / trial with timm's loader, {backbone} {size}px", trial["ratio"], GOAL_TRIAL), trial
    backbone, size = min(pairs, key=lambda pair: pair[1])
    packed = _packing(backbone, size, folder)
    name = f"four fits on one GPU / one fit, images per second, {backbone} {size}px"
    yield at_least(name, packed["ratio"], GOAL_PACKING), packed


def write_jpegs(root: Path, count: int, size: int) -> None:
    """Write class folders of smooth noise images, which take about as long to decode as photographs."""
    generator = np.random.default_rng(0)

    def write(index: int, coarse: np.ndarray) -> None:
        image = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        folder = root / "train" / f"class-{index % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{index:05d}.jpg", quality=90)

    with ThreadPoolExecutor() as pool:
        coarse = generator.integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)
        list(pool.map(write, range(count), coarse))


def train_config(backbone: str, size: int, epochs: int) -> TrainConfig:
    """Return the configuration that all measurements train."""
    return TrainConfig.from_dict(
        {
            "backbone": backbone,
            "weights": "random",
            "image_size": size,
            "head": "linear",
            "optimizer": "adamw",
            "lr": 1e-3,
            "batch_size": BATCH,
            "epochs": epochs,
            "device": DEVICE,
        }
    )


def _prepare(folder: Path, size: int) -> Dataset:
    return prepare(str(folder / str(size)), sizes=[size], seed=0, store=folder / "store")


def _against_the_limit(backbone: str, size: int, folder: Path) -> dict[str, Any]:
    data, config = _prepare(folder, size), train_config(backbone, size, epochs=6)
    return _alternating(fit(config, data), _bare_epochs(config, data), config.epochs, data)


def _augmented(backbone: str, size: int, folder: Path) -> dict[str, Any]:
    data, config = _prepare(folder, size), train_config(backbone, size, epochs=6)
    strong = dataclasses.replace(config, augmentation="strong")
    return _alternating(fit(strong, data), fit(config, data), config.epochs, data)


def _alternating(ours: Iterator[object], reference: Iterator[object], epochs: int, data: Dataset) -> dict[str, Any]:
    """Time alternating epochs; the first pair is a warm-up and not counted."""
    pairs = [(_seconds(ours), _seconds(reference)) for _ in range(epochs)][1:]
    images = len(data.splits["fit"]) + len(data.splits["tune"])
    ratios = [reference_s / ours_s for ours_s, reference_s in pairs]
    speeds = [images / statistics.median(side) for side in zip(*pairs, strict=True)]
    return {"ratio": statistics.median(ratios), "ratios": ratios, "images/s": speeds}


def _seconds(epochs: Iterator[object]) -> float:
    started = time.perf_counter()
    next(epochs)
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _bare_epochs(config: TrainConfig, data: Dataset) -> Iterator[None]:
    """Run bare epochs: forward, backward and step over tensors on the device, and a forward pass over ``tune``."""
    device = torch.device(DEVICE)
    model = build_classifier(config, len(data.class_names)).to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, fused=DEVICE == "cuda")
    pixels = torch.from_numpy(data.images(config.image_size).copy()).to(device)
    labels = torch.from_numpy(data.labels).to(device)
    sides: list[list[tuple[Tensor, Tensor]]] = []
    for split in ("fit", "tune"):
        rows = torch.from_numpy(data.splits[split]).to(device).split(config.batch_size)
        sides.append([(pixels[part], labels[part]) for part in rows if len(part) > 1])
    mixed = autocast(resolve_precision("auto", device), device)
    while True:
        model.train()
        for inputs, targets in sides[0]:
            with mixed:
                outputs = model(inputs)
            cross_entropy(outputs.float(), targets).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        model.eval()
        with torch.inference_mode(), mixed:
            for inputs, _ in sides[1]:
                model(inputs)
        yield


def _trial(backbone: str, size: int, folder: Path, workers: int) -> dict[str, float]:
    """Return the wall seconds of both trials, each in its own process and ours with an empty cache."""
    data = _prepare(folder, size)
    with tempfile.TemporaryDirectory() as store:
        sent = Path(store) / "data.pickle"
        sent.write_bytes(pickle.dumps(dataclasses.replace(data, store=Path(store) / "cache")))
        ours = _process("ours", backbone, str(size), str(sent))
    counts = [str(len(data.splits[split])) for split in ("fit", "tune")]
    theirs = _process("theirs", backbone, str(size), str(folder / str(size)), *counts, str(workers))
    return {"ratio": ours / theirs, "ours, s": ours, "timm's loader, s": theirs}


def _process(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "benchmarks.training.gpu", *arguments], check=True)
    return time.perf_counter() - started


@app.command()
def ours(backbone: str, size: int, data: Path) -> None:
    """Run a trial as a worker does: decode the images of a pickled data set into an empty cache, and train."""
    for _ in fit(train_config(backbone, size, EPOCHS), pickle.loads(data.read_bytes())):
        pass


@app.command()
def theirs(backbone: str, size: int, root: Path, fit_images: int, tune_images: int, workers: int) -> None:
    """Train on the same number of images with timm's loader, whose workers decode, with prefetching."""
    from timm.data import ImageDataset, create_loader
    from torch.utils.data import Subset

    order = torch.randperm(fit_images + tune_images).tolist()
    loaders = []
    for training, chosen in ((True, order[:fit_images]), (False, order[fit_images:])):
        images = ImageDataset(str(root / "train"))
        subset = Subset(images, chosen)
        loaders.append(
            create_loader(
                subset,
                input_size=(3, size, size),
                batch_size=BATCH,
                is_training=training,
                no_aug=True,
                num_workers=workers,
                persistent_workers=True,
                use_prefetcher=DEVICE == "cuda",
                pin_memory=DEVICE == "cuda",
                device=torch.device(DEVICE),
            )
        )
        images.transform = subset.transform  # set by create_loader
    device = torch.device(DEVICE)
    model = timm.create_model(backbone, num_classes=CLASSES).to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=DEVICE == "cuda")
    mixed = autocast(resolve_precision("auto", device), device)
    for _ in range(EPOCHS):
        model.train()
        for inputs, targets in loaders[0]:
            with mixed:
                outputs = model(inputs.contiguous(memory_format=torch.channels_last))
            cross_entropy(outputs.float(), targets).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        model.eval()
        with torch.inference_mode(), mixed:
            right = [(model(inputs).argmax(1) == targets).sum() for inputs, targets in loaders[1]]
        print(f"accuracy {torch.stack(right).sum().item() / tune_images:.3f}")


def _packing(backbone: str, size: int, folder: Path) -> dict[str, float]:
    """Return the images per second of one process and of four concurrent ones, without start-up."""
    single, packed = (_images_per_second(processes, backbone, size, folder) for processes in (1, 4))
    return {"ratio": packed / single, "one, images/s": single, "four, images/s": packed}


def _images_per_second(processes: int, backbone: str, size: int, folder: Path) -> float:
    context = torch.multiprocessing.get_context("spawn")
    barrier, spans = context.Barrier(processes), context.Queue()
    arguments = (backbone, size, folder, barrier, spans)
    running = [context.Process(target=_packed, args=arguments, daemon=True) for _ in range(processes)]
    for process in running:
        process.start()
    taken = []
    deadline = time.monotonic() + 2 * TIMEOUT_S
    while len(taken) < processes:
        if any(process.exitcode for process in running) or time.monotonic() > deadline:
            raise RuntimeError(f"of {processes} concurrent processes, {len(taken)} finished")
        with suppress(queue.Empty):
            taken.append(spans.get(timeout=1))
    for process in running:
        process.join()
    images = sum(images for images, _, _ in taken)
    return images / (max(end for _, _, end in taken) - min(start for _, start, _ in taken))


def _packed(backbone: str, size: int, folder: Path, barrier: Any, spans: Any) -> None:
    """Train a warm-up epoch, then three epochs that all processes begin together."""
    data = _prepare(folder, size)
    epochs = fit(train_config(backbone, size, 1 + EPOCHS), data)
    _seconds(epochs)
    barrier.wait(timeout=TIMEOUT_S)  # a process that fails must not keep the others waiting
    started = time.time()
    for _ in range(EPOCHS):
        _seconds(epochs)
    spans.put((EPOCHS * (len(data.splits["fit"]) + len(data.splits["tune"])), started, time.time()))


if __name__ == "__main__":
    app() if sys.argv[1:2] in (["ours"], ["theirs"]) else typer.run(measure)
