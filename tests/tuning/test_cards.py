import json

import pytest

from tuning import cards


@pytest.mark.parametrize(
    ("memories", "expected"),  # as nvidia-smi tells them, MiB
    [
        ([], {}),
        ([11264], {}),  # a GTX 1080 Ti
        ([15360], {"gpu_16g": 1}),  # a T4
        ([23034], {"gpu_16g": 1, "gpu_24g": 1}),  # an L4
        ([40960, 40960], {"gpu_16g": 2, "gpu_24g": 2, "gpu_40g": 2}),  # two A100 of 40 GB
        ([81559, 23034], {"gpu_16g": 2, "gpu_24g": 2, "gpu_40g": 1, "gpu_80g": 1}),  # an H100 beside an L4
    ],
)
def test_a_card_is_of_every_class_that_it_is_large_enough_for(memories, expected):
    assert cards.card_classes(memories) == expected


def test_a_node_without_nvidia_smi_has_none(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    cards.main()
    assert json.loads(capsys.readouterr().out) == {}
