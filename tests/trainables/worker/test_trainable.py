"""Trials in this process: real training, with reports to a list. tests/faults runs them on workers."""

import dataclasses
import shutil
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("ray")  # a machine with a GPU and little else runs only the tests of the core
import ray
from ray import tune

from tests.trainables.core.training.parallel.faulty_rank import FaultyRank
from trainables.core.errors import GpuTakenError
from trainables.core.hub.failures import HubError
from trainables.core.metric_names import Objective
from trainables.core.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.models.networks.classifier import Classifier
from trainables.worker import trainable
from trainables.worker.report_keys import FAILED, HALVED, UNFIT
from trainables.worker.trainable import run_trial

pytestmark = pytest.mark.filterwarnings("ignore:.*is meant to only be called inside a function:UserWarning")


@pytest.fixture
def session(monkeypatch, tmp_path):
    """Stand-ins of Tune's session: what was reported, with checkpoints in the folder, and a trial's resources."""
    reports, resources = [], {"CPU": 1.0}

    def report(metrics, checkpoint=None):
        if checkpoint is not None:
            folder = tmp_path / f"checkpoint_{len(reports):06d}"
            shutil.copytree(checkpoint.path, folder)
            monkeypatch.setattr(tune, "get_checkpoint", lambda: tune.Checkpoint(str(folder)))
        reports.append(metrics)

    context = SimpleNamespace(get_trial_resources=lambda: tune.PlacementGroupFactory([resources]))
    monkeypatch.setattr(tune, "get_context", lambda: context)
    monkeypatch.setattr(tune, "report", report)
    monkeypatch.setattr(tune, "get_checkpoint", lambda: None)
    monkeypatch.setattr(ray, "get_gpu_ids", list)
    monkeypatch.setattr(trainable, "_set_up_process", lambda: None)  # it would change this process for good
    checkpoints = lambda: sorted(tmp_path.glob("checkpoint_*"))  # noqa: E731
    return SimpleNamespace(reports=reports, resources=resources, folder=tmp_path, checkpoints=checkpoints)


@pytest.fixture(scope="module")
def few(small_data):
    """A small data set: an epoch of batches of 8 has four passes, one of them over ``tune``."""
    splits = {"fit": small_data.splits["fit"][:24], "tune": small_data.splits["tune"][:8]}
    return dataclasses.replace(small_data, splits=small_data.splits | splits)


def run(session, config, data, devices=1):
    train = {key: value for key, value in config.to_dict().items() if key != "device"}
    run_trial(
        {"train": train, "resume_from": []}, data, Objective("accuracy"), str(session.folder), 600.0, devices=devices
    )


def allow(monkeypatch, images, message="CUDA out of memory.", after=0):
    """Let the forward pass fail on more than ``images`` images, after a number of passes."""
    forward, passes = Classifier.forward, []

    def forward_in_memory(model, inputs):
        passes.append(len(inputs))
        if len(passes) > after and len(inputs) > images:
            raise RuntimeError(message) if "CUBLAS" in message else torch.OutOfMemoryError(message)
        return forward(model, inputs)

    monkeypatch.setattr(Classifier, "forward", forward_in_memory)


