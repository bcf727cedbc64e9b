"""The search space of ``end_to_end``: without frozen stages and augmentation, which the plain script lacks."""

from search_spaces.space import SearchSpace


def suggest(trial, backbones):
    """Suggest AdamW's learning rate and weight decay for a backbone with a linear head."""
    return {
        "backbone": backbones[0],
        "head": "linear",
        "optimizer": "adamw",
        "lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
        "batch_size": 32,
    }


SPACE = SearchSpace(
    name="plain_space",
    title="AdamW's learning rate and weight decay, for benchmarks",
    suggest=suggest,
    backbones=("mobilenetv3_small_050",),
    data="phantoms",
    weights="random",
    image_size=128,
    epochs=3,
    num_samples=6,
)
