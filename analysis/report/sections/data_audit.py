"""The data set and its audit: classes, splits, groups, crops, and the most suspicious pairs of images."""

from collections.abc import Sequence

import numpy as np

from analysis.report.inputs import SearchInputs
from analysis.report.page import Block, Example, Gallery, Section, Table, Text
from analysis.report.sections.wording import leak_warning, sentence
from analysis.report.thumbnails import align, data_uri
from trainables.core.data.decode.crop import MARGIN, Regions
from trainables.core.data.decode.images import SIDE
from trainables.core.data.labels import membership
from trainables.core.data.splits.audit import Audit, summary
from trainables.core.data.splits.groups import CurvePoint
from trainables.core.data.splits.pairs import Pair

_PAIRS_PER_KIND = 4
_LISTED_NAMES = 10
_CURVE_STEP = 3
_UNCROPPED_SHOWN, _CROPS_SHOWN = 3, 6
# Labels of the audit's kinds of pairs; pairs of any other kind have none and are not flagged.
_DEFECTS = {"labels differ": "Different labels", "test and train": "Across published training and test"}


def data_audit(search: SearchInputs) -> Section:
    """Show what the audit found in the data set."""
    data, audit = search.data, search.data.audit
    assert audit is not None
    blocks: list[Block] = [
        Text("", _findings(audit)),
        _class_table(search, audit),
        *([_crops(search, data.regions)] if data.regions else []),
        _pairs(search, audit),
        _threshold_table(search, audit),
    ]
    introduction = f"{data.place}, SHA-256 {data.fingerprint}."
    return Section("The data", "data", blocks, introduction, _leak_warning(search, audit), folded=True)


def split_of(search: SearchInputs, index: int) -> str:
    """Return the name of the split that holds an image."""
    return next((name for name, rows in search.data.splits.items() if index in rows), "in no split")


def _findings(audit: Audit) -> list[str]:
    names = {
        "cannot be used": list(audit.broken),
        "are blank": audit.blank,
        "have unusual brightness or contrast": audit.outlying,
    }
    defects = [f"images that {defect}: {len(found)} ({_listed(found)})" for defect, found in names.items() if found]
    contradicting = f" {audit.named.capitalize()} with images of different labels: {audit.contradicting_groups}."
    return [
        *map(sentence, summary(audit)),
        f"Images that are pixel-identical to another one: {audit.exact_duplicates}.{contradicting * audit.labelled}",
        *map(sentence, defects),
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_LISTED_NAMES], *(["..."] * (len(names) > _LISTED_NAMES))])


def _class_table(search: SearchInputs, audit: Audit) -> Table:
    data = search.data
    counts = [membership(data.labels[rows], len(audit.class_counts)).sum(axis=0) for rows in data.splits.values()]
    rows = [
        [name, str(images), str(audit.groups_per_class[name]), *(str(count[index]) for count in counts)]
        for index, (name, images) in enumerate(audit.class_counts.items())
    ]
    headings = ("class", "images", audit.named, *data.splits)
    return Table("Classes and splits", "Images of each class, in total and in each split.", headings, rows)


def _threshold_table(search: SearchInputs, audit: Audit) -> Table:
    columns = 4 if search.data.image_classes else 3
    points = [
        point
        for position, point in enumerate(audit.curve)
        if position % _CURVE_STEP == 0 or point.threshold == audit.threshold
    ]
    rows: list[list[str]] = []
    in_use_at: list[int] = []
    for point in points:
        in_use, of_point = point.threshold == audit.threshold, _curve_cells(point)[: columns - 1]
        if rows and rows[-1][1:] == of_point and not in_use and len(rows) - 1 not in in_use_at:
            rows[-1][0] = f"{rows[-1][0].partition(' to ')[0]} to {point.threshold:g}"
        else:
            in_use_at += [len(rows)] * in_use
            rows.append([f"{point.threshold:g}", *of_point])
    headings = ["similarity threshold", "groups", "largest group", "nearest-neighbour accuracy"]
    which = "Groups were given, so no threshold is in use."
    if audit.threshold is not None:
        which = "The threshold in use is in bold."
    how_to_read = f"Images at least as similar as the threshold form one group. {which}"
    if search.data.image_classes:
        how_to_read += (
            " Nearest-neighbour accuracy is the share of images whose most similar image outside their own group has "
            "the same label. If it is far above the share of the most common class, images of one subject are "
            "probably still spread over several groups."
        )
    return Table(
        "Groups by similarity threshold",
        how_to_read,
        headings[:columns],
        rows,
        in_use_at,
    )


