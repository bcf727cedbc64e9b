import pytest
import torch
from torch import nn

from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.train_state import TrainState, capture, restore


def training(width=4, kind=torch.optim.AdamW, **options):
    """A model, an optimizer and a scaler after one step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, width, 3), nn.Flatten(), nn.Linear(width * 4, 2))
    model = model.to(memory_format=torch.channels_last)
    optimizer = kind(model.parameters(), lr=0.1, **options)
    model(torch.ones(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    return model, optimizer, torch.amp.GradScaler("cpu", enabled=False)


def stored(state):
    """The state as a file would hold it: contiguous copies."""
    return TrainState(state.epoch, {name: tensor.clone().contiguous() for name, tensor in state.tensors.items()}, {})


def test_a_restored_training_continues_as_the_original():
    model, optimizer, scaler = training()
    state = stored(capture(1, model, optimizer, scaler))
    other, other_optimizer, other_scaler = training()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    restore(state, other, other_optimizer, other_scaler)
    for one, its_optimizer in ((model, optimizer), (other, other_optimizer)):
        its_optimizer.zero_grad()
        one(torch.full((2, 3, 4, 4), 0.5)).sum().backward()
        its_optimizer.step()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(other.parameters(), model.parameters(), strict=True))


def test_optimizer_slots_get_the_memory_layout_of_their_parameters():
    model, optimizer, scaler = training()
    state = stored(capture(1, model, optimizer, scaler))
    restore(state, model, optimizer, scaler)
    weight = model[0].weight
    assert optimizer.state[weight]["exp_avg"].stride() == weight.stride() != weight.contiguous().stride()


def test_a_state_of_another_model_is_refused():
    state = capture(1, *training())
    with pytest.raises(CheckpointError, match="does not fit the model"):
        restore(state, *training(width=5))


def test_a_state_of_another_optimizer_is_refused():
    adam, sgd = capture(1, *training()), capture(1, *training(kind=torch.optim.SGD, momentum=0.9))
    with pytest.raises(CheckpointError, match="the optimizer: SGD of 4 parameters has no step of parameter 0"):
        restore(adam, *training(kind=torch.optim.SGD, momentum=0.9))
    with pytest.raises(CheckpointError, match="the optimizer: AdamW of 4 parameters has no momentum_buffer"):
        restore(sgd, *training())
    with pytest.raises(CheckpointError, match="SGD of 4 parameters has no momentum_buffer"):
        restore(sgd, *training(kind=torch.optim.SGD))


def test_a_state_that_trains_more_parameters_is_refused():
    model, optimizer, scaler = training()
    for _ in range(2):  # the last layer is not trained
        optimizer.param_groups[0]["params"].pop()
    with pytest.raises(CheckpointError, match="AdamW of 2 parameters has no step of parameter 2"):
        restore(capture(1, *training()), model, optimizer, scaler)


def test_a_state_with_other_averages_is_refused():
    averages = {"2.bias": torch.zeros(2)}
    plain, averaged = capture(1, *training()), capture(1, *training(), averages)
    with pytest.raises(CheckpointError, match="has averages of 0 tensors, but training averages 1: "):
        restore(plain, *training(), averages)
    with pytest.raises(CheckpointError, match="has averages of 1 tensors, but training averages 0: "):
        restore(averaged, *training())
    restore(averaged, *training(), averages)
