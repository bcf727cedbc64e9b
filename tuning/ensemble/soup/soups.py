"""Networks with the average weights of trials: making them, and predicting with them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from trainables.core.data.dataset import Dataset
from trainables.core.device import resolve_device
from trainables.core.models.checkpoints.checkpoint import save_checkpoint
from trainables.core.models.soup import average, with_batch_norm_of
from trainables.worker.checkpoint_io import FOLDER, read_models
from tuning.ensemble.build import Infer


class Soups:
    """Averages of trials' weights, and their predictions on the split that ensembles are chosen on.

    Args:
        checkpoints: Checkpoints of the trials, each of one network.
        data: Data set of the search.
        infer: Inference on it.
    """

    def __init__(self, checkpoints: Sequence[str], data: Dataset, infer: Infer):
        self._checkpoints, self._data, self._infer = checkpoints, data, infer
        self._predictions: dict[tuple[int, ...], NDArray[Any]] = {}

    def predict(self, ingredients: tuple[int, ...]) -> NDArray[Any]:
        """Return the (N, C) predictions of a soup. They are computed once; the network is not kept."""
        if ingredients not in self._predictions:
            with tempfile.TemporaryDirectory() as folder:
                (predicted,) = self._infer([self.make(ingredients, folder)], self._data.selection)
            self._predictions[ingredients] = predicted
        return self._predictions[ingredients]

    def make(self, ingredients: tuple[int, ...], folder: str) -> str:
        """Return the path of a soup's checkpoint in a folder; a soup of one trial is the checkpoint of that trial.

        Args:
            ingredients: Positions of the trials to average.
            folder: Folder to write to.
        """
        chosen = [self._checkpoints[position] for position in ingredients]
        if len(chosen) == 1:
            return chosen[0]
        soup = average(model for place in chosen for model in read_models(place))
        images, rows = self._data.images(soup.config.image_size), self._data.splits[self._data.training]
        soup = with_batch_norm_of(soup, images, rows, resolve_device("auto"))
        place = f"{folder}/soup-{'-'.join(map(str, ingredients))}"
        save_checkpoint(Path(place) / FOLDER, soup)
        return place
