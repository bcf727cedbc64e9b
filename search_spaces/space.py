"""What a search space is, how one is found by its name, and how its recipes are checked."""

import difflib
import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.core.data.splits.splits import SHARES

if TYPE_CHECKING:
    import optuna

Config = dict[str, Any]
Params = Mapping[str, Any]


class SpaceError(Exception):
    """A space cannot be found, or one of its recipes is not complete; the message is one line with the remedy."""


@dataclass(frozen=True)
class SearchSpace:
    """A conditional, define-by-run search space.

    Attributes:
        name: Names the search, the MLflow experiment and the registered model.
        title: One line for ``tune-run --list``.
        suggest: From an Optuna trial and the backbones to choose from to the keys of a ``TrainConfig`` that are
            searched or fixed by the space. It must read the trial alone: for the same parameters, the same config.
        backbones: What ``suggest`` chooses from by default.
        recipes: Functions that give the parameters of known-good trials, tried first, in order.
        data: Where the images are by default.
        image_size: Default side of the network's input in pixels.
        epochs: Default epochs of a full trial.
        num_samples: Default number of trials.
        weights: Default of ``--weights``.
        healthy: The class without a disease, for the metric ``clinical`` and for sensitivities.
        group_pattern: What of a file's name names the group of images that must not be split, where every file's name
            has it: a regular expression as ``--group-pattern`` takes it, which goes before it.
        top_k: Default number of members to build the ensemble from.
        tta: Default of ``--tta``.
        test_share: The test set's share of the images where none was published.
        task: ``classification`` of images, or ``segmentation``: the keys are those of its ``TrainConfig``.
        metric: Default objective.
    """

    name: str
    title: str
    suggest: Callable[["optuna.trial.BaseTrial", Sequence[str]], Config]
    backbones: tuple[str, ...]
    data: str
    recipes: tuple[Callable[[], Params], ...] = ()
    image_size: int = 224
    epochs: int = 20
    num_samples: int = 50
    weights: str = "pretrained"
    healthy: str | None = None
    group_pattern: str | None = None
    top_k: int = 5
    tta: str = "none"
    test_share: float = SHARES["test"]
    task: str = "classification"
    metric: str = "balanced_accuracy"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w\-]+", self.name):
            raise SpaceError(f"a space's name must be letters, digits, _ and - alone, but got {self.name!r}")
        if self.top_k < 1:
            raise SpaceError(f"top_k must be at least 1, but {self.name} has {self.top_k}")
        if not 0 < self.test_share < 1:
            raise SpaceError(f"test_share must be between 0 and 1, but {self.name} has {self.test_share:g}")
        try:
            re.compile(self.group_pattern or "")
        except re.error as error:
            raise SpaceError(f"group_pattern of {self.name} must be a regular expression, but: {error}") from error

    def recipe_params(self, backbones: Sequence[str]) -> list[dict[str, Any]]:
        """The recipes' parameters, each checked to be complete.

        A recipe whose backbone is not among ``backbones`` keeps its treatment on the first of them; recipes that
        become equal by that are tried once.

        Raises:
            SpaceError: A recipe leaves out a parameter that its branch asks for, sets one that nothing reads, or one
                outside its range.
        """
        params: list[dict[str, Any]] = []
        for recipe in self.recipes:
            values = dict(recipe())
            if "backbone" in values and values["backbone"] not in backbones:
                values["backbone"] = backbones[0]
            self._check(recipe.__name__, values, backbones)
            if values not in params:
                params.append(values)
        return params

    def _check(self, name: str, values: dict[str, Any], backbones: Sequence[str]) -> None:
        import warnings

        import optuna

        trial = optuna.trial.FixedTrial(values)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is refused below
                self.suggest(trial, backbones)
        except ValueError as error:
            raise SpaceError(f"recipe {name} of {self.name} must fit the space, but: {error}") from error
        for key, distribution in trial.distributions.items():
            if not distribution._contains(distribution.to_internal_repr(values[key])):
                raise SpaceError(
                    f"recipe {name} of {self.name} must set {key} within {distribution}, not {values[key]!r}"
                )
        unread = sorted(set(values) - set(trial.distributions))
        if unread:
            raise SpaceError(f"recipe {name} of {self.name} sets {', '.join(unread)}, which its branch never reads")


def shipped_spaces() -> list[SearchSpace]:
    """The spaces of this package, by name."""
    import search_spaces

    names = sorted(module.name for module in pkgutil.iter_modules(search_spaces.__path__))
    modules = [f"search_spaces.{name}" for name in names if name.endswith("_space")]
    return [_checked(importlib.import_module(module).SPACE, module) for module in modules]


def load_space(reference: str) -> SearchSpace:
    """Finds a space by ``name``, ``package.module:SPACE`` or ``file.py`` (its ``SPACE``).

    Raises:
        SpaceError: There is none.
    """
    if reference.endswith(".py"):
        return _space_in_file(Path(reference))
    module, _, attribute = reference.partition(":")
    if attribute:
        return _space_in(module, attribute)
    shipped = {space.name: space for space in shipped_spaces()}
    if reference not in shipped:
        near = difflib.get_close_matches(reference, shipped, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise SpaceError(
            f"a space is one of {', '.join(shipped)}, a file.py or package.module:SPACE, but got {reference!r}{hint}"
        )
    return shipped[reference]


def _space_in(module: str, attribute: str) -> SearchSpace:
    sys.path.insert(0, "")  # a console script does not have the user's folder on its path
    try:
        return _checked(getattr(importlib.import_module(module), attribute, None), f"{module}:{attribute}")
    except SpaceError:
        raise
    except Exception as error:
        message = f"the space {module}:{attribute} cannot be imported: {type(error).__name__}: {error}"
        raise SpaceError(message) from error
    finally:
        sys.path.remove("")


def _space_in_file(file: Path) -> SearchSpace:
    if not file.is_file():
        raise SpaceError(f"a space's file must exist, but {file} does not")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise SpaceError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.resolve().parent))  # as a script's folder is: it may import what lies beside it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SpaceError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.resolve().parent))
    return _checked(getattr(module, "SPACE", None), f"{file}:SPACE")


def _checked(found: object, where: str) -> SearchSpace:
    if not isinstance(found, SearchSpace):
        raise SpaceError(f"{where} must be a SearchSpace, but is {type(found).__name__}")
    return found
