"""Procedural brain phantoms: synthetic axial slices for demo searches, without any patient data.

A phantom is a set of nested regions with constant intensities, after the head phantom of Shepp & Logan, "The Fourier
reconstruction of a head section", IEEE Trans. Nucl. Sci. 21 (1974), here with a folded cortex. Phantoms have no medical
meaning. They copy three traits of small medical data sets:

* The class is a grade of atrophy: wide ventricles, wide sulci and a thin cortex *relative to the head*. Grades overlap.
* Everything else (head size and shape, folding, contrast, bias field, position, lesions) belongs to the subject and is
  drawn independently of its class. Slices of one subject are alike, so a subject is easier to recognise than its
  grade: a split by image leaks, and only a split by subject is honest.
* The class shares are those of the Alzheimer MRI set of 6,400 slices (896, 64, 3,200 and 2,240 images), except that
  the rarest class has enough subjects to be split.

Balanced accuracy in four parts by subject, pooled (default set; seeds 0 / 1, one run each; x86-64 CPU, numpy 2.4.6,
scikit-learn 1.9.1, torch 2.15.0): logistic regression on pixels 0.52 / 0.52 at its best strength (0.97 / 0.96 if split
by image), a four-stage network after 10 epochs of AdamW 0.86 / 0.78 at a learning rate of 1e-2 and 0.55 / 0.52 at 1e-4.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.core.data.source import Source

CLASS_NAMES = ("phantom_mild", "phantom_moderate", "phantom_none", "phantom_very_mild")
SLICES_PER_SUBJECT = 6
FEWEST_SUBJECTS = 12  # per class: three for each of four parts, so that no single subject decides a class's recall
_MINIMUM = 5 * FEWEST_SUBJECTS  # with fewer subjects in all, the commonest class would have too few

_SHARES = np.array([896, 64, 3200, 2240]) / 6400
_MEAN_SEVERITY = (0.66, 1.12, 0.0, 0.33)
_SEVERITY_SPREAD = 0.08  # neighbouring grades are 0.33 apart, so some subjects look like another grade

Field = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Phantoms:
    """Slices of many subjects, the slices of each subject in a row.

    Attributes:
        images: (N, size, size) uint8, 0 (air) to 255.
        labels: (N,) int64 in [0, 4), an index into `class_names`; constant within a subject.
        subjects: (N,) int64 in [0, number of subjects).
        class_names: Four names in the order of the labels.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    subjects: NDArray[np.int64]
    class_names: tuple[str, ...] = CLASS_NAMES


@dataclass(frozen=True, eq=False)
class _Anatomy:
    """Properties that a subject's slices share. Lengths are shares of the head's radius unless stated otherwise."""

    severity: float  # 0 healthy, 1 moderate; the only field that depends on the class
    centre: Field  # (2,) x and y, in half image widths
    radius: float  # in half image widths
    aspect: float  # length over width
    tilt: float  # radians
    outline: Field  # (2, 4) amplitudes and phases of the outline's harmonics 2..5
    scalp: float
    skull: float
    folds: Field  # (waves, 3) x and y frequency and phase of the folding pattern
    tissue: Field  # (5,) intensities in [0, 1] of scalp, skull, fluid, grey and white matter
    bias: Field  # (5,) weights of x, y, xy, x^2, y^2 in the coil's log sensitivity
    ventricle: Field  # (5,) size, elongation, opening angle, asymmetry, shift towards the back
    lesions: Field  # (lesions, 4) x, y, radius and intensity change
    noise: float  # standard deviation, in intensity


