"""Images of a data set that are not what they should be: nearly blank, inverted, or of another depth than the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.decode.survey import Survey
from trainables.core.data.image_kind import NEARLY_BLANK, describe_images, kind_of
from trainables.core.plural import plural

_SHOWN = 5
_FEWEST = 20  # images that are enough to know a usual one
_SHALLOW = 8  # factor by which an image's values fall short of the data set's range


@dataclass(frozen=True)
class OddImages:
    """Findings about the images of a data set, by index.

    Attributes:
        blank: Reason why an image shows nothing. Such images are not trained on.
        inverted: Images whose negatives resemble the others much more than they do.
        shallow: Largest value of each image that uses at most an eighth of the data set's range of values.
        white: Largest value of that range.
        usual: Range of the values without padding and marks, if these stretch the data set's range eightfold.
        black: Smallest value of the data set's range.
    """

    blank: Mapping[int, str]
    inverted: tuple[int, ...]
    shallow: Mapping[int, int]
    white: int
    usual: tuple[int, int] | None = None
    black: int = 0

    def notes(self, names: Sequence[str]) -> list[str]:
        """Return the findings and their remedies, one line each.

        Args:
            names: Names of all images.
        """
        notes = []
        if self.inverted:
            listed = _listed([names[index] for index in self.inverted])
            counted = plural(len(self.inverted), "image looks", "images look")
            notes.append(
                f"{counted} inverted, like MONOCHROME1 exported as it is, because the negative resembles the other "
                f"images more ({listed}): store the negative"
            )
        if self.usual:
            low, high = self.usual
            notes.append(
                f"few grey levels are left: the values of nearly all pixels lie between {low} and {high}, but padding "
                f"or marks stretch the range to {self.black} to {self.white}: set these to {low} or {high}"
            )
        if self.shallow:
            listed = _listed([f"{names[index]} up to {highest}" for index, highest in self.shallow.items()])
            counted = plural(len(self.shallow), "image uses", "images use")
            notes.append(
                f"{counted} at most an eighth of the data set's range, 0 to {self.white}, like 12-bit data in 16-bit "
                f"files, which makes them dark ({listed}): scale all images to the same range"
            )
        return notes


def find_odd_images(pixels: NDArray[np.uint8], usable: NDArray[np.int64], survey: Survey) -> OddImages:
    """Find the odd images of a data set.

    Args:
        pixels: (N, SIDE, SIDE, channels) uint8.
        usable: Sorted indices of the images that can be used.
        survey: Survey of the encoded images.
    """
    white = survey.pixel_format.white
    deep = usable[survey.highest[usable] > 0]
    shallow = {
        int(index): int(survey.highest[index])
        for index in deep[(survey.highest[deep] + 1) * _SHALLOW <= white + 1]
        if survey.pixel_format.black == 0
    }
    deviations = np.exp(describe_images(pixels, usable)[0][:, 1] / 40)
    blank = {int(index): _blank_reason(shallow.get(int(index)), white) for index in usable[deviations < NEARLY_BLANK]}
    rest = usable[deviations >= NEARLY_BLANK]
    inverted: NDArray[np.int64] = rest[:0]
    if len(rest) >= _FEWEST:
        kind = kind_of(pixels, rest, rest, survey.sizes[rest])
        inverted = rest[kind.inverted(*describe_images(pixels, rest))]
    usual = _usual_range(survey, deep)
    return OddImages(blank, tuple(inverted.tolist()), shallow, white, usual, survey.pixel_format.black)


def _usual_range(survey: Survey, deep: NDArray[np.int64]) -> tuple[int, int] | None:
    """Return the range of deep images without padding and marks, or None if these do not stretch it much."""
    if not len(deep):
        return None
    low, high = int(survey.usual[deep, 0].min()), int(survey.usual[deep, 1].max())
    black, white = survey.pixel_format.black, survey.pixel_format.white
    has_padding = black < 2 * min(low, 0) - 1  # without any, -2**n covers just the lowest value
    has_marks = int(survey.highest[deep].max()) > high
    return (low, high) if (has_padding or has_marks) and (high - low) * _SHALLOW <= white - black else None


def _blank_reason(highest: int | None, white: int) -> str:
    if highest is None:
        return f"is blank: its pixels differ by less than {NEARLY_BLANK:g} of 255 levels"
    return f"is nearly black: its values reach {highest}, but those of the data set {white}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
