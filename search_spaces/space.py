"""The search space class, the lookup of a space by name or file, and the check of its recipes."""

import difflib
import importlib
import importlib.util
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.core.config import CONFIGS
from trainables.core.data.grades import Ordered
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.splits.splits import SHARES
from trainables.core.errors import UserError, describe

if TYPE_CHECKING:
    import optuna

Config = dict[str, Any]
Params = Mapping[str, Any]

DEFAULT_METRICS = {"classification": "balanced_accuracy", "multi_label": "auroc", "segmentation": "dice"}
_COUNTS = ("image_size", "epochs", "num_samples", "top_k")
_TUPLES: dict[str, tuple[Any, str]] = {
    "backbones": (str, '("resnet18",)'),
    "recipes": (Callable, "(published_baseline,)"),
    "portfolio": (Mapping, "portfolio()"),
}


class SpaceError(UserError):
    """A space cannot be loaded or is invalid, or one of its recipes does not fit it."""


@dataclass(frozen=True)
class SearchSpace:
    """A conditional, define-by-run search space.

    Attributes:
        name: Default name of the search; also of the MLflow experiment and the registered model.
        title: One-line description for ``tune-run --list``.
        suggest: Function of an Optuna trial and the available backbones. It returns the ``TrainConfig`` keys that the
            space searches or fixes. It must be deterministic: equal parameters give an equal config.
        backbones: Default backbones that ``suggest`` chooses from.
        data: Default data set.
        table: Default table of labels, ``LabelTable(("labels.csv",))``, with its columns; None if the layout of the
            images gives the labels.
        recipes: Functions that return the parameters of known-good trials. They are tried early, in order.
        portfolio: Parameters that did well on other data sets, see ``search_spaces.portfolio``. They are tried before
            the recipes, with the nearest values that the space offers.
        image_size: Default side of the network's input in pixels.
        epochs: Default number of epochs of a full trial.
        num_samples: Default number of trials.
        weights: Default of ``--weights``.
        healthy: Class without a disease, for the metric ``clinical`` and for sensitivities.
        ordered: Class names from the lowest to the highest grade, if the classes are grades. True sorts them by the
            number in each name, None does so if all names are numbers, and False means no grades. ``--ordered`` and
            ``--unordered`` override it.
        group_pattern: Regular expression that finds the group in a file name, as for ``--group-pattern``, which
            overrides it. It is only used if it matches every file name.
        top_k: Default number of trials to build the ensemble from.
        tta: Default of ``--tta``.
        test_share: Share of the images in the test set if no test split was published.
        task: ``classification``, ``multi_label`` or ``segmentation``; decides which ``TrainConfig`` the keys are for.
        metric: Default metric to optimise; "" for that of the task: ``balanced_accuracy``, ``auroc`` or ``dice``.
    """

    name: str
    title: str
    suggest: Callable[["optuna.trial.BaseTrial", Sequence[str]], Config]
    backbones: tuple[str, ...]
    data: str
    table: LabelTable | None = None
    recipes: tuple[Callable[[], Params], ...] = ()
    portfolio: tuple[Params, ...] = ()
    image_size: int = 224
    epochs: int = 20
    num_samples: int = 50
    weights: str = "pretrained"
    healthy: str | None = None
    ordered: Ordered = None
    group_pattern: str | None = None
    top_k: int = 5
    tta: str = "none"
    test_share: float = SHARES["test"]
    task: str = "classification"
    metric: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w\-]+", self.name):
            raise SpaceError(f"the name of a space must contain only letters, digits, _ and -, but got {self.name!r}")
        if self.task not in CONFIGS:
            raise SpaceError(f"task must be one of {', '.join(CONFIGS)}, but {self.name} has {self.task!r}")
        object.__setattr__(self, "metric", self.metric or DEFAULT_METRICS[self.task])
        for field in _COUNTS:
            count = getattr(self, field)
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise SpaceError(f"{field} must be a whole number of at least 1, but {self.name} has {count!r}")
        for field, (kind, example) in _TUPLES.items():
            values = getattr(self, field)
            if isinstance(values, str) or not isinstance(values, Sequence):
                raise SpaceError(f"{field} must be a tuple such as {example}, but {self.name} has {values!r}")
            for value in values:
                if not isinstance(value, kind):
                    raise SpaceError(f"{field} must be a tuple such as {example}, but {self.name} has {value!r} in it")
        if not self.backbones:
            raise SpaceError(f"backbones must name at least one, but {self.name} has none")
        if not 0 < self.test_share < 1:
            raise SpaceError(f"test_share must be between 0 and 1, but {self.name} has {self.test_share:g}")
        if not isinstance(self.ordered, bool | None) and not _is_list_of_grades(self.ordered):
            raise SpaceError(
                "ordered must be True, False or a tuple of different class names from the lowest to the highest grade, "
                f"but {self.name} has {self.ordered!r}"
            )
        try:
            re.compile(self.group_pattern or "")
        except re.error as error:
            raise SpaceError(f"group_pattern of {self.name} must be a regular expression: {error}") from error

    def configuration(self, trial: "optuna.trial.BaseTrial", backbones: Sequence[str]) -> Config:
        """Return the configuration that ``suggest`` makes of a trial.

        Raises:
            SpaceError: ``suggest`` raises an error, or returns no dict.
            OSError: The trial's study is not writable.
            StorageInternalError: The trial's study cannot be reached.
        """
        from optuna.exceptions import StorageInternalError

        try:
            config = self.suggest(trial, backbones)
        except (UserError, OSError, StorageInternalError):
            raise
        except Exception as error:
            raise SpaceError(f"suggest of {self.name} fails{_place(error)}: {describe(error)}") from error
        if not isinstance(config, Mapping):
            raise SpaceError(f"suggest of {self.name} must return a dict, but returned {config!r}")
        return dict(config)

    def recipe_params(self, backbones: Sequence[str]) -> list[dict[str, Any]]:
        """Return the parameters of the recipes, after checking that each fits the space.

        A recipe whose backbone is not in ``backbones`` uses the first of them. Recipes that become equal are listed
        once.

        Raises:
            SpaceError: A recipe raises an error, lacks a parameter that its branch reads, sets one that the branch
                does not read, or sets one outside its range.
        """
        params: list[dict[str, Any]] = []
        for recipe in self.recipes:
            try:
                values = dict(recipe())
            except Exception as error:
                raise SpaceError(f"recipe {recipe.__name__} of {self.name} fails: {describe(error)}") from error
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
                warnings.simplefilter("ignore")  # about values out of range, which raise below
                self.configuration(trial, backbones)
            read = {key: values[key] for key in trial.distributions}
            optuna.trial.create_trial(params=read, distributions=trial.distributions, value=0.0)
        except (SpaceError, ValueError) as error:
            raise SpaceError(f"recipe {name} of {self.name} does not fit the space: {error}") from error
        unread = sorted(values.keys() - read.keys())
        if unread:
            raise SpaceError(f"recipe {name} of {self.name} sets {', '.join(unread)}, which its branch does not read")


