r"""Share of images that a model calls unlike its training images: other files of the same images, and other kinds.

    python -m benchmarks.data.unlike_images SEARCH MODEL [NAME=PLACE ...]

SEARCH is the name of a search in ./results, whose ``select`` sets the limit. MODEL is an ensemble of it, as for
tune-predict; ``tune-ensemble SEARCH --k 1 --register`` registers the best member as one. Each further argument names
images from elsewhere, of which at most 100 are drawn; ``phantoms`` is the place of the built-in ones. The result is
``results/unlike_images_SEARCH.json``. docs/explanation/measured.md has the figures of these two searches:

    tune-run chest_xray_space --data chest_xray --backbone torchvision:mobilenet_v2 --weights weights \
        --image-size 128 --num-samples 3 --max-epochs 3 --no-pruning --metric auroc --name chest
    python -m benchmarks.data.unlike_images chest models:/chest_xray_space@champion \
        adults=tb/images tissue=tissue MRI=alzheimer_mri/data/test-00000-of-00001.parquet phantoms=phantoms
    tune-run demo_space --backbone scratch_cnn --num-samples 1 --no-pruning --name phantoms
    python -m benchmarks.data.unlike_images phantoms models:/demo_space@champion \
        MRI=alzheimer_mri/data/test-00000-of-00001.parquet X-rays=tb/images
"""

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console

from benchmarks.record import Row, record
from trainables.core.data.dataset import Dataset
from trainables.core.data.readers.open_source import PHANTOMS, open_source
from trainables.core.data.readers.unlabelled import NamedImage, find_parts, read_part
from trainables.core.serving.ensemble_files import open_ensemble
from trainables.core.serving.ensembles.base import Ensemble
from trainables.core.serving.score_images import BATCH, score_images
from tuning.predict.fetch_model import fetch_model
from tuning.study.attributes import read_data_request
from tuning.study.search_folder import existing_folder

_MOST = 100
Encode = Callable[[Image.Image], bytes]


def saved_as_jpeg(quality: int) -> Encode:
    """Return a function that saves an image as JPEG of a quality."""

    def encode(image: Image.Image) -> bytes:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return file.getvalue()

    return encode


def negative(image: Image.Image) -> bytes:
    """Return the negative of an image, as PNG."""
    file = io.BytesIO()
    ImageOps.invert(image).save(file, "PNG")
    return file.getvalue()


def image_sets(data: Dataset, places: Mapping[str, str]) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the name and the encoded images of each set: those of the search, changed ones, and those from elsewhere.

    Args:
        data: Data set of the search, of 8 bits.
        places: Files or folders of other images by name.
    """
    source = data.open_source()
    select = [source.read(row) for row in data.splits["select"]]
    yield "select", select
    changes = {"JPEG of quality 75": saved_as_jpeg(75), "JPEG of quality 50": saved_as_jpeg(50), "negatives": negative}
    mode = "L" if data.pixel_format.channels == 1 else "RGB"
    for name, change in changes.items():
        yield f"select, {name}", [change(Image.open(io.BytesIO(image)).convert(mode)) for image in select]
    yield "test", [source.read(row) for row in data.splits["test"]]
    for name, place in places.items():
        images = images_at(place)
        drawn = np.random.default_rng(0).permutation(len(images))[:_MOST]
        yield name, [images[position] for position in sorted(drawn)]


def images_at(place: str) -> list[bytes]:
    """Return all encoded images of a file, a folder, or ``phantoms``."""
    if place == PHANTOMS:
        phantoms = open_source(place)
        return [phantoms.read(position) for position in range(len(phantoms.names))]
    return [image.data for part in find_parts([place]) for image in read_part(part)]


def unlike_scores(ensemble: Ensemble, images: list[bytes]) -> np.ndarray:
    """Return the ``unlike_score`` of each image.

    Raises:
        ValueError: An image cannot be read, or the model stores no features of training images.
    """
    scored = [
        one
        for start in range(0, len(images), BATCH)
        for one in score_images(ensemble, [NamedImage("", image) for image in images[start : start + BATCH]])
    ]
    if failed := [one.error for one in scored if one.error or one.unlike_score is None]:
        raise ValueError(f"all images must have an unlike_score, but {len(failed)} have none: {failed[0]}")
    return np.array([one.unlike_score for one in scored])


def main(search: str, model: str, *places: str) -> None:
    """Score all sets, and record the share of each that is beyond the limit."""
    _, study = existing_folder("results", search, None)
    data = read_data_request(study).prepare(sizes=[])
    with ExitStack() as stack:
        ensemble = open_ensemble(fetch_model("MODEL", model, None, stack, Console()))
    rows, details = list[Row](), {}
    for name, images in image_sets(data, dict(place.split("=", 1) for place in places)):
        scores = unlike_scores(ensemble, images)
        rows.append(
            Row(f"share of {name} ({len(scores)} images) beyond the limit", float((scores > 1).mean()), "", None)
        )
        details[name] = {"images": len(scores), "quartiles": np.quantile(scores, (0.25, 0.5, 0.75)).tolist()}
    record(f"unlike_images_{search}", rows, {"data": data.fingerprint, "sets": details})


if __name__ == "__main__":
    main(*sys.argv[1:])
