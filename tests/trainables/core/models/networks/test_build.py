import pytest
import torch

from trainables.core.config import CONFIGS
from trainables.core.data.decode.images import PixelFormat
from trainables.core.errors import ConfigError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.models.networks.build import NETWORKS, build_network, check_batch_size, trained_network


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


@pytest.mark.parametrize(
    ("changes", "trainable"),
    [
        ({}, True),
        ({"backbone": "resnet18"}, False),
        ({"backbone": "resnet18", "freeze_depth": 5}, True),  # in eval mode
        ({"backbone": "resnet18", "image_size": 64}, True),
        ({"backbone": "mobilenetv4_conv_small_050", "image_size": 64}, False),  # a layer after the global pooling
        ({"backbone": "torchvision:regnet_y_400mf"}, False),  # cannot be built on the meta device
        ({"backbone": "test_vit", "loss": "ordinal"}, True),
    ],
)
def test_a_batch_of_one_image_is_refused_where_training_on_it_fails(config, changes, trainable):
    single = config(batch_size=1, **changes)
    model, size = build_network(single, 2).train(), single.image_size
    pixels = torch.zeros(1, size, size, 1, dtype=torch.uint8)
    random_state = torch.get_rng_state()
    if trainable:
        model(pixels)
        check_batch_size(single)
    else:
        with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
            model(pixels)
        with pytest.raises(ConfigError, match="has batch norm over single values"):
            check_batch_size(single)
    check_batch_size(config(batch_size=2, **changes))
    assert torch.equal(torch.get_rng_state(), random_state)
