"""A space to begin with, written from what there is in a folder of images."""

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np

from trainables.core.data.decode.images import open_image
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.source import Source
from trainables.core.errors import DataError

_LOOKED_AT = 2000  # images whose size is read
_LARGEST, _STEP, _SMALLEST = 224, 32, 32  # what pretrained networks are made for, and sizes that halve five times
_BALANCED = 1.5  # images of the commonest class by those of the rarest, up to which nothing need be done
_FEW, _MANY = 1000, 10_000  # images
_HEALTHY = re.compile(r"normal|healthy|control|negative|benign|(^|[^a-z])(no|non|none)([^a-z]|$)|_n$", re.IGNORECASE)
_LAST_NUMBER = r"^(.*?)[-_]?\d+\.\w+$"


@dataclass(frozen=True)
class Finding:
    """What there is in a folder.

    Attributes:
        place: The folder.
        counts: Images by class.
        published: Images by published split; empty where none was published.
        looked_at: Images that were opened.
        unreadable: Of those, how many are none.
        sides: The shorter side of the smallest, the median and the largest of the others, pixels.
        files: File names.
    """

    place: Path
    counts: Mapping[str, int]
    published: Mapping[str, int]
    looked_at: int
    unreadable: int
    sides: tuple[int, int, int]
    files: tuple[str, ...]

    @property
    def imbalance(self) -> float:
        """Images of the commonest class by those of the rarest that has any."""
        present = [count for count in self.counts.values() if count]
        return max(present) / min(present)


def find(place: Path) -> Finding:
    """Looks at a folder of images; of at most 2,000 of them also at their sizes.

    Raises:
        DataError: It is no folder, or has no images of at least two classes.
    """
    if not place.is_dir():
        raise DataError(f"DIR must be a folder of images, but {place} is none: fetch what is elsewhere into one")
    place = place.resolve()  # a name would be looked up as --data is
    source = open_source(str(place))
    if source.masks:
        raise DataError(f"{place} holds masks: start from a copy of search_spaces/lung_segmentation_space.py")
    counts = np.bincount(source.labels[source.labels >= 0], minlength=len(source.class_names)).tolist()
    present = sum(count > 0 for count in counts)
    if present < 2:
        raise DataError(f"at least two classes must have images, but in {place} {present} of {len(counts)} do")
    splits, sizes = np.unique(source.published[source.published != ""], return_counts=True)
    sides = _sides(source)
    known = [side for side in sides if side]
    return Finding(
        place=place,
        counts=dict(zip(source.class_names, counts, strict=True)),
        published=dict(zip(splits.tolist(), sizes.tolist(), strict=True)),
        looked_at=len(sides),
        unreadable=sides.count(0),
        sides=(min(known, default=0), int(np.median(known)) if known else 0, max(known, default=0)),
        files=tuple(source.files),
    )


def starting_space(found: Finding, name: str) -> str:
    """The text of a Python file whose ``SPACE`` searches the folder."""
    uneven = found.imbalance > _BALANCED
    return _FILE.substitute(
        title=_quoted(f"{len(found.counts)} classes of images in {found.place.name}"),
        name=_quoted(name),
        place=_quoted(str(found.place)),
        findings="\n".join(f"# {line}" for line in _told(found)),
        weights='("none", "balanced", "sqrt")' if uneven else '("none",)',
        samplers='("shuffle", "weighted")' if uneven else '("shuffle",)',
        sampler='"weighted"' if uneven else '"shuffle"',
        image_size=image_size(found.sides[1]),
        epochs=30 if sum(found.counts.values()) < _FEW else 20 if sum(found.counts.values()) < _MANY else 10,
        hints="".join(f"    # {line}\n" for line in _hints(found)),
    )


