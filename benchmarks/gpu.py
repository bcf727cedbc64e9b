"""Training on one GPU: ``fit`` against a bare loop, a trial against timm's loader, and four fits on one GPU.

``python -m benchmarks.gpu`` needs a CUDA device, but neither Ray nor a network connection: images are synthetic and
weights random, which does not change timings. ``--smoke`` runs a miniature version on any device, as a check.

1. Images per second of ``fit`` (bf16, batch size 64), against a bare loop over tensors on the GPU.
2. Wall time of a trial of 3 epochs over 5,120 JPEGs in its own process, with start-up and decoding, against timm's
   ``ImageDataset`` and ``create_loader`` with prefetching, and the same model, optimizer and precision.
3. Images per second of four concurrent ``fit`` processes on one GPU, against one process.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import timm
import torch
import typer
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.record import at_least, at_most, record, show
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.device import autocast, resolve_precision
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.training.fit import fit

BATCH, EPOCHS, CLASSES = 64, 3, 4
GOAL_LIMIT, GOAL_TRIAL, GOAL_PACKING = 0.95, 0.75, 1.5
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
app = typer.Typer(add_completion=False)


@app.command()
def measure(
    smoke: Annotated[bool, typer.Option(help="Run a miniature version on any device.")] = False,
    images: Annotated[int, typer.Option(help="Number of images in the data set.")] = 5120,
) -> None:
    """Measure and record all three."""
    if DEVICE == "cpu" and not smoke:
        print("GPU benchmarks skipped: no CUDA device found")
        return
    backbones, sizes = (["resnet18"], [32]) if smoke else (["efficientnet_b2", "resnet50"], [224, 128])
    count = 160 if smoke else images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in sizes:
            write_jpegs(folder / str(size), count, size)
        pairs = [(backbone, size) for backbone in backbones for size in sizes]
        limits = {pair: _against_the_limit(*pair, folder) for pair in pairs}
        trials = {pair: _trial(*pair, folder, 2 if smoke else 8) for pair in pairs}
        packed = _packing(backbones[0], sizes[-1], folder)
    rows = [
        at_least(f"fit / bare loop, {name} {size}px", limits[name, size]["ratio"], GOAL_LIMIT) for name, size in pairs
    ]
    rows += [
        at_most(f"trial / trial with timm's loader, {name} {size}px", trials[name, size]["ratio"], GOAL_TRIAL)
        for name, size in pairs
    ]
    rows += [at_least("four fits on one GPU / one fit, images per second", packed["ratio"], GOAL_PACKING)]
    if smoke:
        show(rows)
    else:
        taken = {f"{name} {size}px": [limits[name, size], trials[name, size]] for name, size in pairs}
        record("gpu", rows, {"measurements": taken, "packing": packed})


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
    """Time alternating epochs; the first pair is a warm-up and not counted."""
    data, config = _prepare(folder, size), train_config(backbone, size, epochs=6)
    ours, bare = fit(config, data), _bare_epochs(config, data)
    pairs = [(_seconds(ours), _seconds(bare)) for _ in range(config.epochs)][1:]
    images = len(data.splits["fit"]) + len(data.splits["tune"])
    ratios = [bare_s / ours_s for ours_s, bare_s in pairs]
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
    splits = _prepare(folder, size).splits
    shared = [backbone, str(size), str(folder / str(size))]
    with tempfile.TemporaryDirectory() as store:
        ours = _process("ours", *shared, store)
    theirs = _process("theirs", *shared, str(len(splits["fit"])), str(len(splits["tune"])), str(workers))
    return {"ratio": ours / theirs, "ours, s": ours, "timm's loader, s": theirs}


def _process(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "benchmarks.gpu", *arguments], check=True)
    return time.perf_counter() - started


@app.command()
def ours(backbone: str, size: int, root: Path, store: Path) -> None:
    """Run a trial as a worker does."""
    data = prepare(str(root), sizes=[size], seed=0, store=store)
    for _ in fit(train_config(backbone, size, EPOCHS), data):
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
    running = [context.Process(target=_packed, args=arguments) for _ in range(processes)]
    for process in running:
        process.start()
    taken = [spans.get(timeout=600) for _ in running]
    for process in running:
        process.join()
    images = sum(images for images, _, _ in taken)
    return images / (max(end for _, _, end in taken) - min(start for _, start, _ in taken))


def _packed(backbone: str, size: int, folder: Path, barrier: Any, spans: Any) -> None:
    """Train a warm-up epoch, then three epochs that all processes begin together."""
    data = _prepare(folder, size)
    epochs = fit(train_config(backbone, size, 1 + EPOCHS), data)
    _seconds(epochs)
    barrier.wait()
    started = time.time()
    for _ in range(EPOCHS):
        _seconds(epochs)
    spans.put((EPOCHS * (len(data.splits["fit"]) + len(data.splits["tune"])), started, time.time()))


if __name__ == "__main__":
    app() if sys.argv[1:2] in (["ours"], ["theirs"]) else typer.run(measure)
