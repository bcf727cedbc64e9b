import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from search_spaces.space import load_space
from tests.images import write_classes, write_pairs
from trainables.core.config import TrainConfig
from trainables.core.data.decode.crop import Regions
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import ConfigError, DataError
from trainables.core.metric_names import Objective
from trainables.core.models.networks.build import build_network
from trainables.core.training.fit import fit
from tuning.search.plan import Plan
from tuning.search.preflight import check_devices, checkpoint_bytes, identity, load_data, one_per_network
from tuning.study.data_request import DataRequest
from tuning.study.identity import IMAGES


@pytest.fixture
def plan():
    return Plan(load_space("demo_space"), ("scratch_cnn",), "random", 32, 3, Objective("balanced_accuracy"), True, 0)


def loaded(plan, place, store, monkeypatch):
    monkeypatch.setenv("TUNE_RUN_CACHE", str(store))
    console = Console(file=io.StringIO(), width=100)
    request = DataRequest(place, plan.seed, folds=plan.folds)
    data = load_data(request, plan, [{}], None, console)
    return data, console.file.getvalue()


def test_gpus_of_one_trial_must_be_able_to_share_its_batches(config):
    configs = [config(batch_size=size).to_dict() for size in (32, 24)]
    for gpus in (None, 0.0, 0.5, 1.0, 2.0, 8.0):
        check_devices(configs, gpus)
    with pytest.raises(ConfigError, match="16 devices must share the 24 images of an optimizer step"):
        check_devices(configs, 16.0)


def test_of_each_backbone_the_configuration_with_the_most_to_train_and_the_largest_batch_is_measured(config):
    small, frozen, large = (
        config(freeze_depth=depth, batch_size=size).to_dict() for depth, size in ((0, 8), (1, 64), (0, 32))
    )
    other = {**frozen, "backbone": "resnet18"}
    measured = [TrainConfig.from_dict(each) for each in one_per_network([small, frozen, other, large])]
    assert measured == [TrainConfig.from_dict(each) for each in (large, other)]


NETWORK = {"backbone": "test_vit", "image_size": 32, "optimizer": "adamw", "lr": 1e-3, "epochs": 2}


def test_full_fine_tuning_is_measured_instead_of_lora():
    base = {**NETWORK, "head": "linear", "weights": "pretrained"}
    full, lora, large_lora = (
        {**base, **changes, "batch_size": size}
        for changes, size in (({}, 32), ({"lora_rank": 8}, 32), ({"lora_rank": 8}, 64))
    )
    assert one_per_network([lora, full]) == [full]
    assert one_per_network([full, large_lora]) == [large_lora]


def test_each_architecture_is_measured():
    base = {**NETWORK, "task": "segmentation", "weights": "random"}
    small, *measured = (
        {**base, "architecture": architecture, "batch_size": size}
        for architecture, size in (("linknet", 8), ("linknet", 16), ("unetplusplus", 8), ("deeplabv3plus", 4))
    )
    assert one_per_network([small, *measured]) == measured


def test_the_whole_network_is_measured_and_not_only_its_head(config):
    head_first = config(epochs=12, head_epochs=8, batch_size=32).to_dict()
    (measured,) = one_per_network([head_first])
    assert TrainConfig.from_dict(measured) == config(epochs=12, batch_size=32)


def test_cross_validation_is_recommended_for_a_small_set_without_folds(plan, small_data, monkeypatch):
    _, output = loaded(plan, small_data.place, small_data.store, monkeypatch)
    assert "Note: small data set: tune has 2 groups of few, and there are 120 groups in total" in output
    _, output = loaded(dataclasses.replace(plan, folds=3), small_data.place, small_data.store, monkeypatch)
    assert "102 pool, 18 test (grouped split); 3 folds of 34 images" in output
    assert "small data set" not in output


def test_a_search_with_other_folds_is_another_search(plan, small_data, monkeypatch):
    about = {}
    for folds in (None, 2, 3):
        changed = dataclasses.replace(plan, folds=folds)
        data, _ = loaded(changed, small_data.place, small_data.store, monkeypatch)
        about[folds] = identity(changed, data)
        assert about[folds]["cv-folds"] == folds
    assert about[2]["test fingerprint"] == about[3]["test fingerprint"] == about[None]["test fingerprint"]
    assert about[2]["pool fingerprint"] != about[3]["pool fingerprint"]
    assert "select fingerprint" in about[None].keys() - about[2].keys()


