"""Pages of registered versions, within the length that MLflow's registry stores."""

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

LIMIT = 5000  # characters of a description in MLflow's tables; SQLite stores more, PostgreSQL refuses them
_FOR_REST = 1500  # characters that a long card leaves to the text after it


def write_page(client: MlflowClient, version: ModelVersion, card: str, rest: str = "") -> str:
    """Write the page of a version and return it. What does not fit is a file of the version's run.

    Args:
        client: Client of the registry and the tracking server.
        version: Version to describe.
        card: Markdown of its card.
        rest: Markdown after the card, of which at least the first 1,500 characters are shown.
    """
    file = f"model-card-of-version-{version.version}.md"
    last = f"Shortened: the full card is `{file}` of run `{version.run_id}`."
    room = LIMIT - min(len(rest), _FOR_REST)
    if len(card) > room and last not in card:
        client.log_text(version.run_id, card, file)
    page = fitted(fitted(card, last, room) + rest, last)
    client.update_model_version(version.name, version.version, description=page)
    return page


def fitted(page: str, last: str, limit: int = LIMIT) -> str:
    """Cut a page that is too long after a line and outside of code, and end it with another last line."""
    if len(page) <= limit:
        return page
    cut = page[: limit - len(last) - 1].rpartition("\n")[0]
    if cut.count("```") % 2:
        cut = cut.rpartition("```")[0]
    return f"{cut.rstrip()}\n\n{last}"