def image_size(side: int) -> int:
    """The network's input for images of that median side: 224, or the next multiple of 32 where they are smaller."""
    return min(_LARGEST, max(_SMALLEST, -(-side // _STEP) * _STEP))


def _sides(source: Source) -> list[int]:
    """The shorter side of each image that is looked at, 0 of one that is none."""
    chosen = np.random.default_rng(0).permutation(len(source))[:_LOOKED_AT]

    def side(index: int) -> int:
        try:
            with open_image(source.read(index)) as image:
                return min(image.size)
        except (DataError, OSError):
            return 0

    with ThreadPoolExecutor() as pool:
        return list(pool.map(side, chosen.tolist()))


def _told(found: Finding) -> list[str]:
    total = sum(found.counts.values())
    smallest, median, largest = found.sides
    lines = [
        f"{total} images of {len(found.counts)} classes, {found.imbalance:.1f} : 1 from the commonest to the rarest:"
    ]
    lines += [f"    {_quoted(name)}: {count} ({count / max(1, total):.1%})" for name, count in found.counts.items()]
    lines.append(f"The shorter sides of {found.looked_at} have {smallest} to {largest} pixels, the median is {median}.")
    if found.published:
        told = ", ".join(f"{count} {split}" for split, count in found.published.items())
        lines.append(f"Published splits: {told}{'; val is pooled with train' * ('val' in found.published)}.")
    else:
        lines.append("There are no published splits: tune-run divides the images by whole groups.")
    if found.unreadable:
        told = f"{found.unreadable} of the {found.looked_at} that were looked at are no readable images"
        lines.append(f"{told}: mend them, or pass --skip-bad-images.")
    return lines


def _hints(found: Finding) -> list[str]:
    guesses = [name for name in found.counts if _HEALTHY.search(name)]
    guess = guesses[0] if len(guesses) == 1 else next(iter(found.counts))
    why = "a guess from its name" if len(guesses) == 1 else "no name tells which one it is"
    hints = [f"healthy={_quoted(guess)},  # the class without a disease, for --metric clinical; {why}"]
    groups = {re.sub(_LAST_NUMBER, r"\1", file) for file in found.files}
    if 1 < len(groups) < len(found.files) and all(re.match(_LAST_NUMBER, file) for file in found.files):
        hints += [
            f'group_pattern=r"{_LAST_NUMBER}",  # file names without their last number: {len(groups)} groups,',
            "  # which no split would part. Say so if that is the patient; tune-audit shows what is alike.",
        ]
    return hints


def _quoted(text: str) -> str:
    """A Python literal in double quotes, on one line."""
    return json.dumps(text, ensure_ascii=False)


_FILE = Template('''"""A search space to begin with; tune-new wrote it, and from here on it is yours.

tune-audit DIR          which images belong together, and what that does to test scores
tune-run THIS_FILE      the search: --dry-run 5 shows five configurations, --num-samples 10 makes it a short one
"""

$findings

from search_spaces import choices
from search_spaces.space import SearchSpace


def suggest(trial, backbones):
    """What varies from trial to trial; a key of TrainConfig that is not here keeps its default."""
    return {
        # How many quarters of the backbone stay as they were pretrained: the fewer images, the more.
        **choices.backbone(trial, backbones, frozen_quarters=(0, 2, 3)),
        **choices.head(trial, heads=("linear", "mlp"), most_dropout=0.5),
        # Rare classes: more weight in the loss, or shown more often.
        **choices.class_weights(trial, $weights),
        **choices.sampler(trial, $samplers),
        **choices.optimizer(trial, ("sgd", "adamw"), sgd_lr=(1e-4, 1e-1), adam_lr=(1e-5, 1e-2)),
        **choices.schedule(trial, ("constant", "cosine")),
        **choices.batch_size(trial, (16, 32)),
        # Leave out what would change the class: "flip" where left and right matter, say.
        **choices.augmentation(trial, ("none", "flip", "medical", "strong")),
    }


def sound_start():
    """A recipe, tried first, so that no search does worse: it sets all that its branch of ``suggest`` asks for."""
    return {
        "backbone": "resnet18",
        "frozen_quarters": 2,
        "head": "linear",
        "head_dropout": 0.2,
        "class_weights": "none",
        "sampler": $sampler,
        "optimizer": "adamw",
        "adam_lr": 3e-4,
        "weight_decay": 1e-2,
        "layer_decay": 1.0,
        "clip_norm": 1.0,
        "schedule": "cosine",
        "warmup_ratio": 0.1,
        "batch_size": 16,
        "augmentation": "flip",
    }


SPACE = SearchSpace(
    name=$name,
    title=$title,
    suggest=suggest,
    recipes=(sound_start,),
    backbones=("resnet18", "resnet50", "convnext_tiny"),  # any timm name, torchvision:NAME, or scratch_cnn
    data=$place,
    image_size=$image_size,
    epochs=$epochs,
    num_samples=20,
$hints)
''')