def test_images_without_a_label_are_not_part_of_a_class(plan, small_data):
    labels = np.where(np.arange(len(small_data.labels)) < 2, -1, small_data.labels)
    counts = identity(plan, dataclasses.replace(small_data, labels=labels))[IMAGES]
    assert sum(counts.values()) == len(labels) - 2


def test_a_search_on_cropped_images_is_another_search(plan, small_data):
    boxes = np.zeros((len(small_data.labels), 4), dtype=np.int32)
    cropped = dataclasses.replace(small_data, regions=Regions(Path("lungs"), "1234", boxes))
    assert identity(plan, small_data)["roi"] is None
    assert identity(plan, cropped)["roi"] == "1234"


def test_a_search_with_another_healthy_class_is_another_search(plan, small_data):
    """``clinical`` and the sensitivity at 95% specificity are defined by it."""
    assert identity(plan, dataclasses.replace(small_data, healthy="some"))["healthy"] == "some"


def test_a_search_for_a_metric_of_other_patients_is_another_search(plan, tmp_path):
    """Two patients of a split exchange an image: all splits stay the same."""
    root = write_classes(tmp_path / "images", {"a": 40, "b": 40})
    groups = np.arange(80) // 40 * 20 + np.arange(80) % 20  # images 0 and 20 of a show patient 0

    def prepared():
        rows = [f"{'ab'[row // 40]}/{row % 40:03d}.png,patient {group}" for row, group in enumerate(groups)]
        (tmp_path / "groups.csv").write_text("\n".join(["image,group", *rows]))
        request = DataRequest(str(root), 0, grouping=Grouping(file=str(tmp_path / "groups.csv")))
        return request.prepare(sizes=[32], store=tmp_path / "store")

    by_patient = dataclasses.replace(plan, objective=Objective("patient_balanced_accuracy"))
    data = prepared()
    first, second = data.splits["tune"][:2] + 20
    groups[[first, second]] = groups[[second, first]]
    now = prepared()
    before, after = identity(by_patient, data), identity(by_patient, now)
    assert {key for key in before if before[key] != after[key]} == {"patient fingerprint"}
    assert identity(plan, data) == identity(plan, now)


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_data_of_the_other_task_is_refused_before_decoding(plan, tmp_path, monkeypatch, kind):
    write_classes(tmp_path / "classes", {"a": 4, "b": 4})
    write_pairs(tmp_path / "pairs", 4)
    monkeypatch.delattr("tuning.study.data_request.prepare")
    other = plan if kind == "pairs" else dataclasses.replace(plan, space=load_space("lung_segmentation_space"))
    with pytest.raises(DataError, match=f"{other.space.name} is a {other.space.task} and needs .*, but .*{kind} has"):
        loaded(other, str(tmp_path / kind), tmp_path / "store", monkeypatch)


def test_data_of_several_labels_need_a_space_for_them(plan, labelled_data, monkeypatch):
    request = DataRequest(labelled_data.place, plan.seed, table=labelled_data.table)
    monkeypatch.setenv("TUNE_RUN_CACHE", str(labelled_data.store))
    with pytest.raises(DataError, match="demo_space is a classification .* has several labels per image"):
        load_data(request, plan, [{}], None, Console(file=io.StringIO()))


def test_folds_need_groups(plan, small_data, monkeypatch):
    with pytest.raises(DataError, match="--cv-folds 60 needs two classes of 60 groups each"):
        loaded(dataclasses.replace(plan, folds=60), small_data.place, small_data.store, monkeypatch)


def test_checkpoints_hold_adams_moments_or_one_model_per_fold(plan):
    sizes = [checkpoint_bytes(dataclasses.replace(plan, folds=folds), 10, [{}]) for folds in (None, 3, 6)]
    assert sizes == [120, 120, 240]


def test_averaged_weights_are_a_fourth_part_of_a_checkpoint(config, plan, small_data):
    """Against the parameters' bytes in a real checkpoint; batch norm's statistics and counters are left out."""
    chosen = config(optimizer="adamw", epochs=1, ema_decay=0.9)
    (epoch,) = fit(chosen, small_data)
    network = build_network(chosen, len(small_data.class_names))
    names = {name for name, _ in network.named_parameters()}
    kept = [
        tensor.nbytes
        for name, tensor in epoch.state.tensors.items()
        if name.partition(".")[2] in names or name.endswith(("exp_avg", "exp_avg_sq"))
    ]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert checkpoint_bytes(plan, parameters, [{}, {"ema_decay": 0.9}]) == sum(kept)
    assert checkpoint_bytes(dataclasses.replace(plan, folds=3), parameters, [{"ema_decay": 0.9}]) == 12 * parameters
