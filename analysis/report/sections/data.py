"""The part of a report that tells of the data: groups, splits, and the images that must not be parted."""

import numpy as np

from analysis.report.inputs import Search
from analysis.report.page import Gallery, Section, Shot, Table, Text
from analysis.report.sections.search import leaks, sentence
from analysis.report.thumbnails import aligned, inline
from trainables.core.data.decode.crop import MARGIN, Regions
from trainables.core.data.splits.audit import Audit, summary
from trainables.core.data.splits.groups import Pair
from trainables.core.data.splits.similarity import SIDE

_PAIRS_OF_A_KIND = 4
_LISTED = 10
_CUT_SHOWN = 3
_CURVE_STEP = 3
_WORST = {"labels differ": "Labels differ", "test and train": "Published test and train", "alike": "Same side"}


def dataset(search: Search) -> Section:
    """What is known of the data, worst things first."""
    data, audit = search.data, search.data.audit
    assert audit is not None
    headings = ("class", "images", audit.named, *data.splits)
    rows = [
        [
            name,
            str(audit.class_counts[name]),
            str(audit.groups_per_class[name]),
            *(str(int((data.labels[rows] == index).sum())) for rows in data.splits.values()),
        ]
        for index, name in enumerate(audit.class_counts)
    ]
    points = [
        point for at, point in enumerate(audit.curve) if at % _CURVE_STEP == 0 or point.threshold == audit.threshold
    ]
    curve = [
        [f"{point.threshold:g}", str(point.groups), str(point.largest), f"{point.neighbour_accuracy:.3f}"]
        for point in points
    ]
    chosen = [at for at, point in enumerate(points) if point.threshold == audit.threshold]
    columns, nearest = ["alike by", "groups", "largest"], ""
    if data.image_classes:
        columns.append("nearest neighbour right")
        nearest = (
            "Where the nearest neighbour outside its own group is right far more often than the commonest class, "
            "subjects are still split."
        )
    return Section(
        "The data",
        "data",
        [
            Text("", _audited(audit)),
            Table("Classes and splits", "Images, and how many of each class each split has.", headings, rows),
            *([_cut(search, data.regions)] if data.regions else []),
            _pairs(search, audit),
            Table(
                "What each threshold would make of the images",
                f"Images that alike are one group; in bold the threshold that counts. {nearest}",
                columns,
                [row[: len(columns)] for row in curve],
                chosen,
            ),
        ],
        introduction=f"{data.place}, SHA-256 {data.fingerprint}.",
        warning=_published_leak(search, audit),
    )


def _audited(audit: Audit) -> list[str]:
    listed = {"cannot be used": list(audit.broken), "are blank": audit.blank, "stand out in brightness": audit.outlying}
    odd = [
        f"{len(names)} images {what}: {', '.join(names[:_LISTED])}{' and more' * (len(names) > _LISTED)}."
        for what, names in listed.items()
        if names
    ]
    told = list(map(sentence, summary(audit)))
    contradicting = f"; {audit.contradicting_groups} {audit.named} have images of different labels" * audit.labelled
    duplicates = f"{audit.exact_duplicates} images have the very pixels of another{contradicting}."
    return [*told, duplicates, *odd]


def _published_leak(search: Search, audit: Audit) -> str:
    if search.data.leak or not audit.leaks:
        return leaks(search)
    assert audit.test_twins_in_train is not None
    return (
        f"The published test split leaks: {audit.test_twins_in_train:.1%} of its images have one of their own "
        f"{audit.named} in training. Here test is another one: {search.data.test_told}."
    )


def _cut(search: Search, regions: Regions) -> Gallery:
    data, used = search.data, search.data.splits[search.data.training]
    size = max(record.config["image_size"] for record in search.records if record.config)
    whole, cut = data.uncut().images(SIDE), data.images(size)
    taken_whole = used[regions.boxes[used, 2] == 0][:_CUT_SHOWN]
    shown = [*taken_whole.tolist(), *np.setdiff1d(used, taken_whole)[: 2 * _CUT_SHOWN - len(taken_whole)].tolist()]
    shots = []
    for index in shown:
        lines = [search.names[index]] * bool(len(search.names))
        lines += ["taken whole"] * (regions.box(index) is None)
        shots.append(Shot([(inline(whole[index]), "the image"), (inline(cut[index]), "what is left")], lines))
    return Gallery(
        "What was cut",
        "On the left an image, on the right what every model sees of it: the box around what the segmentation sees, "
        f"with a margin of {MARGIN:.0%} of it on each side.",
        f"Images of {data.training}; of those that are taken whole at most {_CUT_SHOWN}, which come first. Groups, "
        f"splits and pairs are those of whole images. The segmentation has SHA-256 {regions.digest}.",
        shots,
    )


def _pairs(search: Search, audit: Audit) -> Gallery:
    shots = [_pair(search, why, pair) for why, pairs in audit.pairs.items() for pair in pairs[:_PAIRS_OF_A_KIND]]
    return Gallery(
        "The worst pairs",
        "On the left an image; on the right one that is like it, turned and mirrored back so that it lies over the "
        "first. What looks like one picture must not be on both sides of a split.",
        "Found by similarity, up to four of each kind: labels that differ, test and train of the published split, and "
        "others; those that were turned or mirrored come first. Shown at 64 pixels.",
        shots,
        "" if shots else "No two images are alike enough.",
    )


def _pair(search: Search, why: str, pair: Pair) -> Shot:
    data, pixels = search.data, search.data.uncut().images(SIDE)
    lies = f"turned by {pair.degrees:.0f}°{', mirrored' * pair.mirrored}"
    second = aligned(pixels[pair.second], pair.degrees, pair.mirrored)
    lines = [f"{_WORST.get(why, why)}: similarity {pair.similarity:.3f}, {lies}"]
    for index in (pair.first, pair.second):
        name = f"{search.names[index]}: " if len(search.names) else f"image {index}: "
        label = data.class_names[data.labels[index]] if data.labels[index] >= 0 else "no label"
        lines.append(f"{name}{f'{label}, ' * bool(data.image_classes)}{split_of(search, index)}")
    images = [(inline(pixels[pair.first]), "the first image"), (inline(second), "the second image, aligned")]
    return Shot(images, lines, bad=why != "alike")


def split_of(search: Search, index: int) -> str:
    """Which split an image is in."""
    return next((name for name, rows in search.data.splits.items() if index in rows), "in no split")
