"""Heads: from pooled (B, F) features to (B, C) class logits."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from trainables.core.errors import ConfigError

SQUEEZE_RATIO = 16  # the reduction chosen by Hu et al. 2018


def build_head(
    kind: str,
    num_features: int,
    num_classes: int,
    dropout: float,
    width: int = 512,
    hidden_dropout: float | None = None,
) -> nn.Module:
    """Build a head with new weights from torch's global random state.

    ``residual`` and ``attention`` use batch norm, so they cannot train on a batch of one image.

    Args:
        kind: One of ``HEADS``.
        num_features: F, the length of the feature vector.
        num_classes: C.
        dropout: Largest dropout probability in the head, in 0..1.
        width: Length of the first hidden layer, at least 4. The three blocks of ``residual`` and ``attention`` have
            widths of ``width``, ``width / 2`` and ``width / 4``. ``linear`` has no hidden layer.
        hidden_dropout: Dropout probability after the hidden layer of ``mlp``; None for ``dropout``. The other heads
            ignore it.

    Returns:
        A module from (B, F) float features to (B, C) float logits; NaN features give NaN logits.

    Raises:
        ConfigError: The kind is unknown, or the width is too small.
    """
    if kind not in _BUILDERS:
        raise ConfigError(f"head must be one of {', '.join(HEADS)}, but got {kind!r}")
    if width < 4:
        raise ConfigError(f"head width must be at least 4, but got {width}")
    hidden_dropout = dropout if hidden_dropout is None else hidden_dropout
    return _BUILDERS[kind](num_features, num_classes, dropout, hidden_dropout, width)


class ResidualBlock(nn.Module):
    """Two dense layers with batch norm and a residual connection: (B, inputs) to (B, outputs).

    The connection is the identity if the widths agree, else a linear projection (He et al. 2016). Weights are
    initialised by the uniform rule of Glorot & Bengio 2010 ("Xavier").

    Args:
        inputs: Length of the input vector.
        outputs: Length of the output vector.
        dropout: Dropout probability between the two layers.
    """

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_dense_block(inputs, outputs, dropout),
            nn.Linear(outputs, outputs, bias=False),
            nn.BatchNorm1d(outputs),
        )
        self.link = nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs, bias=False)
        self.activation = nn.ReLU()
        self.apply(_xavier)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (B, inputs) into (B, outputs) float."""
        activated: Tensor = self.activation(self.layers(x) + self.link(x))
        return activated


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2018): each feature times a gate in 0..1 computed from all of them.

    The squeeze, a mean over the image, is the backbone's pooling.

    Args:
        num_features: F, the length of the feature vector.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        squeezed = max(num_features // SQUEEZE_RATIO, 1)
        self.gate = nn.Sequential(
            nn.Linear(num_features, squeezed), nn.ReLU(), nn.Linear(squeezed, num_features), nn.Sigmoid()
        )

    def forward(self, features: Tensor) -> Tensor:
        """Turn (B, F) into (B, F) float."""
        weighted: Tensor = features * self.gate(features)
        return weighted


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _dense_block(inputs: int, outputs: int, dropout: float) -> Sequence[nn.Module]:
    # no bias: batch norm would subtract it
    return (nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(dropout))


def _linear(num_features: int, num_classes: int, dropout: float, _: float, width: int) -> nn.Module:  # noqa: ARG001
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(num_features, num_classes))


def _mlp(num_features: int, num_classes: int, dropout: float, hidden_dropout: float, width: int) -> nn.Module:
    hidden = (nn.Dropout(dropout), nn.Linear(num_features, width), nn.ReLU())
    return nn.Sequential(*hidden, nn.Dropout(hidden_dropout), nn.Linear(width, num_classes))


def _residual(num_features: int, num_classes: int, dropout: float, _: float, width: int) -> nn.Module:
    widths = (num_features, width, width // 2, width // 4)
    # narrower blocks can spare fewer features: the probability halves with the width
    blocks = [
        ResidualBlock(inputs, outputs, dropout / 2**depth) for depth, (inputs, outputs) in enumerate(pairwise(widths))
    ]
    classifier = nn.Linear(widths[-1], num_classes)
    classifier.apply(_xavier)
    return nn.Sequential(*blocks, classifier)


def _attention(num_features: int, num_classes: int, dropout: float, _: float, width: int) -> nn.Module:
    widths = (num_features, width, width // 2, width // 4)
    blocks = [layer for inputs, outputs in pairwise(widths) for layer in _dense_block(inputs, outputs, dropout)]
    return nn.Sequential(SqueezeExcitation(num_features), *blocks, nn.Linear(widths[-1], num_classes))


_BUILDERS: dict[str, Callable[[int, int, float, float, int], nn.Module]] = {
    "linear": _linear,
    "mlp": _mlp,
    "residual": _residual,
    "attention": _attention,
}
HEADS = tuple(_BUILDERS)
