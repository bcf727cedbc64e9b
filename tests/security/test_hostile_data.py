"""Data sets whose author means harm: what they plant is refused in a line, or stands as text."""

import csv
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow.utils.validation import _validate_metric_name
from PIL import Image
from typer.testing import CliRunner

from tests.images import png, write_classes
from tests.trainables.core.serving.test_score_images import folder as model  # noqa: F401
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.unlabelled import find_parts, read_part
from trainables.core.data.readers.untrusted_files import printable
from trainables.core.errors import DataError
from trainables.core.serving.score_images import ScoredImage
from trainables.core.training.metrics.classification_metrics import class_keys, classification_metrics
from tuning.cli import audit, predict
from tuning.predict.predictions_file import PredictionsFile

NAMES = ("../x", "<script>alert(1)</script>", "=cmd()", "a/b\\c", "' OR 1=1 --", "{{7*7}}", "%s$(id)`id`", "[b]x[/b]")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width, height, *chunks, depth=8):
    """A file of some hundred bytes that claims so many black pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(10**6), 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + rows + chunk(b"IEND", b"")


def tiff_of(width, height):
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 1)]
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + body + bytes(4)


def bombs():
    gif = io.BytesIO()
    Image.new("L", (8, 8)).save(gif, "GIF")
    gif = bytearray(gif.getvalue())
    gif[6:10] = struct.pack("<HH", 40_000, 40_000)
    jpeg = io.BytesIO()
    Image.new("L", (8, 8)).save(jpeg, "JPEG")
    jpeg = bytearray(jpeg.getvalue())
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 40_000, 40_000)
    text = chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(64 * 2**20), 9))
    profile = chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(64 * 2**20), 9))
    return {
        "PNG": png_of(40_000, 40_000),
        "deep PNG": png_of(40_000, 40_000, depth=16),
        "wide PNG": png_of(2**31 - 1, 1),
        "PNG just beyond what is meant": png_of(9_500, 9_500, depth=16),
        "GIF": bytes(gif),
        "JPEG": bytes(jpeg),
        "TIFF": tiff_of(40_000, 40_000),
        "PPM": b"P5 40000 40000 255\n" + bytes(100),
        "PNG with a text": png_of(8, 8, text),
        "PNG with a profile": png_of(8, 8, profile),
    }


LIMITED = """
import json, resource, sys, time
from pathlib import Path
from trainables.core.data.decode.images import PixelFormat, decode
from trainables.core.data.decode.survey import survey

class Images(list):
    def read(self, index):
        return self[index]

pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 200 * 2**20,) * 2)
for file in sorted(Path(sys.argv[1]).iterdir()):
    began = time.monotonic()
    surveyed = survey(Images([file.read_bytes()]), threads=1)
    try:
        told = str(decode(file.read_bytes(), 32, PixelFormat(1, 255)).shape)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
    print(json.dumps([file.name, surveyed.pixel_format.white, told, time.monotonic() - began]))
