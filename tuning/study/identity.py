"""The identity of a search: the settings that must not change on resume, and the message that names a change."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import optuna

from trainables.core.errors import UserError
from tuning.study.data_request import DataRequest

# Keys in the study. Existing studies hold them: do not change them.
_IDENTITY = "identity"
_DATA = "data"

IMAGES, SPACE, HEALTHY, PATIENTS = "images", "space contents", "healthy", "patient fingerprint"
STORAGE = "storage"
# Not compared if an older version did not save them.
_NEWER = {IMAGES, SPACE, HEALTHY, PATIENTS, STORAGE}
_OPTIONS = {
    "metric": "--metric",
    "second metric": "second --metric",
    "max-epochs": "--max-epochs",
    "image-size": "--image-size",
    "weights": "--weights",
    "backbones": "--backbone",
    "seed": "--seed",
    "cv-folds": "--cv-folds",
    "pruning": "--pruning",
    "roi": "--roi",
    "warm-start": "--warm-start",
    "tracking-uri": "MLflow server (--tracking-uri, MLFLOW_TRACKING_URI)",
    HEALTHY: "space's healthy class",
    STORAGE: "--storage",
}
# Options that decide which images there are and how they are divided, by their place in a ``DataRequest``.
_DATA_OPTIONS = {
    "place": "--data",
    "split": "--split",
    "folds": "--cv-folds",
    "seed": "--seed",
    "skip_bad_images": "--skip-bad-images",
    "window": "--window",
    "slicing": "--axis or --slices",
    "slicing axis": "--axis",
    "slicing count": "--slices",
    "healthy": "space's healthy class",
    "test_share": "space's test_share",
    "grouping threshold": "--group-threshold",
    "grouping column": "--group-column",
    "grouping pattern": "--group-pattern",
    "grouping file": "--groups",
    "grouping usual_pattern": "space's group_pattern",
    "table": "--labels",
    "table files": "--labels",
    "table image": "--image-column",
    "table label": "--label-column",
    "table group": "--group-column",
    "table split": "--split-column",
}


def check_identity(study: optuna.Study, identity: Mapping[str, Any], request: DataRequest | None = None) -> None:
    """Save the identity of a new search, or compare it with the saved one.

    A missing key counts as None, except for those that older versions did not save: they are not compared.

    Args:
        study: Study of the search.
        identity: Settings that must not change.
        request: Arguments that the data was prepared from, which explain why images or splits differ.

    Raises:
        UserError: Something differs; the message names the first option or file, and both values.
    """
    saved = study.user_attrs.get(_IDENTITY)
    if saved is None:
        study.set_user_attr(_IDENTITY, dict(identity))
        return
    for key, value in identity.items():
        if key in _NEWER and key not in saved:
            continue
        if key == IMAGES and set(saved[key]) == set(value) and list(saved[key]) != list(value):
            raise _must_keep("order of the classes (--ordered, --unordered)", list(saved[key]), list(value))
        change = _first_change(saved.get(key), value)
        if change is None:
            continue
        if key == IMAGES or "fingerprint" in key:
            raise _data_changed(study, key, change, request)
        name = f"{identity['space']} space's {change[0]}" if key == SPACE else _OPTIONS.get(key, key)
        raise _must_keep(name, *change[1:])


def _must_keep(name: str, before: Any, after: Any) -> UserError:
    return UserError(
        f"a resumed search must keep its {name}, but {before!r} became {after!r}: use the original value, or start a "
        "new search with --name"
    )


def _data_changed(
    study: optuna.Study, key: str, change: tuple[str, Any, Any], request: DataRequest | None
) -> UserError:
    saved = study.user_attrs.get(_DATA)
    if saved is not None and request is not None:
        now = asdict(request)
        for name, option in _DATA_OPTIONS.items():
            before, after = _at(saved, name), _at(now, name)
            if before != after and not (isinstance(before, Mapping) and isinstance(after, Mapping)):
                return _must_keep(option, before, after)
    place = request.place if request else "the data set"
    if key == IMAGES:
        return _must_keep(f"images in {place}: class {change[0]}", change[1], change[2])
    if key == "data fingerprint":
        remedy = "restore them, or start a new search with --name"
        return UserError(f"a resumed search must keep its images, but those in {place} have other contents: {remedy}")
    if key == PATIENTS:
        remedy = "use the same groups, or start a new search with --name"
        return UserError(f"a resumed search must keep its patients, but those of {place} have changed: {remedy}")
    return UserError(
        f"a resumed search must keep its {key.removesuffix(' fingerprint')} split, but this version divides the same "
        "images differently: use the version that began the search, or start a new search with --name"
    )


def _at(saved: Mapping[str, Any], path: str) -> Any:
    value: Any = saved
    for part in path.split(" "):
        value = value.get(part) if isinstance(value, Mapping) else None
    return list(value) if isinstance(value, tuple) else value


def _first_change(before: Any, after: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """Return the path, the old and the new value of the first difference of two nested values."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return None if before == after else (path, before, after)
    for key in [*before, *(key for key in after if key not in before)]:
        change = _first_change(before.get(key), after.get(key), f"{path} {key}".strip())
        if change is not None:
            return change
    return None
