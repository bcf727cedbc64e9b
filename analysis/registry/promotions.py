"""The champion of a registered model: moving its alias, promotion by a person, and the history of all champions."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from analysis.registry.model_card import HEADING, with_status
from analysis.registry.pages import write_page
from trainables.core.errors import UserError, first_line

CHAMPION, CHALLENGER = "champion", "challenger"
REASON = "tune.alias_reason"  # the tag of a version that was compared with the champion
SEARCH = "tune-run"  # stands for a person where a search makes its own ensemble the champion
PROMOTED_BY = "tune.promoted_by"  # the tag of a version that a person made the champion
_HISTORY = "tune.champion."  # followed by the time, the tags of a model with a JSON of each ``Promotion``


@dataclass(frozen=True)
class Promotion:
    """One change of the champion.

    Attributes:
        version: Version that became the champion.
        previous: Version that was the champion, or None.
        by: User name, or ``tune-run`` if a search made its own ensemble the champion.
        reason: Reason, in one line.
        at: Time in UTC, in ISO format.
    """

    version: str
    previous: str | None
    by: str
    reason: str
    at: str

    def describe(self) -> str:
        """Return one line."""
        before = f"was {self.previous}" if self.previous else "the first"
        return f"{self.at[:16].replace('T', ' ')} UTC: version {self.version} ({before}), by {self.by}: {self.reason}"

    def on_page(self, page: str) -> str:
        """Return the page of the new champion with the reason."""
        promoted = "" if self.by == SEARCH else f"promoted by {self.by} on {self.at[:10]}: "
        return with_status(page, CHAMPION, f"It is the champion: {promoted}{self.reason}.")

    def on_former_page(self, page: str) -> str:
        """Return the page of the previous champion with the version that replaced it."""
        by_search = f"a search replaced it by version {self.version} on {self.at[:10]}: {self.reason}."
        by_person = f"version {self.version} was promoted by {self.by} on {self.at[:10]}: {self.reason}."
        status = by_search if self.by == SEARCH else by_person
        return with_status(page, "former champion", f"It was the champion: {status}")


def make_champion(
    client: MlflowClient, name: str, version: str, previous: str | None, by: str, reason: str
) -> Promotion:
    """Point ``@champion`` at a version, add that to the model's history, and say so on the pages of both versions."""
    promotion = Promotion(version, previous, by, reason, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}")
    client.set_registered_model_alias(name, CHAMPION, version)
    client.set_registered_model_tag(name, f"{_HISTORY}{promotion.at}", json.dumps(asdict(promotion)))
    # A version may be deleted, and the page of one whose search is about to write it is still empty.
    described = {str(each.version): each for each in versions_of(client, name) if each.description}
    if former := described.get(previous or ""):
        write_page(client, former, promotion.on_former_page(former.description))
    if current := described.get(version):
        show_champion(client, name, write_page(client, current, promotion.on_page(current.description)))
    return promotion


def history(tracking_uri: str, name: str) -> list[Promotion]:
    """Return the changes of a model's champion, the first one first.

    Raises:
        UserError: The model does not exist.
    """
    tags = _model(MlflowClient(tracking_uri), name).tags
    return _promotions(tags)


def replaced_by(client: MlflowClient, name: str, version: str) -> Promotion | None:
    """Return the latest change that replaced a champion; None if it is the champion or never was."""
    model = client.get_registered_model(name)
    if str(model.aliases.get(CHAMPION)) == version:
        return None
    return next((one for one in reversed(_promotions(model.tags)) if one.previous == version), None)


def _promotions(tags: Mapping[str, str]) -> list[Promotion]:
    return [Promotion(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(_HISTORY)]


def promote(tracking_uri: str, name: str, version: str | None, by: str, reason: str) -> Promotion:
    """Make a version the champion, whatever its score; searches do not replace it by themselves.

    Args:
        tracking_uri: URI of MLflow, which must answer.
        name: Name of the registered model.
        version: Version to promote; None for the challenger.
        by: User name.
        reason: Reason, in one line.

    Raises:
        UserError: The model or the version does not exist, or the version is the champion already.
    """
    client = MlflowClient(tracking_uri)
    aliases = {alias: str(number) for alias, number in _model(client, name).aliases.items()}
    versions = {str(each.version) for each in versions_of(client, name)}
    known = ", ".join(sorted(versions, key=int))
    version = version or aliases.get(CHALLENGER)
    if version is None:
        raise UserError(f"--version must be given, because {name} has no challenger: choose one of {known}")
    if version not in versions:
        raise UserError(f"--version must be a version of {name} ({known}), but got {version}")
    previous = aliases.get(CHAMPION)
    if previous == version:
        raise UserError(f"--version must not be the champion already, but {version} is: choose one of {known}")
    client.set_model_version_tag(name, version, PROMOTED_BY, by)
    client.set_model_version_tag(name, version, REASON, f"promoted by {by}: {reason}")
    promotion = make_champion(client, name, version, previous, by, reason)
    if aliases.get(CHALLENGER) == version:
        client.delete_registered_model_alias(name, CHALLENGER)
    return promotion


def show_champion(client: MlflowClient, name: str, page: str) -> None:
    """Make the champion's page the model's, unless a person wrote that one."""
    existing = client.get_registered_model(name).description
    if not existing or existing.startswith(HEADING):
        client.update_registered_model(name, description=page)


def versions_of(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Return all versions of a model."""
    return [version for version in client.search_model_versions(f"name = '{name}'") if version.name == name]


def search_of(tracking_uri: str, model: str) -> tuple[str, dict[str, Any]]:
    """Return the search that a version comes from, and the metadata of its model.

    Args:
        tracking_uri: URI of MLflow, which must answer.
        model: ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``.

    Raises:
        UserError: The version does not exist or is not of a search.
    """
    client, found = MlflowClient(tracking_uri), re.fullmatch(r"models:/([^/:@']+)(?:/(\d+)|@(.+))", model)
    if found is None:
        raise UserError(f"a version must be models:/NAME/VERSION or models:/NAME@ALIAS, but got {model}")
    try:
        version = (
            client.get_model_version(found[1], found[2])
            if found[2]
            else client.get_model_version_by_alias(found[1], found[3])
        )
        metadata = mlflow.models.get_model_info(version.source).metadata or {}
        return version.tags["search"], metadata
    except (MlflowException, KeyError) as error:
        raise UserError(
            f"{model} must be a version that a search registered, but is not: {first_line(error)}"
        ) from error


def parse_model(model: str) -> tuple[str, str | None]:
    """Return the name and the version in ``NAME``, ``models:/NAME`` or ``models:/NAME/VERSION``.

    Raises:
        UserError: The text is something else.
    """
    found = re.fullmatch(r"(?:models:/)?([^/:@']+)(?:/(\d+))?", model)
    if found is None:
        raise UserError(f"MODEL must be the name of a registered model, or models:/NAME/VERSION, but got {model}")
    return found[1], found[2]


def _model(client: MlflowClient, name: str) -> RegisteredModel:
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        known = ", ".join(sorted(model.name for model in client.search_registered_models())) or "none"
        raise UserError(f"MODEL must be a registered model ({known}), but got {name}") from error