def _curve_cells(point: CurvePoint) -> list[str]:
    return [str(point.groups), str(point.largest), f"{point.neighbour_accuracy:.3f}"]


def _leak_warning(search: SearchInputs, audit: Audit) -> str:
    if search.data.leak or not audit.leaks:
        return leak_warning(search)
    assert audit.test_twins_in_train is not None
    return (
        f"The published test split leaks: {audit.test_twins_in_train:.1%} of its images belong to {audit.named} that "
        f"also have images in training. This search used another test split: {search.data.test_description}."
    )


def _crops(search: SearchInputs, regions: Regions) -> Gallery:
    data, used = search.data, search.data.splits[search.data.training]
    size = max((record.config["image_size"] for record in search.records if record.config), default=SIDE)
    whole, cropped = data.uncropped().images(SIDE), data.images(size)
    uncropped = used[regions.boxes[used, 2] == 0][:_UNCROPPED_SHOWN]
    others = np.setdiff1d(used, uncropped)[: _CROPS_SHOWN - len(uncropped)]
    examples = []
    for index in [*uncropped.tolist(), *others.tolist()]:
        lines = [search.file_names[index]] if len(search.file_names) else []
        lines += ["not cropped"] if regions.box(index) is None else []
        images = [(data_uri(whole[index]), "whole image"), (data_uri(cropped[index]), "cropped image")]
        examples.append(Example(images, lines))
    return Gallery(
        "Crops",
        "Left: the whole image. Right: what all models see, which is the box around the region found by the "
        f"segmentation model plus a margin of {MARGIN:.0%} of its width and height on each side.",
        f"Images of {data.training}, beginning with up to {_UNCROPPED_SHOWN} that were not cropped. Groups, splits and "
        f"pairs were determined on whole images. The segmentation model has SHA-256 {regions.digest}.",
        examples,
    )


def _pairs(search: SearchInputs, audit: Audit) -> Gallery:
    shown = {**audit.pairs, f"different {audit.named}": audit.apart}
    examples = [_pair(search, kind, pair) for kind, pairs in shown.items() for pair in pairs[:_PAIRS_PER_KIND]]
    return Gallery(
        "Suspicious pairs",
        "Left: an image. Right: a similar one, rotated and mirrored to match the first. If the two look like the same "
        "picture, they must not be on different sides of a split.",
        f"Up to {_PAIRS_PER_KIND} of each kind: pairs with different labels and pairs across the published training "
        "and test splits, both with a red frame, and other similar pairs, also of different patients. "
        f"Mirrored and rotated pairs come first. Shown at {SIDE} pixels.",
        examples,
        "" if examples else "No two images are similar enough.",
    )


def _pair(search: SearchInputs, kind: str, pair: Pair) -> Example:
    data, pixels = search.data, search.data.uncropped().images(SIDE)
    transform = f"rotated by {pair.degrees:.0f}°{', mirrored' * pair.mirrored}"
    lines = [f"{f'{_DEFECTS[kind]}: s' if kind in _DEFECTS else 'S'}imilarity {pair.similarity:.3f}, {transform}"]
    for index in (pair.first, pair.second):
        name = search.file_names[index] if len(search.file_names) else f"image {index}"
        label = f"{data.describe_label(index)}, " if data.image_classes else ""
        lines.append(f"{name}: {label}{split_of(search, index)}")
    aligned = align(pixels[pair.second], pair.degrees, pair.mirrored)
    images = [(data_uri(pixels[pair.first]), "first image"), (data_uri(aligned), "second image, aligned")]
    return Example(images, lines, flagged=kind in _DEFECTS)