@pytest.mark.parametrize("message", ["CUDA out of memory.", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED"])
def test_a_batch_is_halved_until_it_fits(session, monkeypatch, config, few, message):
    allow(monkeypatch, 4, message)
    run(session, config(batch_size=16, epochs=2), few)
    assert [report["epoch"] for report in session.reports] == [1, 2]
    assert session.reports[0][HALVED] == f"OutOfMemoryError: {message} (continued with 4 images at a time)"
    assert HALVED not in session.reports[1]
    trained = load_checkpoint(session.checkpoints()[1] / "checkpoint")
    assert (trained.config.batch_size, trained.config.accumulate_steps, trained.devices) == (4, 4, 1)


def test_a_batch_that_was_halved_before_is_halved_again(session, monkeypatch, config, few):
    """The second epoch continues from the first one's checkpoint, with less memory than that had."""
    allow(monkeypatch, 8)
    allow(monkeypatch, 2, after=6)  # in the second epoch: one pass of 16 images failed, and the first epoch had four
    run(session, config(batch_size=16, epochs=2), few)
    assert [report["epoch"] for report in session.reports] == [1, 2]
    assert [load_checkpoint(folder / "checkpoint").config.batch_size for folder in session.checkpoints()] == [8, 2]


@pytest.mark.parametrize(
    ("batch", "devices", "trained", "now", "expected"),
    [
        (6, 2, (3, 2), 3, (2, 3)),  # a device would have got single images, which its head cannot train on
        (12, 4, (3, 4), 3, (4, 3)),
        (12, 2, (6, 2), 3, (4, 3)),
        (32, 4, (8, 4), 1, (32, 1)),
        (16, 1, (4, 4), 1, (4, 4)),  # halved for lack of memory, as are the next two
        (32, 4, (4, 8), 1, (4, 8)),
        (6, 1, (3, 2), 3, (2, 3)),
        (16, None, (4, 4), 1, (4, 4)),  # earlier versions did not store the number of devices
        (12, None, (6, 2), 3, (4, 3)),
        (12, None, (3, 4), 3, (2, 6)),
    ],
)
def test_a_batch_is_divided_among_the_devices_that_a_trial_is_resumed_on(
    session, monkeypatch, config, few, batch, devices, trained, now, expected
):
    """And stays halved if it was halved for lack of memory."""
    chosen = config(head="attention", batch_size=batch)
    before = dataclasses.replace(chosen, batch_size=trained[0], accumulate_steps=trained[1])
    state = TrainState(1, {"model.weight": torch.zeros(1)}, {})
    saved = Checkpoint(state, before, few.class_names, few.pixel_format, {}, devices=devices)
    save_checkpoint(session.folder / "checkpoint_000000" / "checkpoint", saved)
    monkeypatch.setattr(tune, "get_checkpoint", lambda: tune.Checkpoint(str(session.folder / "checkpoint_000000")))
    resumed = []
    monkeypatch.setattr(trainable, "epoch_steps", lambda config, *_: resumed.append(config) or iter([]))
    run(session, chosen, few, devices=now)
    assert session.reports == []
    assert [(each.batch_size, each.accumulate_steps) for each in resumed] == [expected]


@pytest.mark.slow
def test_a_trial_fails_if_a_single_image_is_too_large(session, monkeypatch, config, few):
    allow(monkeypatch, 0)
    run(session, config(batch_size=16), few)
    assert [report[FAILED] for report in session.reports] == ["OutOfMemoryError: CUDA out of memory."]


def test_a_batch_is_not_halved_to_the_single_image_that_batch_norm_cannot_train_on(session, monkeypatch, config, few):
    allow(monkeypatch, 1)
    run(session, config(backbone="resnet18", batch_size=4), few)
    assert [report[FAILED] for report in session.reports] == ["OutOfMemoryError: CUDA out of memory."]


def test_a_batch_of_one_image_fails_the_trial_of_a_network_that_cannot_train_on_it(session, config, few):
    run(session, config(backbone="resnet18", batch_size=1), few)
    (report,) = session.reports
    assert report[FAILED] == (
        "ConfigError: resnet18 has batch norm over single values at 32 px and needs batch_size > 1 on every device, "
        "but got batch_size=1: use a larger one"
    )


@pytest.mark.slow
def test_all_processes_halve_the_batch_if_one_has_too_little_memory(session, config, few):
    """Each attempt starts a process, which takes seconds to import torch and timm."""
    run(session, config(batch_size=16, epochs=1), FaultyRank.of(few, "has room for four images"), devices=2)
    (report,) = session.reports
    assert report[HALVED] == "OutOfMemoryError: CUDA out of memory. (continued with 4 images at a time)"
    trained = load_checkpoint(session.checkpoints()[0] / "checkpoint")
    assert (trained.config.batch_size, trained.config.accumulate_steps, trained.devices) == (4, 4, 2)


def test_a_batch_that_devices_cannot_share_fails_the_trial(session, config, few):
    run(session, config(batch_size=15), few, devices=2)
    (report,) = session.reports
    assert report[FAILED] == (
        "ConfigError: 2 devices must share the 15 images of an optimizer step, but batch_size=15 is not divisible by "
        "2: use fewer devices"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet999"}, "unknown backbone 'resnet999': did you mean resnet50"),
        ({"backbone": "resnet18", "weights": "{folder}"}, "has no resnet18.safetensors for backbone resnet18"),
        ({"backbone": "seresnet18", "weights": "pretrained"}, "timm has no pretrained weights for seresnet18"),
    ],
)
def test_weights_that_do_not_exist_fail_the_trial(session, config, few, changes, message):
    run(session, config(**{key: value.format(folder=session.folder) for key, value in changes.items()}), few)
    (report,) = session.reports
    assert report[FAILED].startswith("WeightsError: ")
    assert message in report[FAILED]


def test_a_trial_is_tried_again_if_the_hub_does_not_answer(session, config, few, hub):
    hub.fault = "server error"
    with pytest.raises(HubError, match="cannot download the weights of test_vit: "):
        run(session, config(backbone="test_vit", weights="pretrained"), few)
    assert session.reports == []


def others_hold(monkeypatch, share):
    """Let the GPU, as CUDA describes it, be full by a share that other processes hold."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (round((1 - share) * 80 * 2**30), 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda gpu: 0)


@pytest.mark.parametrize(
    ("reserved", "others", "error"),
    [
        (1, 0.0, None),
        (1, 0.5, GpuTakenError),  # a program outside of the search
        (0.25, 0.75, torch.OutOfMemoryError),  # three more trials
        (0.25, 0.9, GpuTakenError),
    ],
)
def test_a_trial_fails_for_lack_of_memory_only_if_no_other_process_holds_it(
    session, monkeypatch, config, few, reserved, others, error
):
    session.resources["GPU"] = reserved
    others_hold(monkeypatch, others)
    allow(monkeypatch, 0)
    with pytest.raises(error) if error else nullcontext():
        run(session, config(batch_size=1), few)
    assert [report[FAILED] for report in session.reports] == ["OutOfMemoryError: CUDA out of memory."] * (not error)


def test_a_gpu_that_others_have_filled_is_the_nodes_fault(session, monkeypatch, config, few):
    """No trial could begin there, so none of them may fail for it."""
    full = RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")

    def raise_full(*_, **__):
        raise full

    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [0])
    monkeypatch.setattr(torch, "zeros", raise_full)
    session.resources["GPU"] = 1
    run(session, config(), few)
    (report,) = session.reports
    assert "a trial needs its GPU's memory, but other processes have taken it" in report[UNFIT]
    session.resources["GPU"] = 0.5  # another trial may have taken the memory: Tune tries this one again
    with pytest.raises(GpuTakenError, match="other processes hold 100% of a GPU of '"):
        run(session, config(), few)
    assert session.reports == [report]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a usable GPU")
def test_a_gpu_that_cannot_be_used_is_the_nodes_fault(session, monkeypatch, config, few):
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [0])
    session.resources["GPU"] = 0.5
    run(session, config(), few)
    (report,) = session.reports
    assert "a GPU was requested but torch" in report[UNFIT]


def test_an_error_is_not_hidden_by_a_gpu_that_it_broke(session, monkeypatch, config, few, caplog):
    """After an illegal memory access every later call fails, too."""

    def fail(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def fail_later():
        raise RuntimeError("CUDA error: the second call")

    monkeypatch.setattr(Classifier, "forward", fail)
    monkeypatch.setattr(torch.cuda, "empty_cache", fail_later)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(session, config(), few)
    assert "the GPU's memory cannot be freed: CUDA error: the second call" in caplog.text


@pytest.mark.gpu
def test_a_batch_is_halved_until_it_fits_into_the_gpus_memory(session, monkeypatch, config, few):
    """With room for the network and some images of the batch, and no stand-ins for the GPU's errors."""
    torch.ones(1, device="cuda")
    total = torch.cuda.mem_get_info()[1]
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [0])
    monkeypatch.setattr(trainable, "limit_memory", lambda *_: None)
    large = config(backbone="resnet18", image_size=32, batch_size=16, epochs=1)
    torch.cuda.reset_peak_memory_stats()
    run(session, large, few)
    peak = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction(0.8 * peak / total)
        run(session, large, few)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    first, second = session.reports
    assert HALVED not in first
    assert "continued with" in second[HALVED]
