import csv
import hashlib
import os
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.images import png
from tests.trainables.core.serving.ensembles.test_segmentation_ensemble import trained  # noqa: F401
from trainables.core.errors import UserError
from trainables.core.serving.score_images import ScoredImage
from tuning.cli.predict import app
from tuning.predict import batch_prediction, predictions_file
from tuning.predict.predictions_file import PredictionsFile


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def write(values, table="out.csv", scans=None):
    """Write masks of one value each, by default of images that are named like it."""
    with PredictionsFile(Path(table)) as file:
        file.begin(("one", "two"), answer="mask")
        for position, value in enumerate(values):
            name = scans[position] if scans else value
            file.write(ScoredImage(f"scans/{name}.png", None, mask=np.full((2, 3), value, dtype=np.uint8)))
    with Path(table).open(newline="") as opened:
        return list(csv.DictReader(opened))


def masks_in(folder="out"):
    """Return the names of the masks without the digest of their content."""
    return {f"{file.stem.rpartition('-')[0]}.png" for file in Path(folder).glob("*.png")}


def test_each_image_has_a_mask_and_shares_of_classes():
    rows = write([1, 2, 0])
    digests = [hashlib.sha256(Path(row["mask"]).read_bytes()).hexdigest()[:8] for row in rows]
    names = [
        f"out/{number:06d}-{value}-{digest}.png"
        for number, (value, digest) in enumerate(zip("120", digests, strict=True))
    ]
    assert [row["mask"] for row in rows] == names
    assert [np.asarray(Image.open(row["mask"])).max() for row in rows] == [1, 2, 0]
    assert [(row["one"], row["two"]) for row in rows] == [("1", "0"), ("0", "1"), ("0", "0")]


def test_a_run_replaces_the_masks_of_an_earlier_one():
    write([1, 2, 0])
    write([2])
    assert masks_in() == {"000000-2.png"}
    assert sorted(file.name for file in Path().iterdir()) == ["out", "out.csv"]


def test_an_interrupted_run_changes_nothing_and_can_be_repeated():
    write([1])
    before = Path("out.csv").read_text()
    with pytest.raises(KeyboardInterrupt):
        write(value if value else (_ for _ in ()).throw(KeyboardInterrupt) for value in [2, 2, 0])
    assert masks_in() == {"000000-1.png"}
    assert Path("out.csv").read_text() == before
    assert sorted(file.name for file in Path().iterdir()) == ["out", "out.csv"]
    write([2, 2])
    assert masks_in() == {"000000-2.png", "000001-2.png"}


CRASH = """
import os
from contextlib import contextmanager
from pathlib import Path
from tests.tuning.predict.test_mask_files import write
from tuning.predict import predictions_file

@contextmanager
def crash_at_the_end(file):
    yield Path("partial")
    os._exit(9)

predictions_file.atomic_file = crash_at_the_end
write([2, 0], scans=["a", "b"])
"""


