"""JSON form of ensembles and their scores. Studies and MLflow hold it, so its keys must not change."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from cattrs import Converter
from cattrs.gen import make_dict_unstructure_fn, override

from analysis.ensembles.evaluation import Evaluation
from analysis.statistics.diversity import Diversity
from analysis.trials import TrialRecord
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.combining.combine_labels import LabelCombination

_Value = TypeVar("_Value")


def to_json(value: Any) -> dict[str, Any]:
    """Convert a dataclass to a dict for JSON. A trial becomes its number."""
    plain: dict[str, Any] = _converter({}).unstructure(value)
    return plain


def from_json(raw: Mapping[str, Any], kind: type[_Value], trials: Mapping[int, TrialRecord] | None = None) -> _Value:
    """Restore what ``to_json`` made, also after a round trip through JSON.

    Args:
        raw: Parsed JSON. A missing key takes the default of its field; an unknown key is ignored.
        kind: Dataclass to build.
        trials: Trials by number, for dataclasses that hold trials.
    """
    return _converter(trials or {}).structure(raw, kind)


def _converter(trials: Mapping[int, TrialRecord]) -> Converter:
    converter = Converter()
    converter.register_structure_hook(TrialRecord, lambda number, _: trials[number])
    converter.register_unstructure_hook(TrialRecord, lambda record: record.number)
    converter.register_unstructure_hook(Diversity, _with_means)
    shortened = make_dict_unstructure_fn(Evaluation, converter, count=override(omit_if_default=True))
    converter.register_unstructure_hook(Evaluation, shortened)
    plain = converter.get_structure_hook(Combination)
    converter.register_structure_hook(
        Combination, lambda raw, _: LabelCombination.from_dict(raw) if "thresholds" in raw else plain(raw, Combination)
    )
    converter.register_unstructure_hook(Combination, lambda combination: combination.to_dict())
    return converter


def _with_means(diversity: Diversity) -> dict[str, Any]:
    means = {
        "mean_disagreement": diversity.mean_disagreement,
        "mean_error_correlation": diversity.mean_error_correlation,
    }
    return asdict(diversity) | means