def _place(error: Exception) -> str:
    """Return the line of the space's file in which an error was raised; "" for an error of the call itself."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    of_space = [frame for frame in frames if frame.filename == frames[0].filename]
    return f" in {of_space[-1].filename}, line {of_space[-1].lineno}" if of_space else ""


def _is_list_of_grades(ordered: object) -> bool:
    return isinstance(ordered, tuple) and len(set(ordered)) == len(ordered) > 1


def shipped_spaces() -> list[SearchSpace]:
    """Return the spaces of this package, sorted by name."""
    import search_spaces

    names = sorted(module.name for module in pkgutil.iter_modules(search_spaces.__path__))
    modules = [f"search_spaces.{name}" for name in names if name.endswith("_space")]
    return [_checked(importlib.import_module(module).SPACE, module) for module in modules]


def load_space(reference: str) -> SearchSpace:
    """Load a space by ``name``, ``package.module:SPACE`` or ``file.py``, which must define ``SPACE``.

    Raises:
        SpaceError: The space does not exist or cannot be loaded.
    """
    if reference.endswith(".py"):
        return _space_in_file(Path(reference))
    module, _, attribute = reference.partition(":")
    if attribute:
        return _space_in(module, attribute)
    shipped = {space.name: space for space in shipped_spaces()}
    if reference not in shipped:
        file = f"{reference}.py"
        near = [file] if Path(file).is_file() else difflib.get_close_matches(reference, shipped, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise SpaceError(
            f"a space must be one of {', '.join(shipped)}, a file.py or package.module:SPACE, "
            f"but got {reference!r}{hint}"
        )
    return shipped[reference]


def _space_in(module: str, attribute: str) -> SearchSpace:
    sys.path.insert(0, "")  # a console script does not search the current folder
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
        raise SpaceError(f"the file of a space must exist, but {file} does not")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise SpaceError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.resolve().parent))  # as for a script, so that it can import its neighbours
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SpaceError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.resolve().parent))
    return _checked(getattr(module, "SPACE", None), f"{file}:SPACE")


def _checked(space: object, reference: str) -> SearchSpace:
    if not isinstance(space, SearchSpace):
        raise SpaceError(f"{reference} must be a SearchSpace, but is {type(space).__name__}")
    return space