@pytest.mark.slow
def test_after_a_crash_between_masks_and_table_the_table_still_has_its_own_masks():
    """Takes 5 s, mostly for imports: the crash needs a process of its own."""
    write([1, 2], scans=["a", "b"])
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", CRASH], env={**os.environ, "PYTHONPATH": str(root)}, check=False)
    assert done.returncode == 9
    with Path("out.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [np.asarray(Image.open(row["mask"])).max() for row in rows] == [1, 2]
    rows = write([2, 2], scans=["a", "b"])
    assert [np.asarray(Image.open(row["mask"])).max() for row in rows] == [2, 2]
    assert masks_in() == {"000000-a.png", "000001-b.png"}
    assert len(list(Path("out").glob("*.png"))) == 2


def test_masks_are_withdrawn_if_the_table_cannot_be_replaced(monkeypatch):
    @contextmanager
    def failing_at_the_end(file):
        yield Path("partial")
        raise PermissionError(13, "Permission denied")

    write([1])
    monkeypatch.setattr(predictions_file, "atomic_file", failing_at_the_end)
    with pytest.raises(UserError, match="--out must be writable, but out.csv is not: Permission denied"):
        write([2, 2])
    assert masks_in() == {"000000-1.png"}
    with pytest.raises(UserError, match="--out must be writable"):
        write([2], "new.csv")
    assert not Path("new").exists()


@pytest.mark.parametrize("stem", ["é" * 120, "caf\udce9"])
def test_every_name_of_an_image_gives_a_mask_that_the_table_names(stem):
    (row,) = write([1], scans=[stem])
    assert Path(row["mask"]).exists()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", ["notes.txt", "000009-mine.png"])
def test_foreign_files_are_not_deleted(after, name):
    Path("out").mkdir()
    if after:
        write([1])
    (Path("out") / name).write_text("mine")
    had = {file.name for file in Path("out").iterdir()}
    with pytest.raises(UserError, match="only a folder of earlier masks can be replaced, but out holds other files"):
        write([2])
    assert {file.name for file in Path("out").iterdir()} == had
    assert (Path("out") / name).read_text() == "mine"


def test_a_file_added_during_the_run_is_not_deleted():
    write([1])

    def values():
        yield 2
        Path("out/notes.txt").write_text("mine")

    with pytest.raises(UserError, match="out holds other files"):
        write(values())
    assert masks_in() == {"000000-1.png"}
    assert sorted(file.name for file in Path().iterdir()) == ["out", "out.csv"]


def test_masks_do_not_appear_if_the_table_cannot_be_written(monkeypatch):
    write([1])
    monkeypatch.setattr(predictions_file, "atomic_file", lambda file: nullcontext(Path("/dev/full")))
    with pytest.raises(UserError, match="--out must be writable, but out.csv is not: No space left"):
        write([2, 2])  # few rows, which stay in the buffer until the end
    assert masks_in() == {"000000-1.png"}
    assert sorted(file.name for file in Path().iterdir()) == ["out", "out.csv"]


def test_links_and_files_are_not_replaced():
    Path("elsewhere").mkdir()
    Path("out").symlink_to("elsewhere")
    Path("table").write_text("mine")
    for table in ("out.csv", "table.csv"):
        with pytest.raises(UserError, match="holds other files"):
            write([1], table)
    assert sorted(file.name for file in Path().iterdir()) == ["elsewhere", "out", "table"]


def test_a_table_without_a_suffix_is_refused():
    with pytest.raises(UserError, match="masks need a folder whose name differs from out: give --out a suffix"):
        write([1], "out")
    assert list(Path().iterdir()) == []


def test_the_command_can_be_interrupted_and_repeated(trained, tmp_path, monkeypatch):  # noqa: F811
    arguments = [str(trained[2]), "scan.png", "--address", "127.0.0.1:9"]  # no cluster is joined for masks
    Path("scan.png").write_bytes(png(np.zeros((9, 9), np.uint8)))
    score_parts = batch_prediction.score_parts

    def interrupted(ensemble, parts):
        yield from score_parts(ensemble, parts)
        raise KeyboardInterrupt

    for function, code in ((interrupted, 130), (score_parts, 0), (interrupted, 130), (score_parts, 0)):
        monkeypatch.setattr(batch_prediction, "score_parts", function)
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == code, done.output + done.stderr
        assert ("predictions.csv was not changed" in done.output) == (code == 130)
    assert masks_in("predictions") == {"000000-scan.png"}
    assert sorted(file.name for file in Path().iterdir()) == ["predictions", "predictions.csv", "scan.png"]


def test_masks_of_an_earlier_run_are_not_scored(trained, tmp_path):  # noqa: F811
    for name in ("p0", "p1"):
        Path(f"{name}.png").write_bytes(png(np.full((40, 40), 7, np.uint8)))
    for run in range(2):
        done = CliRunner().invoke(app, [str(trained[2]), "."])
        assert done.exit_code == 0 and "2 of 2 images scored" in done.output
        noted = "2 files were not read: 2 masks that tune-predict wrote" in " ".join(done.output.split())
        assert noted == (run == 1)
        with Path("predictions.csv").open(newline="") as opened:
            assert [row["file"] for row in csv.DictReader(opened)] == ["p0.png", "p1.png"]
