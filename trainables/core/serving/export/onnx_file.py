"""A registered ensemble as one ONNX file, which needs only an ONNX runtime."""

import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.atomic_write import atomic_file
from trainables.core.data.decode.high_bit_depth import scale_to_8_bits
from trainables.core.data.decode.images import PixelFormat
from trainables.core.errors import UserError, first_line, install_extra
from trainables.core.serving.combining.combine_labels import LabelCombination
from trainables.core.serving.ensembles.base import Ensemble
from trainables.core.serving.ensembles.whole_image_ensemble import WholeImageEnsemble
from trainables.core.serving.export.graph import EnsembleGraph

MOST_DIFFERENCE = 1e-4
_PROBE_SHAPES = ((97, 131), (320, 200), (64, 64))  # height and width; wide, tall, and small images
_SQUARE = 16
_FREE_AXES = ("images", "height", "width")
_OPSET = 20


def export_onnx(ensemble: Ensemble, file: Path, digest: str) -> float:
    """Write an ensemble to an ONNX file, and compare the file's answers with the ensemble's.

    The graph's input ``images`` is (N, H, W, channels): uint8, or int32 where the data set has another range than
    0..255. Its output ``probabilities`` is (N, C) float32. N, H and W are free. The file's metadata holds the class
    names, the range of the pixels, how DICOM and NIfTI files become pixels, the digest of the ensemble, its operating
    points and prediction sets, and the thresholds of independent labels.

    Args:
        ensemble: Ensemble of classifiers on the CPU.
        file: File to write. It is replaced only by a file that passes the comparison.
        digest: SHA-256 of the ensemble's files.

    Returns:
        Largest absolute difference between two probabilities, over images of random squares in several sizes.

    Raises:
        UserError: The ensemble cannot be exported, the file's answers differ by more than ``MOST_DIFFERENCE``, or the
            extra ``export`` is not installed.
    """
    classifiers = _exportable(ensemble)
    graph = EnsembleGraph(classifiers).eval()
    probes = [_probe(classifiers.pixel_format, height, width) for height, width in _PROBE_SHAPES]
    with atomic_file(file) as partial:
        try:
            _write(graph, probes[0], partial)
        except Exception as error:  # the exporter raises its own errors, one for each kind of operation
            raise UserError(f"the model cannot be written as ONNX: {first_line(error)}") from error
        _describe(partial, classifiers, digest)
        difference = max(_difference(partial, classifiers, probe) for probe in probes)
        if not difference <= MOST_DIFFERENCE:  # also catches NaN
            raise UserError(
                f"the ONNX file must give the model's probabilities within {MOST_DIFFERENCE:g}, but they differ by "
                f"{difference:.2g}: serve the model with MLflow instead"
            )
    return difference


def answer(file: Path, images: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the (N, C) probabilities that the file gives for (N, H, W, channels) images, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    probabilities: NDArray[np.float32] = session.run(None, {"images": images})[0]
    return probabilities


def _exportable(ensemble: Ensemble) -> WholeImageEnsemble:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"ONNX files need {error.name}: {install_extra('export')}") from error
    if not isinstance(ensemble, WholeImageEnsemble):
        raise UserError("segmentations cannot be written as ONNX: serve them with MLflow")
    if ensemble.roi is not None:
        raise UserError("models that crop images to a region (--roi) cannot be written as ONNX: serve them with MLflow")
    black, white = ensemble.pixel_format.black, ensemble.pixel_format.white
    if white - black > np.iinfo(np.int32).max:
        raise UserError(
            f"pixels of ONNX files must have a range that fits into int32, but this model's is {black} to {white}: "
            "serve it with MLflow"
        )
    return ensemble


def _write(graph: EnsembleGraph, probe: NDArray[np.generic], file: Path) -> None:
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")  # about the exporter's own future
            torch.onnx.export(
                graph,
                (torch.from_numpy(np.repeat(probe, 2, axis=0)),),
                str(file),
                dynamo=True,
                external_data=False,
                verbose=False,
                opset_version=_OPSET,
                input_names=["images"],
                output_names=["probabilities"],
                dynamic_shapes={"images": {axis: torch.export.Dim(name) for axis, name in enumerate(_FREE_AXES)}},
            )
    finally:
        exporter.setLevel(level)


def _describe(file: Path, ensemble: WholeImageEnsemble, digest: str) -> None:
    """Add what a caller must know to the file's metadata."""
    import onnx

    model = onnx.load(str(file))
    pixel_format = ensemble.pixel_format
    metadata = {
        "class_names": json.dumps(list(ensemble.class_names), ensure_ascii=False),
        "channels": str(pixel_format.channels),
        "lowest_pixel": str(pixel_format.black),
        "highest_pixel": str(pixel_format.white),
        "model_sha256": digest,
    }
    shown = asdict(pixel_format)
    metadata |= {name: json.dumps(shown[name]) for name in ("dicom", "window", "slicing") if shown[name]}
    points = ensemble.combination.operating_points(ensemble.class_names)
    if points:
        metadata["operating_points"] = json.dumps([asdict(point) for point in points], ensure_ascii=False)
    if ensemble.combination.sets:
        metadata["prediction_sets"] = json.dumps([asdict(sets) for sets in ensemble.combination.sets])
    if isinstance(ensemble.combination, LabelCombination):
        metadata["thresholds"] = json.dumps(list(ensemble.combination.thresholds))
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, str(file))


def _probe(pixel_format: PixelFormat, height: int, width: int) -> NDArray[np.generic]:
    """Return a (1, height, width, channels) image of squares of 16 pixels with random values in the format's range."""
    dtype = np.int32 if pixel_format.is_deep else np.uint8
    shape = (1, -(-height // _SQUARE), -(-width // _SQUARE), pixel_format.channels)
    rng = np.random.default_rng(0)
    squares = rng.integers(pixel_format.black, pixel_format.white, shape, dtype, endpoint=True)
    return squares.repeat(_SQUARE, axis=1).repeat(_SQUARE, axis=2)[:, :height, :width]


def _difference(file: Path, ensemble: WholeImageEnsemble, probe: NDArray[np.generic]) -> float:
    black, white = ensemble.pixel_format.black, ensemble.pixel_format.white
    expected = ensemble.probabilities(list(scale_to_8_bits(probe.astype(np.int64), black, white)))
    return float(np.abs(answer(file, probe) - expected).max())
