"""A starting search space, written from a summary of a folder's images."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from trainables.core.config import ClassificationConfig, MultiLabelConfig
from trainables.core.data.grades import grade_order
from trainables.core.data.readers.tables.label_columns import LabelTable
from tuning.folder_summary import FolderSummary

_LARGEST, _STEP, _SMALLEST = 224, 32, 32  # pretrained networks expect 224 pixels and halve the size five times
_BALANCED = 1.5  # ratio of the largest to the smallest class up to which imbalance is not searched
_FEW_IMAGES, _MANY_IMAGES = 1000, 10_000
_MOST_IN_GROUP = 100  # images in the mean group; larger groups of file names are splits or scanners, not patients
# Names that only a class without a disease has, and parts of names that it may have.
_SURELY_HEALTHY = re.compile(
    r"(.*[ _-])?(normal|healthy)([ _-].*)?|controls?|negative|none|(no|without)[ _-]?(findings?|disease|dr|tumou?rs?)"
    r"|non[ _-]?demented",
    re.IGNORECASE,
)
_HEALTHY = re.compile(r"normal|healthy|control|negative|benign|(^|[^a-z])(no|non|none)([^a-z]|$)|_n$", re.IGNORECASE)
_BEFORE_LAST_NUMBER = r"^(.*?)[-_]?\d+\.\w+$"


def healthy_by_name(images: FolderSummary) -> str | None:
    """Return the only class whose name is that of one without a disease; None if there is not exactly one."""
    matches = [name for name in images.counts if _SURELY_HEALTHY.fullmatch(name)]
    return matches[0] if len(matches) == 1 and has_healthy(images) else None


def has_healthy(images: FolderSummary) -> bool:
    """Return True if one of the classes can be the healthy one; False for several labels per image."""
    return _PARTS[images.task].exclusive


def starting_space(images: FolderSummary, name: str, healthy: str | None = None) -> str:
    """Return the text of a Python file whose ``SPACE`` searches the folder.

    Args:
        images: Summary of the folder.
        name: Name of the space.
        healthy: Class without a disease; None leaves a guess as a comment.
    """
    imbalanced, parts = images.imbalance > _BALANCED, _PARTS[images.task]
    return _FILE.substitute(
        title=_quoted(f"{len(images.counts)} {parts.noun} of images in {images.place.name}"),
        name=_quoted(name),
        place=_quoted(str(images.place)),
        summary="\n".join(f"# {line}" for line in _describe(images)),
        loss=parts.loss if imbalanced else parts.balanced_loss,
        recipe=parts.recipe,
        task=parts.task,
        samplers='("shuffle", "weighted")' if imbalanced else '("shuffle",)',
        sampler='"weighted"' if imbalanced else '"shuffle"',
        table_import=_TABLE_IMPORT if images.table else "",
        table=f"    table={_table_literal(images.table, images.place)},\n" if images.table else "",
        image_size=image_size(images.sides[1]),
        epochs=30 if images.total < _FEW_IMAGES else 20 if images.total < _MANY_IMAGES else 10,
        healthy="" if healthy is None else f"{_HEALTHY_COMMENT}    healthy={_quoted(healthy)},\n",
        hints="".join(f"    # {line}\n" for line in _hints(images, healthy)),
    )


def _table_literal(table: LabelTable, place: Path) -> str:
    """Return the Python expression of a table. Files below the data folder are relative to it."""
    inside = (Path(file).relative_to(place) if Path(file).is_relative_to(place) else file for file in table.files)
    files = "".join(f"{_quoted(str(file))}, " for file in inside)
    columns = {name: value for name, value in vars(table).items() if name != "files" and value is not None}
    return f"LabelTable(({files[:-1]}){''.join(f', {name}={_quoted(value)}' for name, value in columns.items())})"


def image_size(side: int) -> int:
    """Return the input size for images of a median side: the next multiple of 32, from 32 to 224 pixels."""
    return min(_LARGEST, max(_SMALLEST, -(-side // _STEP) * _STEP))


def _describe(images: FolderSummary) -> list[str]:
    total, (smallest, median, largest) = images.total, images.sides
    lines = [
        f"{total} images of {len(images.counts)} {_PARTS[images.task].noun}; "
        f"the largest is {images.imbalance:.1f} times the smallest:"
    ]
    lines += [f"    {_quoted(name)}: {count} ({count / max(1, total):.1%})" for name, count in images.counts.items()]
    lines.append(f"Shorter sides of {images.opened} images: {smallest} to {largest} pixels, median {median}.")
    if images.published:
        splits = ", ".join(f"{count} {split}" for split, count in images.published.items())
        lines.append(f"Published splits: {splits}{'; val is pooled with train' * ('val' in images.published)}.")
    else:
        lines.append("There are no published splits, so tune-run splits the images and keeps groups together.")
    if images.unreadable:
        unreadable = f"{images.unreadable} of {images.opened} opened images cannot be read"
        lines.append(f"{unreadable}: repair them, or pass --skip-bad-images.")
    return lines


def _hints(images: FolderSummary, healthy: str | None) -> list[str]:
    of_classes = _class_hints(images, healthy) if _PARTS[images.task].exclusive else []
    files = () if images.groups_given else images.files
    groups = {re.sub(_BEFORE_LAST_NUMBER, r"\1", file) for file in files}
    if max(2, len(files) / _MOST_IN_GROUP) <= len(groups) < len(files) and all(
        re.match(_BEFORE_LAST_NUMBER, file) for file in files
    ):
        return [
            *of_classes,
            f"Groups that must not be split: file names up to their last number ({len(groups)} groups).",
            "Uncomment this if each group is one patient. tune-audit shows which images look alike.",
            f'group_pattern=r"{_BEFORE_LAST_NUMBER}",',
        ]
    return of_classes


def _class_hints(images: FolderSummary, healthy: str | None) -> list[str]:
    matches = [name for name in images.counts if _HEALTHY.search(name)]
    guess = matches[0] if len(matches) == 1 else next(iter(images.counts))
    reason = "Guessed from its name: check it." if len(matches) == 1 else "Replace it by the right one."
    hints = []
    if healthy is None:
        hints = [
            f"The class without a disease, for sensitivity and specificity. {reason}",
            f"healthy={_quoted(guess)},",
        ]
    if grade_order(list(images.counts), None):
        hints += [
            "Their names are numbers, so the classes are treated as grades. If they have no order:",
            "ordered=False,",
        ]
    elif len(images.counts) > 2:
        hints += [
            "If the classes are grades, list them from the lowest to the highest:",
            f"ordered=({', '.join(map(_quoted, images.counts))}),",
        ]
    return hints


def _quoted(text: str) -> str:
    """Return a one-line Python literal in double quotes."""
    return json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True)
class _TaskParts:
    """Parts of a space that depend on the task.

    Attributes:
        noun: Plural for classes or labels.
        loss: Line of ``suggest`` for the loss, if some classes are much rarer than others.
        balanced_loss: The same if they are not.
        recipe: Parameters of the recipe that the loss reads.
        task: Arguments of the space.
        exclusive: True if each image has one of the classes, which may be graded, or healthy.
    """

    noun: str
    loss: str
    balanced_loss: str
    recipe: str
    task: str = ""
    exclusive: bool = True


_HEALTHY_COMMENT = "    # The class without a disease: sensitivity, specificity and --metric clinical need it.\n"
_LABEL_LOSS = '**choices.label_loss(trial, ("bce", "focal", "asymmetric"))'
_PARTS = {
    ClassificationConfig.task: _TaskParts(
        noun="classes",
        loss='**choices.class_weights(trial, ("none", "balanced", "sqrt"))',
        balanced_loss='**choices.class_weights(trial, ("none",))',
        recipe='"class_weights": "none"',
    ),
    MultiLabelConfig.task: _TaskParts(
        noun="labels",
        loss=_LABEL_LOSS,
        balanced_loss=_LABEL_LOSS,
        recipe='"loss": "bce",\n        "pos_weight": "none"',
        task='    task="multi_label",\n    metric="auroc",\n',
        exclusive=False,
    ),
}
_TABLE_IMPORT = "from trainables.core.data.readers.tables.label_columns import LabelTable\n"
_FILE = Template('''"""A starting search space, written by tune-new. Edit it freely.

