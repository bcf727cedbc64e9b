"""The reference is complete: every option, every configuration key, every metric, every search space."""

import dataclasses
import re

import numpy as np
import pytest

from docs.hooks.config_keys import MEANINGS
from docs.hooks.reference import SECTIONS, commands
from search_spaces.space import shipped_spaces
from tests.docs.pages import FILES, ROOT
from trainables.core.config import CONFIGS, TrainConfig
from trainables.core.metric_names import LATENCY, METRICS, MINIMIZED, PATIENT
from trainables.core.training.metrics.classification_metrics import classification_metrics
from trainables.core.training.metrics.multi_label_metrics import multi_label_metrics
from trainables.core.training.metrics.segmentation_metrics import segmentation_metrics


def marked(page):
    return re.findall(r"<!-- generated: (\S+) -->", (ROOT / page).read_text())


@pytest.mark.parametrize("name", commands())
def test_every_option_is_in_the_reference(name):
    section = SECTIONS[name]()
    assert name in marked("docs/reference/commands.md")
    for param in commands()[name].params:
        for flag in [*param.opts, *param.secondary_opts]:
            assert flag in section or flag.upper() in section
    assert "<br" not in section and "None" not in section


def test_every_configuration_key_is_in_the_reference():
    shared = [field.name for field in dataclasses.fields(TrainConfig)]
    assert list(MEANINGS["shared"]) == shared
    for task, config in CONFIGS.items():
        own = [field.name for field in dataclasses.fields(config) if field.name not in shared]
        assert list(MEANINGS[task]) == own
    assert marked("docs/reference/config.md") == ["shared", *CONFIGS]
    assert (
        "| `momentum` | Momentum of SGD. | float, >= 0 and < 1 | `0.9` | `optimizer`: `sgd` |" in SECTIONS["shared"]()
    )
    page = (ROOT / "docs/reference/config.md").read_text() + "".join(SECTIONS[name]() for name in MEANINGS)
    for config in CONFIGS.values():
        for field in dataclasses.fields(config):
            for choice in field.metadata["rule"].choices:
                assert f"`{choice}`" in page


def test_every_metric_is_in_the_reference():
    page = (ROOT / "docs/reference/metrics.md").read_text()
    uniform = np.full((4, 2), 0.5)
    classes = classification_metrics(uniform, np.array([0, 0, 1, 1]), ("healthy", "ill"), healthy="healthy")
    masks = segmentation_metrics(np.ones((2, 1, 3)), ("lung",))
    labels = multi_label_metrics(uniform, np.array([[0, 1], [1, 0], [1, 1], [0, 0]]), ("mass", "nodule"))
    names = {name for name in [*classes, *masks, *labels] if "/" not in name} | {metric.name for metric in METRICS}
    for name in [*names, *MINIMIZED, LATENCY]:
        assert f"`{name.removeprefix(PATIENT)}`" in page
    for name in classes:
        assert "/" not in name or f"`{name.partition('/')[0]}/<class>`" in page
    for name in labels:
        assert "/" not in name or f"`{name.partition('/')[0]}/<label>`" in page


def test_every_space_is_in_the_reference():
    assert marked("docs/reference/spaces.md") == ["spaces"]
    for space in shipped_spaces():
        assert f"`{space.name}`" in SECTIONS["spaces"]()


def test_every_generated_section_exists():
    for file in FILES:
        assert set(marked(file)) <= set(SECTIONS)
