import torch

from trainables.core.models.networks.pixel_predictions import pixel_counts, pixel_probabilities, predicted_masks


def test_probabilities_of_one_class_and_of_several():
    logits = torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(pixel_probabilities(logits), 1 / (1 + torch.exp(-logits)))
    several = torch.randn(2, 3, 4, 4).to(torch.bfloat16)
    expected = several.float().exp() / several.float().exp().sum(dim=1, keepdim=True)
    torch.testing.assert_close(pixel_probabilities(several), expected)


def test_predicted_masks_of_one_class_and_of_several():
    logits = torch.tensor([-1.0, 2.0, 0.5, -0.1]).view(1, 1, 2, 2)
    assert predicted_masks(pixel_probabilities(logits)).tolist() == [[[0, 1], [1, 0]]]
    several = torch.eye(3).view(1, 3, 1, 3)
    assert predicted_masks(pixel_probabilities(several)).tolist() == [[[0, 1, 2]]]


def test_counts_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    predicted, truth = torch.randint(0, 4, (2, 5, 6, 6), generator=generator)
    counts = pixel_counts(predicted, truth.to(torch.uint8), 3)
    for image in range(5):
        for label in (1, 2, 3):
            is_predicted, is_true = predicted[image] == label, truth[image] == label
            expected = [int((is_predicted & is_true).sum())]
            expected += [int((is_predicted & ~is_true).sum()), int((~is_predicted & is_true).sum())]
            assert counts[image, label - 1].tolist() == expected
