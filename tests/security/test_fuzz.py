"""Whatever comes in, it is taken or refused in a line: never a traceback, a hang, or something half written.

`TUNE_RUN_FUZZ=100 pytest tests/security/test_fuzz.py` tries a hundred times as much, at random (`make fuzz`).
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from tests.images import png, write_classes
from tests.trainables.core.serving.test_score_images import folder as model  # noqa: F401
from trainables.core.config import TrainConfig
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.decode.images import FORMATS, PixelFormat, decode
from trainables.core.data.decode.survey import survey
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.unlabelled import find_parts, read_part
from trainables.core.errors import CheckpointError, ConfigError, DataError, UserError
from trainables.core.models.checkpoints.checkpoint import load_checkpoint
from trainables.core.serving.ensemble_files import open_ensemble
from tuning.cli import audit, ensemble, predict, report, run
from tuning.search import session

MORE = int(os.environ.get("TUNE_RUN_FUZZ", "1"))


def fuzz(examples):
    """Settings of a test: the same inputs every time, unless more are asked for."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    same = MORE == 1
    return settings(
        max_examples=examples * MORE,
        derandomize=same,
        phases=[Phase.generate, *([] if same else [Phase.shrink])],
        deadline=None,  # a busy machine is no fault; the test's own time-out ends what hangs
        suppress_health_check=checks,
        database=None,
    )


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
VALID = {
    "backbone": "scratch_cnn", "weights": "random", "image_size": 32, "head": "linear", "optimizer": "adamw",
    "lr": 1e-3, "batch_size": 16, "epochs": 3,
}  # fmt: skip
KEYS = [field.name for field in dataclasses.fields(TrainConfig)]


