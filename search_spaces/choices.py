"""Suggestions for spaces to combine. Each returns keys of a ``TrainConfig``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainables.core.config import SCRATCH

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from search_spaces.space import Config


Range = tuple[float, float]

# Newer backbones of 20 to 28 million parameters, one of each family, pretrained on more than ImageNet-1k. Weights from
# the hub, under Apache 2.0 and, for Swin, MIT.
MODERN_BACKBONES = (
    "convnext_tiny.in12k_ft_in1k",
    "tf_efficientnetv2_s.in21k_ft_in1k",
    "swin_tiny_patch4_window7_224.ms_in22k_ft_in1k",
    "vit_small_patch14_dinov2.lvd142m",
)


def backbone(trial: "BaseTrial", backbones: Sequence[str], frozen_quarters: Sequence[int]) -> "Config":
    """Suggest a backbone and how many quarters of its stages are frozen.

    The searched parameter is a share, not a depth, so that what the sampler learns about it holds for backbones with
    any number of stages. The share is rounded to the nearest depth.
    """
    from trainables.core.models.backbones.backbone import stage_count

    name = trial.suggest_categorical("backbone", list(backbones))
    share = trial.suggest_categorical("frozen_quarters", list(frozen_quarters)) / 4
    return {"backbone": name, "freeze_depth": round(share * stage_count(name))}


def head(trial: "BaseTrial", heads: Sequence[str], most_dropout: float, *, both_dropouts: bool = False) -> "Config":
    """Suggest a head and its dropout and, with ``both_dropouts``, the hidden dropout of an ``mlp``."""
    config: Config = {
        "head": trial.suggest_categorical("head", list(heads)),
        "head_dropout": trial.suggest_float("head_dropout", 0.0, most_dropout, step=0.1),
    }
    if both_dropouts and config["head"] == "mlp":
        config["hidden_dropout"] = trial.suggest_float("hidden_dropout", 0.0, most_dropout, step=0.1)
    return config


def class_weights(trial: "BaseTrial", kinds: Sequence[str]) -> "Config":
    """Suggest the class weights of the loss."""
    return {"class_weights": trial.suggest_categorical("class_weights", list(kinds))}


def sampler(trial: "BaseTrial", samplers: Sequence[str]) -> "Config":
    """Suggest a sampler, which decides how often an epoch shows images of rare classes."""
    return {"sampler": trial.suggest_categorical("sampler", list(samplers))}


def loss(trial: "BaseTrial", losses: Sequence[str]) -> "Config":
    """Suggest a loss and its parameter. ``ordinal`` has none and needs grades."""
    name = trial.suggest_categorical("loss", list(losses))
    if name == "focal":
        return {"loss": name, "focal_gamma": trial.suggest_float("focal_gamma", 0.5, 3.0, step=0.5)}
    if name == "ordinal":
        return {"loss": name}
    return {"loss": name, "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2, step=0.05)}


def label_loss(trial: "BaseTrial", losses: Sequence[str]) -> "Config":
    """Suggest a loss of several labels per image, and its parameters."""
    name = trial.suggest_categorical("loss", list(losses))
    if name == "asymmetric":
        return {
            "loss": name,
            "gamma_negative": trial.suggest_float("gamma_negative", 1.0, 4.0, step=1.0),
            "margin": trial.suggest_float("margin", 0.0, 0.2, step=0.05),
        }
    config: Config = {"loss": name, "pos_weight": trial.suggest_categorical("pos_weight", ["none", "balanced", "sqrt"])}
    if name == "focal":
        config["focal_gamma"] = trial.suggest_float("focal_gamma", 0.5, 3.0, step=0.5)
    return config


def optimizer(trial: "BaseTrial", optimizers: Sequence[str], sgd_lr: Range, adam_lr: Range) -> "Config":
    """Suggest an optimizer and its parameters. SGD and Adam have separate ranges of learning rates.

    ``layer_decay`` is suggested even where it has no effect because everything below the head is frozen.
    """
    name = trial.suggest_categorical("optimizer", list(optimizers))
    config: Config = {
        "optimizer": name,
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
        "layer_decay": trial.suggest_float("layer_decay", 0.6, 1.0, step=0.1),
        "clip_norm": trial.suggest_categorical("clip_norm", [0.0, 1.0]),
    }
    if name == "sgd":
        config["lr"] = trial.suggest_float("sgd_lr", *sgd_lr, log=True)
        config["momentum"] = trial.suggest_float("momentum", 0.0, 0.99)
        config["nesterov"] = config["momentum"] > 0 and trial.suggest_categorical("nesterov", [False, True])
    else:
        config["lr"] = trial.suggest_float("adam_lr", *adam_lr, log=True)
    return config


def schedule(trial: "BaseTrial", schedules: Sequence[str]) -> "Config":
    """Suggest a learning-rate schedule, its parameters and a warm-up."""
    name = trial.suggest_categorical("schedule", list(schedules))
    config: Config = {"schedule": name, "warmup_ratio": trial.suggest_float("warmup_ratio", 0.0, 0.2, step=0.05)}
    if name in ("step", "exponential"):
        config["decay_rate"] = trial.suggest_float("decay_rate", 0.1, 0.9, step=0.1)
        config["decay_epochs"] = float(trial.suggest_int("decay_epochs", 1, 10))
    elif name == "cyclic":
        config["cycle_epochs"] = float(trial.suggest_int("cycle_epochs", 2, 10))
    return config


def augmentation(trial: "BaseTrial", policies: Sequence[str]) -> "Config":
    """Suggest an augmentation policy and, for ``rand_augment``, its parameters."""
    name = trial.suggest_categorical("augmentation", list(policies))
    if name != "rand_augment":
        return {"augmentation": name}
    return {
        "augmentation": name,
        "rand_augment_ops": trial.suggest_int("rand_augment_ops", 1, 3),
        "rand_augment_magnitude": trial.suggest_int("rand_augment_magnitude", 3, 15, step=3),
    }


def random_erasing(trial: "BaseTrial", most: float) -> "Config":
    """Suggest the probability of random erasing."""
    return {"random_erasing": trial.suggest_float("random_erasing", 0.0, most, step=0.1)}


def mixing(trial: "BaseTrial", kinds: Sequence[str]) -> "Config":
    """Suggest how images are mixed: ``none``, ``mixup``, ``cutmix``, or ``both`` in turn; and its strength."""
    kind = trial.suggest_categorical("mixing", list(kinds))
    chosen = {
        "none": (),
        "mixup": ("mixup_alpha",),
        "cutmix": ("cutmix_alpha",),
        "both": ("mixup_alpha", "cutmix_alpha"),
    }
    return {key: trial.suggest_float(key, 0.2, 1.0, step=0.2) for key in chosen[kind]}


def weight_average(trial: "BaseTrial", decays: Sequence[float]) -> "Config":
    """Suggest the decay of the average of the weights; 0 for none."""
    return {"ema_decay": trial.suggest_categorical("ema_decay", list(decays))}


def fine_tuning(
    trial: "BaseTrial",
    chosen: "Config",
    *,
    most_head_epochs: int = 0,
    most_drop_path: float = 0.0,
    lora_ranks: Sequence[int] = (),
    l2_sp: Sequence[float] = (),
) -> "Config":
    """Suggest how the backbone is trained: after the head, with stochastic depth, LoRA, or L2-SP.

    Each is suggested only where it makes a difference: nothing for a backbone that is frozen as a whole, stochastic
    depth only for backbones that have it, LoRA only for timm's vision transformers, and L2-SP not for ``scratch_cnn``,
    which has no pretrained weights.

    Args:
        trial: Trial to ask.
        chosen: Keys that ``backbone`` has returned.
        most_head_epochs: Largest number of epochs that train only the head. It must be less than the epochs of a trial.
        most_drop_path: Largest rate of stochastic depth, a multiple of 0.1.
        lora_ranks: Ranks of LoRA; 0 for none.
        l2_sp: Strengths of L2-SP without LoRA; 0 for none.
    """
    from trainables.core.models.backbones.backbone import stage_count
    from trainables.core.models.backbones.registry import can_have_lora, has_drop_path

    name = chosen["backbone"]
    config: Config = {}
    if chosen.get("freeze_depth", 0) >= stage_count(name):
        return {}
    if most_head_epochs:
        config["head_epochs"] = trial.suggest_int("head_epochs", 0, most_head_epochs)
    if most_drop_path and has_drop_path(name):
        config["drop_path_rate"] = trial.suggest_float("drop_path_rate", 0.0, most_drop_path, step=0.1)
    if lora_ranks and can_have_lora(name):
        config["lora_rank"] = trial.suggest_categorical("lora_rank", list(lora_ranks))
    if l2_sp and name != SCRATCH and not config.get("lora_rank"):
        config["l2_sp"] = trial.suggest_categorical("l2_sp", list(l2_sp))
    return config


def batch_size(trial: "BaseTrial", sizes: Sequence[int]) -> "Config":
    """Suggest a batch size."""
    return {"batch_size": trial.suggest_categorical("batch_size", list(sizes))}
