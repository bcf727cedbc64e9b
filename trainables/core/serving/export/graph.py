"""An ensemble for whole images as one PyTorch module: raw pixels in, probabilities out."""

import torch
from torch import Tensor, nn

from trainables.core.models.networks.base import PixelNetwork
from trainables.core.serving.ensembles.whole_image_ensemble import WholeImageEnsemble
from trainables.core.serving.export.combination_graph import combination_graph
from trainables.core.serving.export.resize import resize_like_pillow
from trainables.core.serving.predict_classes import VIEWS, view


class EnsembleGraph(nn.Module):
    """The members, their views, and the rule that combines them, with the resizing before them.

    It has no branches that depend on values, so that it can be exported. The numbers are those of
    the ensemble up to rounding in the last digits of float32.
    """

    def __init__(self, ensemble: WholeImageEnsemble):
        super().__init__()
        self._sizes = [member.image_size for member in ensemble.members]
        self._models = nn.ModuleList(nn.ModuleList(member.models) for member in ensemble.members)
        self._views, self._format = VIEWS[ensemble.views], ensemble.pixel_format
        self._combine = combination_graph(ensemble.combination)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, C) float32 probabilities of N images of one size.

        Args:
            images: (N, H, W, channels) pixels: uint8, or int32 for a format other than 0..255. An image with a value
                outside the format's range gets NaN.
        """
        black, white = self._format.black, self._format.white
        pixels = images
        if self._format.is_deep:
            pixels = torch.round(torch.clamp((images - black).to(torch.float32) * (255 / (white - black)), 0, 255))
        resized = {size: resize_like_pillow(pixels, size) for size in sorted(set(self._sizes))}
        members = [self._member(models, resized[size]) for models, size in zip(self._models, self._sizes, strict=True)]
        probabilities: Tensor = self._combine(torch.stack(members)).to(torch.float32)
        if not self._format.is_deep:
            return probabilities
        outside = ((images < black) | (images > white)).flatten(1).any(dim=1, keepdim=True)
        return torch.where(outside, torch.full_like(probabilities, torch.nan), probabilities)

    def _member(self, models: nn.Module, pixels: Tensor) -> Tensor:
        """Return a member's (N, C) probabilities: the mean over the views of each model, then over its models."""
        assert isinstance(models, nn.ModuleList)
        return torch.stack([self._mean_over_views(model, pixels) for model in models]).mean(dim=0)

    def _mean_over_views(self, model: nn.Module, pixels: Tensor) -> Tensor:
        views = torch.cat([view(pixels, *each) for each in self._views])  # one batch, so that the graph is small
        assert isinstance(model, PixelNetwork)
        probabilities = model.probabilities(model(views))
        return probabilities.reshape(len(self._views), -1, probabilities.shape[1]).mean(dim=0)