@st.composite
def damaged(draw, content: bytes):
    """The content with some bytes changed, cut out or put in, or cut short."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["change", "cut", "insert", "end"]))
        if kind == "change" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        else:
            del data[at:]
    return bytes(data)


@st.composite
def changed(draw, tree):
    """A JSON value with another value at some place within it."""
    if isinstance(tree, dict) and tree and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(tree)))
        if draw(st.integers(0, 5)) == 0:
            return {name: value for name, value in tree.items() if name != key}
        return {**tree, key: draw(changed(tree[key]))}
    if isinstance(tree, list) and tree and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(tree) - 1))
        return [*tree[:at], draw(changed(tree[at])), *tree[at + 1 :]]
    return draw(values)


@fuzz(200)
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), values, max_size=6))
def test_configurations(changes):
    try:
        config = TrainConfig.from_dict(VALID | changes)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert TrainConfig.from_dict(config.to_dict()) == config


def encoded(kind):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(buffer, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
    return buffer.getvalue()


class Images(list):
    def read(self, index):
        return self[index]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_images(kind):
    @fuzz(30)
    @given(damaged(encoded(kind)))
    def check(data):
        assert survey(Images([data]), threads=1).pixel_format.channels in (1, 3)
        try:
            assert decode(data, 8, PixelFormat(3, 255)).shape == (8, 8, 3)
        except DataError as error:
            assert len(str(error).splitlines()) == 1

    check()


def hub_table(rows=12):
    images = [{"bytes": png(np.full((8, 8), 20 * row, np.uint8)), "path": f"{row}.png"} for row in range(rows)]
    info = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": images, "label": [row % 2 for row in range(rows)]})
    return table.replace_schema_metadata({"huggingface": json.dumps(info)})


def as_parquet(table, **options):
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def reads_or_refuses(place, data):
    """Reads a parquet file in both ways that there are."""
    (place / "train.parquet").write_bytes(data)
    try:
        source = open_source(str(place))
        assert len(source.read_all()[1]) == len(source) == len(source.names)
    except DataError as error:
        assert len(str(error).splitlines()) == 1
    try:
        parts = find_parts([str(place)])
        assert sum(part.images for part in parts) == len([row for part in parts for row in read_part(part)])
    except DataError as error:
        assert len(str(error).splitlines()) == 1


@fuzz(120)
@given(damaged(as_parquet(hub_table(), compression="none")))
def test_parquet_files(tmp_path, data):
    reads_or_refuses(tmp_path, data)


columns = st.sampled_from([
    [1, 2, None], [0.5, 1e300, float("nan")], ["a", None, "c"], [b"x", b"", None], [None] * 3, [True, False, None],
    [[1], [], None], [{"bytes": b"x"}, {"bytes": None}, None], [{"bytes": "x"}] * 3, [{"bytes": [1]}] * 3,
    [{"path": "x"}] * 3, [{"a": {"bytes": b"x"}}] * 3, [-5, 2**62, 0], [2**40, 1, 0], [{"bytes": b"x", "path": 3}] * 3,
    hub_table(3)["image"].to_pylist(),
])  # fmt: skip
tables = st.dictionaries(st.sampled_from(["image", "label", "other"]), columns, min_size=1)
INFO = {"info": {"features": {"label": {"names": ["a", "b"]}}}}
infos = st.binary(max_size=30) | changed(INFO).map(lambda tree: json.dumps(tree).encode())


@fuzz(100)
@given(tables, infos)
def test_parquet_schemas(tmp_path, table, metadata):
    reads_or_refuses(tmp_path, as_parquet(pa.table(table).replace_schema_metadata({"huggingface": metadata})))


@fuzz(60)
@given(st.data())
def test_checkpoints(model, tmp_path, data):  # noqa: F811
    place = tmp_path / "checkpoint"
    shutil.copytree(model / "member-0", place, dirs_exist_ok=True)
    meta, tensors = (place / "state.json").read_text(), (place / "state.safetensors").read_bytes()
    if data.draw(st.booleans()):
        tensors = data.draw(damaged(tensors[:4000])) + tensors[4000:]
        (place / "state.safetensors").write_bytes(tensors)
        meta = json.dumps(json.loads(meta) | {"sha256": hashlib.sha256(tensors).hexdigest()})
    (place / "state.json").write_text(json.dumps(data.draw(changed(json.loads(meta)))))
    try:
        load_checkpoint(place)
    except CheckpointError as error:
        assert len(str(error).splitlines()) == 1


@fuzz(60)
@given(st.data())
def test_models(model, tmp_path, data):  # noqa: F811
    place = tmp_path / "model"
    shutil.copytree(model, place, dirs_exist_ok=True)
    file = place / data.draw(st.sampled_from(["ensemble.json", "member-0/state.json"]))
    file.write_text(json.dumps(data.draw(changed(json.loads(file.read_text())))))
    try:
        served = open_ensemble(place, torch.device("cpu"))
        assert served.probabilities([png(np.zeros((9, 9), np.uint8))]).shape == (1, len(served.class_names))
    except DataError as error:
        assert len(str(error).splitlines()) == 1


OPTIONS = {
    run.app: "weights image-size split group-threshold group-column group-pattern cache-size num-samples "
    "max-epochs time-budget metric cv-folds top-k tta seed cpus-per-trial gpus-per-trial max-concurrent max-failures "
    "trial-timeout storage name gpu-memory autoscale price-per-gpu-hour roi address study-storage tracking-uri "
    "warm-start",
    audit.app: "group-threshold group-column group-pattern cache-size json",
    ensemble.app: "k members rule tta storage study-storage tracking-uri",
    report.app: "out storage study-storage tracking-uri",
    predict.app: "out tracking-uri address",
}
GIVEN = {
    run.app: ["demo_space", "--backbone", "scratch_cnn", "--data", "nowhere"],
    audit.app: ["nowhere"], ensemble.app: ["nothing"], report.app: ["nothing"], predict.app: ["nothing", "images"],
}  # fmt: skip
NASTY = [
    "0", "-1", "1e9", "nan", "inf", "99999999999999999999", "", " ", "..", "/", "/dev/null", "a" * 300, "a" * 5000, "://",
    "sqlite://", "http://", "http://[", "s3://", "1h", "1x", "[", "(", "%s", "{}", "=", "--", "x.py", "a:b", "0.5",
    "50GB", "\ud800",
]  # fmt: skip
arguments = st.text(max_size=12) | st.sampled_from(NASTY)


@pytest.mark.parametrize("app", OPTIONS, ids=["run", "audit", "ensemble", "report", "predict"])
def test_command_lines(app, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNE_RUN_CACHE", str(tmp_path.parent / "cache"))
    write_classes(tmp_path / "images", {"a": 2})

    @fuzz(25)
    @given(options_of(app))
    def check(words):
        refused(app, [*words, *GIVEN[app]])
        assert {file.name for file in tmp_path.iterdir()} == {"images"}

    check()


@pytest.mark.slow
def test_command_lines_of_searches_that_could_be_run(tmp_path, monkeypatch):
    """Up to the moment where Ray is started."""

    def not_joined(setup, stack, console):
        raise UserError("no cluster here")

    monkeypatch.setattr(session, "join_cluster", not_joined)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNE_RUN_CACHE", str(tmp_path.parent / "cache"))

    @fuzz(25)
    @given(options_of(run.app))
    def check(words):
        refused(run.app, ["demo_space", "--backbone", "scratch_cnn", "--image-size", "32", *words])
        assert not (tmp_path / "results").exists()

    check()


def options_of(app):
    """Words of one to three options, most of them hostile."""
    options = st.lists(st.tuples(st.sampled_from(OPTIONS[app].split()), arguments), min_size=1, max_size=3)
    return options.map(lambda chosen: [word for name, value in chosen for word in (f"--{name}", value)])


def refused(app, words):
    done = CliRunner().invoke(app, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 2, done.output


@fuzz(60)
@given(arguments.filter(lambda place: "/" not in place))  # what is asked of the hub
def test_places_of_data(tmp_path, place):
    with contextlib.chdir(tmp_path), pytest.raises((DataError, OSError)):
        open_source(place or "nowhere")


@fuzz(15)
@given(st.data())
@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_anything_is_audited_or_refused(tmp_path, data):
    """Damage that makes images unreadable must not end the audit."""
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    write_classes(tmp_path / "data", {"a": 5, "b": 5})
    files = st.sampled_from(sorted((tmp_path / "data").rglob("*.png")))
    for file in data.draw(st.lists(files, max_size=10, unique=True)):
        file.write_bytes(data.draw(st.just(b"") | damaged(file.read_bytes())))
    try:
        found = inspect(str(tmp_path / "data"), store=tmp_path / "store").audit
        assert found.images == 10
        assert json.loads(json.dumps(found.to_dict()))["images"] == 10
    except DataError as error:
        assert len(str(error).splitlines()) == 1
