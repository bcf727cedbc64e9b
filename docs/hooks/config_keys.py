"""The meaning of each key of a training configuration, for the reference page.

Types, ranges, defaults and conditions are read from ``trainables.core.config``. A test checks that both list the same
keys.
"""

from collections.abc import Mapping

_HEAD = {
    "freeze_depth": "Number of backbone stages to freeze, from the input. Their batch norms keep their statistics.",
    "head_epochs": "Epochs at the start that train only the head (LP-FT, Kumar et al. 2022), at the constant `lr`. The "
    "warm-up and the schedule cover the other epochs.",
    "l2_sp": "Strength of the weight decay of the backbone toward its pretrained weights (L2-SP, Li et al. 2018), "
    "instead of `weight_decay`, which then acts on the head. See [below](#fine-tuning).",
    "lora_rank": "Rank of LoRA (Hu et al. 2022): updates of a timm vision transformer's attention, trained instead of "
    "its weights. 0 trains the weights.",
    "drop_path_rate": "Stochastic depth (Huang et al. 2016) of a timm model: the rate of its last block. `None` keeps "
    "the architecture's default.",
    "head": "`linear`; `mlp`: one hidden layer; `residual`: three dense residual blocks with batch norm; "
    "`attention`: channel attention (Hu et al. 2018) before them.",
    "head_dropout": "Dropout of the head. `attention` defaults to 0.4.",
    "hidden_dropout": "Dropout after the hidden layer. Defaults to `head_dropout`.",
    "head_width": "Width of the first hidden layer.",
    "mixup_alpha": "Mixup (Zhang et al. 2018) of the images of a batch, with a share from Beta(alpha, alpha). 0 "
    "disables it. See [below](#mixed-and-erased-images).",
    "cutmix_alpha": "Cutmix (Yun et al. 2019), likewise. With `mixup_alpha`, each batch gets one of the two at random.",
    "random_erasing": "Probability of replacing a rectangle of a training image, 2% to 33% of its area, by noise "
    "(Zhong et al. 2020).",
}
MEANINGS: Mapping[str, Mapping[str, str]] = {
    "shared": {
        "backbone": "A timm name, `torchvision:NAME` or `scratch_cnn`. For a segmentation, the encoder.",
        "weights": "`pretrained`, `random`, or a folder of `<backbone>.safetensors`. Set by `--weights`.",
        "image_size": "Side of the network's input in pixels. Set by `--image-size`.",
        "optimizer": "The optimizer. Biases and norms get no weight decay.",
        "lr": "Base learning rate of the head, or of the topmost trainable part.",
        "weight_decay": "Weight decay of matrices and convolutions, except for positions and class tokens.",
        "momentum": "Momentum of SGD.",
        "nesterov": "Nesterov momentum. Needs `momentum` above 0.",
        "layer_decay": "Factor of the learning rate for each part below the head (Howard and Ruder 2018). No effect "
        "if all of these are frozen.",
        "schedule": "Learning-rate schedule after the warm-up.",
        "warmup_ratio": "Share of all steps spent on a linear warm-up.",
        "decay_rate": "Factor of the learning rate for every `decay_epochs`.",
        "decay_epochs": "Epochs between two decays.",
        "cycle_epochs": "Period of the triangle between 1 and 0.1 times the base rate (Smith 2017).",
        "clip_norm": "Largest norm of the gradient. 0 disables clipping.",
        "ema_decay": "Decay per step of the exponential moving average of the weights, which is then scored and saved. "
        "0 disables averaging. See [below](#averaged-weights).",
        "batch_size": "Images in a batch.",
        "accumulate_steps": "Batches whose gradients are averaged for one optimizer step.",
        "epochs": "Epochs of a full trial. Set by `--max-epochs`.",
        "augmentation": "Augmentation policy of the training images, see [below](#augmentation-policies).",
        "rand_augment_ops": "Operations per image.",
        "rand_augment_magnitude": "Magnitude of the operations, of 30.",
        "normalize": "`imagenet`: the mean and deviation that the backbone's weights were trained with. "
        "`dataset`: those of the training images.",
        "precision": "`auto`: bf16 if the GPU supports it, otherwise fp16 on a GPU and fp32 on the CPU.",
        "device": "`auto`: the GPU if torch can use one, otherwise the CPU.",
        "seed": "Random seed of the trial. A search derives it from `--seed` and the trial's number.",
    },
    "classification": {
        **_HEAD,
        "class_weights": "Class weights in the loss, see [below](#class-weights).",
        "sampler": "`shuffle`: each image once an epoch. `weighted`: every class equally often on average, with "
        "replacement. `sqrt`: half-way between the two.",
        "loss": "The loss, weighted by `class_weights`. `ordinal`: CORN (Shi, Cao and Raschka 2021), for "
        "[grades](../how-to/grades.md).",
        "label_smoothing": "Label smoothing.",
        "focal_gamma": "Exponent of the focal loss (Lin et al. 2017). 0 equals cross-entropy.",
    },
    "multi_label": {
        **_HEAD,
        "pos_weight": "Weight of a label's positives in the loss. `balanced`: negatives divided by positives in `fit`; "
        "`sqrt`: its square root.",
        "sampler": "`shuffle`: each image once an epoch. `weighted`: images whose rarest label is the same are drawn "
        "equally often as those of any other, with replacement. `sqrt`: half-way between the two.",
        "loss": "The loss: binary cross-entropy, the focal loss (Lin et al. 2017), or the asymmetric loss (Ridnik et "
        "al. 2021).",
        "focal_gamma": "Exponent of the focal loss. 0 equals binary cross-entropy.",
        "gamma_positive": "Exponent of the asymmetric loss for labels that an image has.",
        "gamma_negative": "Exponent of the asymmetric loss for labels that an image does not have.",
        "margin": "Probability below which the asymmetric loss ignores labels that an image does not have.",
    },
    "segmentation": {
        "architecture": "An architecture of segmentation_models_pytorch, or `detr`.",
        "freeze_encoder": "Freeze the encoder, including its batch norm statistics.",
        "freeze_decoder": "Freeze the decoder.",
        "freeze_head": "Freeze the segmentation head. At least one of the three must be trained.",
        "loss": "The loss, or the sum of two. `bce` is cross-entropy over the classes if there are several.",
        "focal_gamma": "Exponent of the focal loss.",
    },
}
