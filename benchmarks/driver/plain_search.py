"""A plain search with Optuna and a DataLoader, one trial after another, without any import from this project.

``python benchmarks/driver/plain_search.py PARQUET PLAN [--channels-last]`` trains the trials of a plan: a JSON file
with the row numbers ``fit`` and ``tune``, and ``trials`` with ``lr``, ``weight_decay`` and ``epochs``. The pruner runs
after every epoch as usual, but the plan decides when a trial ends, so that both programs do the same work.
"""

import argparse
import io
import json
from pathlib import Path

import numpy as np
import optuna
import pyarrow.parquet as pq
import timm
import torch
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

SIZE, BATCH, WORKERS = 128, 32, 2


class Images(Dataset):
    """JPEGs of a parquet file, decoded on access."""

    def __init__(self, table, rows):
        self._bytes = [table["image"][row]["bytes"].as_py() for row in rows]
        self._labels = [table["label"][row].as_py() for row in rows]
        normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        self._transform = transforms.Compose([transforms.Resize((SIZE, SIZE)), transforms.ToTensor(), normalise])

    def __len__(self):
        return len(self._bytes)

    def __getitem__(self, index):
        image = Image.open(io.BytesIO(self._bytes[index])).convert("RGB")
        return self._transform(image), self._labels[index]


def train_epoch(model, loader, optimizer, memory_format):
    """Train for one epoch."""
    model.train()
    for images, labels in loader:
        loss = torch.nn.functional.cross_entropy(model(images.contiguous(memory_format=memory_format)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def score(model, loader, memory_format):
    """Return the balanced accuracy."""
    model.eval()
    outputs = [(model(images.contiguous(memory_format=memory_format)).argmax(1), labels) for images, labels in loader]
    predicted, labels = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
    return balanced_accuracy_score(labels, predicted)


def main():
    """Run the plan."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parquet", type=Path)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--channels-last", action="store_true")
    arguments = parser.parse_args()
    plan = json.loads(arguments.plan.read_text())
    memory_format = torch.channels_last if arguments.channels_last else torch.contiguous_format
    table = pq.read_table(arguments.parquet)
    fit, tune = Images(table, plan["fit"]), Images(table, plan["tune"])
    num_classes = len(set(table["label"].to_pylist()))
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.SuccessiveHalvingPruner())
    for trial in plan["trials"]:
        study.enqueue_trial({"lr": trial["lr"], "weight_decay": trial["weight_decay"]})

    def objective(trial):
        lr = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
        weight_decay = trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
        model = timm.create_model("mobilenetv3_small_050", num_classes=num_classes).to(memory_format=memory_format)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
        shuffled = DataLoader(fit, BATCH, shuffle=True, num_workers=WORKERS)
        ordered = DataLoader(tune, BATCH, num_workers=WORKERS)
        best = 0.0
        epochs = plan["trials"][trial.number]["epochs"]
        for epoch in range(1, epochs + 1):
            train_epoch(model, shuffled, optimizer, memory_format)
            best = max(best, score(model, ordered, memory_format))
            trial.report(best, epoch)
            trial.should_prune()
            torch.save(model.state_dict(), f"trial-{trial.number}.pt")
        if epochs < max(planned["epochs"] for planned in plan["trials"]):
            raise optuna.TrialPruned
        return best

    study.optimize(objective, n_trials=len(plan["trials"]))
    print(f"best: {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