"""


def test_bombs_cost_neither_memory_nor_time(tmp_path):
    for name, content in bombs().items():
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-W", "ignore", "-c", LIMITED, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = list(map(json.loads, done.stdout.splitlines()))
    assert len(rows) == len(bombs())
    for name, white, told, seconds in rows:
        assert white == 255
        assert seconds < 5
        if "with a" in name:  # what is beside the pixels is left out
            assert told == "(32, 32, 1)" or told.startswith("DataError: not a readable image: ")
        else:
            assert told.startswith("DataError: not a readable image: ")
        assert "Memory" not in told
        assert len(told) < 200


@pytest.fixture
def images(tmp_path):
    return write_classes(tmp_path / "data", {"a": 12, "b": 12})


def refused(place, **options):
    with pytest.raises(DataError) as raised:
        prepare(str(place), sizes=[16], seed=0, store=place.parent / "store", **options)
    (line,) = str(raised.value).splitlines()
    return line


def test_links_out_of_the_folder_are_refused_or_left_out(images, tmp_path):
    outside = write_classes(tmp_path / "others", {"patients": 2})
    (images / "a" / "900.png").symlink_to(outside / "patients" / "000.png")
    (images / "b" / "901.png").symlink_to("../../others/patients/001.png")
    line = refused(images)
    assert "but 2 are not (a/900.png: a link must not lead out of the data folder: copy its target there" in line
    data = prepare(str(images), sizes=[16], seed=0, store=tmp_path / "store", skip_bad_images=True)
    assert list(data.audit.broken) == ["a/900.png", "b/901.png"]
    assert data.images(16)[[index for index, name in enumerate(_names(images)) if "90" in name]].max() == 0


def _names(place):
    return open_source(str(place)).names


def test_links_within_the_folder_are_images_and_the_folder_may_be_one(images, tmp_path):
    (images / "a" / "900.png").symlink_to("../b/000.png")
    (tmp_path / "linked").symlink_to(images)
    source = open_source(str(tmp_path / "linked"))
    assert source.read(12) == (images / "b" / "000.png").read_bytes()


def test_a_parquet_file_that_is_a_link_out_is_refused(tmp_path):
    (tmp_path / "outside.parquet").write_bytes(b"")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.parquet").symlink_to(tmp_path / "outside.parquet")
    assert "a link must not lead out of the data folder" in refused(tmp_path / "data")


@pytest.mark.timeout(20)
def test_what_is_no_file_is_not_waited_for(images, tmp_path):
    os.mkfifo(images / "a" / "pipe.png")
    (images / "a" / "device.png").symlink_to("/dev/zero")
    (images / "b" / "folder.png").mkdir()
    (images / "b" / "gone.png").symlink_to("nowhere.png")
    (images / "b" / "loop.png").symlink_to("loop.png")
    with (images / "b" / "sparse.png").open("wb") as file:
        file.truncate(2**40)
    line = refused(images)
    assert "but 5 are not" in line and "folder.png" not in line
    for told in ("pipe.png: it is not a regular file", "1099511627776 bytes"):
        assert told in line
    os.mkfifo(images / "pipe.parquet")
    assert "but 5 are not" in refused(images)
    (part,) = find_parts([str(images / "b" / "sparse.png")])
    (read,) = read_part(part)
    assert read.error == "cannot be read: it has 1099511627776 bytes, more than 1073741824"


def parquet(place, names, count=24):
    """In the hub's layout, where class names may be anything."""
    place.mkdir()
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count * len(names), 32, 32), dtype=np.uint8)
    rows = [{"bytes": png(image), "path": f"{names[0]}{index}.png"} for index, image in enumerate(pixels)]
    labels = np.arange(len(rows)) % len(names)
    info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = pa.table({"image": rows, "label": labels}).replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, place / "train.parquet")
    return place


def test_class_names_are_text_to_files_mlflow_and_spreadsheets(tmp_path):
    place = parquet(tmp_path / "data", NAMES)
    data = prepare(str(place), sizes=[16], seed=0, store=tmp_path / "store")
    assert data.class_names == NAMES
    uniform = np.eye(len(NAMES))[data.labels]
    for name in classification_metrics(uniform, data.labels, NAMES):
        _validate_metric_name(f"test_{name}")
    assert len(class_keys(NAMES)) == len(set(class_keys(NAMES)))
    with PredictionsFile(tmp_path / "out.csv") as file:
        file.begin(NAMES)
        file.write(ScoredImage("=HYPERLINK(1).png", np.eye(len(NAMES), dtype=np.float32)[2], answer=NAMES[2]))
    headings, row = csv.reader((tmp_path / "out.csv").open())
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in (*headings, *row))
    assert (row[0], row[1]) == ("'=HYPERLINK(1).png", "'=cmd()")
    written = {file.relative_to(tmp_path).parts[0] for file in tmp_path.rglob("*")}
    assert written <= {"data", "store", "out.csv"}


@pytest.mark.parametrize("name", ["\x1b]0;title\x07", "a\nb", "\u202egnp.x", "", "x" * 201, "nul\0"])
def test_class_names_that_cannot_be_printed_are_refused(tmp_path, name):
    line = refused(parquet(tmp_path / "data", [name, "b"]))
    assert "class names must be printable and have at most 200 characters" in line
    assert printable(line) == line


def test_names_of_files_move_no_terminal(images, tmp_path, model, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TUNE_RUN_CACHE", str(tmp_path / "store"))
    name = b"\x1b[2J\x1b]0;owned\x07\xff.png"
    (images / "a" / os.fsdecode(name)).write_bytes(b"no image")
    shown = r"\x1b[2J\x1b]0;owned\x07\udcff.png"
    done = CliRunner().invoke(audit.app, [str(images), "--json", str(tmp_path / "audit.json")])
    assert done.exit_code == 0
    scored = CliRunner().invoke(predict.app, [str(model), str(images / "a"), "--out", str(tmp_path / "out.csv")])
    assert scored.exit_code == 1
    for output in (done.output, scored.output):
        assert shown in output
        assert "\x1b]" not in output
    assert shown in json.loads((tmp_path / "audit.json").read_text())["broken"].popitem()[0]


def test_a_folder_whose_name_is_no_text_is_refused(images, tmp_path):
    (images / os.fsdecode(b"\xff")).mkdir()
    assert "has '\\\\udcff': rename it" in refused(images)
