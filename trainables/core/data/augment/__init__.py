"""Augmentation of uint8 images, seeded by image and epoch. Resizing and normalisation happen elsewhere."""

import os

# Importing albumentations would ask the package index for its newest version, which takes 2 s behind a firewall. A
# package runs before its modules, so this comes before any of their imports.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