def open_phantoms() -> Source:
    """Return the default phantoms as a data set of PNG files, grouped by subject."""
    phantoms = make_phantoms()

    def png(index: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(phantoms.images[index]).save(buffer, format="PNG")
        return buffer.getvalue()

    count = len(phantoms.labels)
    return Source(
        class_names=phantoms.class_names,
        labels=phantoms.labels,
        published=np.full(count, ""),
        groups=phantoms.subjects,
        names=[f"phantom {index}" for index in range(count)],
        read_bytes=png,
        has_patient=[True] * count,
        synthetic=True,
    )


def make_phantoms(subjects: int = 200, size: int = 64, seed: int = 0) -> Phantoms:
    """Draw `SLICES_PER_SUBJECT` slices of each of `subjects` subjects: a pure function of its arguments.

    The result is bit-identical for one build of numpy. Another build may round a few grey values differently.

    Args:
        subjects: Number of subjects, at least 5 * `FEWEST_SUBJECTS`.
        size: Side of a slice in pixels, at least 16. The anatomy does not depend on it.
        seed: Non-negative. Each subject has its own random stream.

    Raises:
        ValueError: An argument is below its minimum.
    """
    slices = list(iterate_subjects(subjects, size, seed))
    labels = np.array([label for label, _ in slices], dtype=np.int64)
    return Phantoms(
        images=np.concatenate([images for _, images in slices]),
        labels=np.repeat(labels, SLICES_PER_SUBJECT),
        subjects=np.repeat(np.arange(subjects, dtype=np.int64), SLICES_PER_SUBJECT),
    )


def iterate_subjects(subjects: int, size: int, seed: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield each subject's label and its (`SLICES_PER_SUBJECT`, size, size) uint8 slices; see `make_phantoms`."""
    if subjects < _MINIMUM or size < 16 or seed < 0:
        raise ValueError(
            f"phantoms need subjects >= {_MINIMUM}, size >= 16 and seed >= 0, "
            f"but got subjects={subjects}, size={size}, seed={seed}"
        )
    first, *others = np.random.SeedSequence(seed).spawn(subjects + 1)
    labels = np.random.default_rng(first).permutation(np.repeat(range(len(CLASS_NAMES)), class_sizes(subjects)))
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    for label, sequence in zip(labels.tolist(), others, strict=True):
        generator = np.random.default_rng(sequence)
        anatomy = _draw_anatomy(generator, _MEAN_SEVERITY[label])
        heights = np.linspace(-1, 1, SLICES_PER_SUBJECT) + generator.uniform(-0.1, 0.1, SLICES_PER_SUBJECT)
        yield label, np.stack([_draw_slice(anatomy, height, axis, generator) for height in heights])


def class_sizes(subjects: int) -> list[int]:
    """Divide subjects by the real set's class shares, with at least `FEWEST_SUBJECTS` per class.

    The largest class gives way.
    """
    sizes = np.maximum(np.round(_SHARES * subjects).astype(int), FEWEST_SUBJECTS)
    sizes[sizes.argmax()] += subjects - sizes.sum()
    return [int(count) for count in sizes]


def _draw_anatomy(generator: np.random.Generator, mean_severity: float) -> _Anatomy:
    """Draw one subject. Only its severity depends on the class."""
    uniform = generator.uniform
    waves, lesions = 7, int(generator.integers(0, 6))
    direction, frequency = uniform(0, 2 * np.pi, waves), uniform(7, 13, waves)
    folds = np.stack([frequency * np.cos(direction), frequency * np.sin(direction), uniform(0, 2 * np.pi, waves)], 1)
    angle, distance = uniform(0, 2 * np.pi, lesions), uniform(0.1, 0.6, lesions)
    spots = [distance * np.cos(angle), distance * np.sin(angle), uniform(0.03, 0.09, lesions)]
    return _Anatomy(
        severity=mean_severity + _SEVERITY_SPREAD * generator.standard_normal(),
        centre=uniform(-0.16, 0.16, 2),
        radius=uniform(0.60, 0.76),
        aspect=uniform(1.0, 1.3),
        tilt=uniform(-0.4, 0.4),
        outline=np.stack([uniform(-1, 1, 4) * [0.03, 0.025, 0.015, 0.01], uniform(0, 2 * np.pi, 4)]),
        scalp=uniform(0.03, 0.09),
        skull=uniform(0.04, 0.10),
        folds=folds,
        tissue=uniform([0.55, 0.0, 0.05, 0.40, 0.68], [1.0, 0.15, 0.25, 0.55, 0.95]),
        bias=uniform(-0.3, 0.3, 5),
        ventricle=uniform([0.95, 0.9, 0.8, -0.1, -0.1], [1.05, 1.15, 1.2, 0.1, 0.1]),
        lesions=np.stack([*spots, uniform(-0.4, 0.2, lesions)], 1),
        noise=uniform(0.01, 0.03),
    )


def _draw_slice(anatomy: _Anatomy, height: float, axis: Field, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Draw the slice at a height in about [-1, 1] on the square grid of `axis` (in half image widths)."""
    centre = anatomy.centre + generator.normal(0, 0.005, 2)
    across, down = np.meshgrid(axis - centre[0], axis - centre[1])
    tilt, radius = anatomy.tilt + generator.normal(0, 0.01), anatomy.radius * (1 - 0.02 * height)
    x = (across * np.cos(tilt) + down * np.sin(tilt)) / radius * np.sqrt(anatomy.aspect)
    y = (down * np.cos(tilt) - across * np.sin(tilt)) / radius / np.sqrt(anatomy.aspect)
    angle, orders = np.arctan2(y, x), np.arange(2, 6)[:, None, None]
    amplitude, phase = anatomy.outline[:, :, None, None]
    depth = 1 - np.hypot(x, y) / (1 + (amplitude * np.cos(orders * angle + phase)).sum(0))
    pixel = 2 / len(axis) / radius
    scalp, skull, fluid, grey, white = anatomy.tissue
    brain = depth - anatomy.scalp - anatomy.skull
    mantle = _cortical_depth(anatomy, x, y, brain, height)
    sulcus, cortex = 0.02 + 0.035 * anatomy.severity, 0.12 - 0.04 * anatomy.severity
    image = scalp * _inside(depth, pixel)
    regions = (depth - anatomy.scalp, brain, mantle - sulcus, mantle - sulcus - cortex)
    for region, intensity in zip(regions, (skull, fluid, grey, white), strict=True):
        image += (intensity - image) * _inside(region, pixel)
    for spot_x, spot_y, spot_radius, change in anatomy.lesions:
        image += change * _inside(spot_radius - np.hypot(x - spot_x, y - spot_y), pixel) * _inside(mantle - 0.1, pixel)
    image += (fluid - image) * _inside(_ventricles(anatomy, x, y, height), pixel)
    bias = sum(weight * term for weight, term in zip(anatomy.bias, (x, y, x * y, x * x, y * y), strict=True))
    image = image * np.exp(bias) + generator.normal(0, anatomy.noise, image.shape)
    return np.asarray(np.round(255 * np.clip(image, 0, 1)), dtype=np.uint8)


def _cortical_depth(anatomy: _Anatomy, x: Field, y: Field, brain: Field, height: float) -> Field:
    """Return the approximate depth below the folded surface: brain edge, nearby folds and midline fissure."""
    folds = anatomy.folds[:, :, None, None]
    wave = np.cos(folds[:, 0] * x + folds[:, 1] * y + folds[:, 2] + 0.15 * height).sum(0)
    sulci = 0.07 * np.abs(wave) + 1.2 * np.maximum(brain - 0.2, 0)
    fissure = np.abs(x) + 1.5 * np.maximum(0.5 - np.abs(y), 0)
    return np.asarray(np.minimum(np.minimum(brain, sulci), fissure))


def _ventricles(anatomy: _Anatomy, x: Field, y: Field, height: float) -> Field:
    """Return the approximate depth inside four horns, mirrored at the midline up to the subject's asymmetry."""
    size, elongation, opening, asymmetry, shift = anatomy.ventricle
    scale = 0.078 * size * 2.2**anatomy.severity * (1 - 0.06 * height) * (1 + asymmetry * np.sign(x))
    lean = 0.35 * opening
    horns = []
    for front in (-1, 1):
        across, along = np.abs(x) - 0.13, front * (y - shift) - 0.16
        turned_x = across * np.cos(lean) - along * np.sin(lean)
        turned_y = along * np.cos(lean) + across * np.sin(lean)
        horns.append(scale * (1 - np.hypot(turned_x / scale, turned_y / (1.9 * elongation * scale))))
    return np.asarray(np.maximum(*horns))


def _inside(distance: Field, pixel: float) -> Field:
    """Return the share of a pixel inside an edge `distance` away (negative: outside), which gives soft edges."""
    return np.asarray(np.clip(0.5 + distance / pixel, 0, 1))