tune-audit DIR                    Find related images and measure how they affect test scores.
tune-run THIS_FILE --dry-run 5    Show five configurations.
tune-run THIS_FILE                Run the search; add --num-samples 10 for a short one.
"""

$summary

from search_spaces import choices
from search_spaces.portfolio import portfolio
from search_spaces.space import SearchSpace
${table_import}

def suggest(trial, backbones):
    """Suggest the configuration of a trial. TrainConfig keys that are not listed keep their defaults."""
    return {
        # Quarters of the pretrained backbone that are frozen. With fewer images, freeze more.
        **choices.backbone(trial, backbones, frozen_quarters=(0, 2, 3)),
        **choices.head(trial, heads=("linear", "mlp"), most_dropout=0.5),
        # Rare classes can get more weight in the loss, or be shown more often.
        $loss,
        **choices.sampler(trial, $samplers),
        **choices.optimizer(trial, ("sgd", "adamw"), sgd_lr=(1e-4, 1e-1), adam_lr=(1e-5, 1e-2)),
        **choices.schedule(trial, ("constant", "cosine")),
        **choices.batch_size(trial, (16, 32)),
        # Remove policies that could change the class, such as "flip" if left and right matter.
        **choices.augmentation(trial, ("none", "flip", "medical", "strong")),
    }


def sound_start():
    """Return a recipe, which is tried early. It must set every parameter that its branch of ``suggest`` reads."""
    return {
        "backbone": "resnet18",
        "frozen_quarters": 2,
        "head": "linear",
        "head_dropout": 0.2,
        $recipe,
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
    portfolio=portfolio(),  # ten configurations that did well on other medical data sets, tried first
    recipes=(sound_start,),
    backbones=("resnet18", "resnet50", *choices.MODERN_BACKBONES),  # any timm name, torchvision:NAME, or scratch_cnn
    data=$place,
$table    image_size=$image_size,
    epochs=$epochs,
    num_samples=20,
$task$healthy$hints)
''')
