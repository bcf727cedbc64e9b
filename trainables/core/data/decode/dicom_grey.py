"""Grey values of DICOM pixels as a viewer shows them: modality LUT or rescale, then VOI LUT or window."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables.core.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset


def shown_grey(dataset: "Dataset", samples: NDArray[Any]) -> NDArray[np.float64]:
    """Return the grey values, 0 for the darkest and 1 for the brightest that can be displayed."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    values = samples.astype(np.float64)
    if dataset.get("ModalityLUTSequence"):
        values = _look_up(dataset.ModalityLUTSequence[0], values)
    elif dataset.get("RescaleSlope") == 0:
        raise DataError("its RescaleSlope is 0, which makes all pixels equal: repair or remove it")
    else:
        values = apply_modality_lut(samples, dataset).astype(np.float64)
    if dataset.get("VOILUTSequence"):
        table = dataset.VOILUTSequence[0]
        return _look_up(table, values) / (2.0 ** int(table.LUTDescriptor[2]) - 1)
    if _has_window(dataset):
        darkest, brightest = _range_of_values(dataset)
        return np.asarray((apply_voi_lut(values, dataset) - darkest) / (brightest - darkest))
    return _stretched(values, _is_padding(dataset, samples))


def _look_up(table: "Dataset", values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entry of a LUT for each value. pydicom's own functions wrap indices into 8-bit entries at 256."""
    first, data = int(table.LUTDescriptor[1]), table.LUTData
    if first >= 2**15 and values.min() < 0:  # without a VR in the file, pydicom reads a signed value as unsigned
        first -= 2**16
    if isinstance(data, bytes):
        length = int(table.LUTDescriptor[0]) or 2**16
        data = np.frombuffer(data, "u1" if len(data) < 2 * length else "<u2")[:length]
    entries = np.atleast_1d(np.asarray(data)).astype(np.float64)
    return np.asarray(entries[np.clip(values.round().astype(np.int64) - first, 0, len(entries) - 1)])


def _is_padding(dataset: "Dataset", samples: NDArray[Any]) -> NDArray[np.bool_]:
    """Return True for samples outside the image, such as the corners of a round field of view."""
    padding = dataset.get("PixelPaddingValue")
    if padding is None:
        return np.zeros(samples.shape, dtype=np.bool_)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(padding), int(padding if limit is None else limit)))
    return np.asarray((samples >= low) & (samples <= high))


def _stretched(values: NDArray[np.float64], is_padding: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return values from 0 for the lowest to 1 for the highest that is no padding."""
    used = values if is_padding.all() else values[~is_padding]
    return np.asarray((values - used.min()) / max(float(np.ptp(used)), 1e-9))


def _range_of_values(dataset: "Dataset") -> tuple[float, float]:
    """Return the lowest and the highest storable value after the modality LUT."""
    if dataset.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    bits, signed = int(dataset.BitsStored), dataset.PixelRepresentation == 1
    lowest, highest = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        return lowest, highest
    return lowest * float(slope) + float(intercept), highest * float(slope) + float(intercept)


def _has_window(dataset: "Dataset") -> bool:
    """Return True if there is a window. Raise DataError if it has no meaning."""
    try:
        found = [dataset.get(tag) for tag in ("WindowCenter", "WindowWidth")]
        if None in found:
            return False
        centre, width = (float(np.ravel(value)[0]) for value in found)
    except (TypeError, ValueError):  # their messages quote the value
        raise DataError(
            "center and width of a DICOM window must be numbers, but these are not: repair or remove them, or replace "
            "all windows with --window"
        ) from None
    least = 1 if dataset.get("VOILUTFunction", "LINEAR") == "LINEAR" else np.finfo(float).tiny
    if not (np.isfinite(centre) and least <= width < np.inf):
        raise DataError(f"the width of a DICOM window must be at least 1, but is {width:g}: repair or remove it")
    return True
