"""The training core: PyTorch, timm, torchvision, albumentations and scikit-learn; no Ray, MLflow or Optuna."""
