import pytest
import torch

from trainables.core.config import CONFIGS
from trainables.core.data.decode.images import PixelFormat
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.models.networks.build import NETWORKS, build_network, trained_network


def test_every_task_has_a_network():
    assert NETWORKS.keys() == CONFIGS.keys()


@pytest.mark.parametrize("loss", ["cross_entropy", "ordinal"])
@pytest.mark.parametrize("weights", ["random", "/no/such/folder"])
def test_a_trained_network_needs_only_its_checkpoint(config, weights, loss):
    torch.manual_seed(0)
    model = build_network(config(loss=loss), 3)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    state = TrainState(1, tensors, {})
    checkpoint = Checkpoint(state, config(weights=weights, loss=loss), ("a", "b", "c"), PixelFormat(1, 255), {})
    pixels = torch.randint(0, 256, (2, 32, 32, 1), dtype=torch.uint8)
    trained = trained_network(checkpoint, torch.device("cpu"))
    assert not trained.training
    assert torch.equal(trained(pixels), model.to(memory_format=torch.channels_last).eval()(pixels))
