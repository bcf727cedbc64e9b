"""Names of the registries, repeated so that parsing a configuration imports neither torch nor albumentations.

``tests/contracts/test_config_names.py`` checks that they equal the registries.
"""

ARCHITECTURES = (
    "unet",
    "unetplusplus",
    "manet",
    "linknet",
    "fpn",
    "pspnet",
    "pan",
    "deeplabv3",
    "deeplabv3plus",
    "upernet",
    "segformer",
    "detr",
)
AUGMENTATIONS = ("none", "flip", "medical", "strong", "flips_and_rotation", "trivial_augment", "rand_augment")
CLASS_WEIGHTS = ("none", "balanced", "sqrt", "effective", "boosted", "frequency")
HEADS = ("linear", "mlp", "residual", "attention")
LABEL_LOSSES = ("bce", "focal", "asymmetric")
ORDINAL = "ordinal"
LOSSES = ("cross_entropy", "focal", ORDINAL)
MASK_LOSSES = ("bce", "dice", "focal", "bce+dice", "focal+dice")
OPTIMIZERS = ("sgd", "adam", "adamw")
SAMPLERS = ("shuffle", "weighted", "sqrt")
SCHEDULES = ("constant", "cosine", "step", "exponential", "cyclic")
POSITIVE_WEIGHTS = ("none", "balanced", "sqrt")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda")
NORMALIZE = ("imagenet", "dataset")
SCRATCH = "scratch_cnn"  # the backbone that has no pretrained weights
