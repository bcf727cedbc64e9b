"""Downloads from a stand-in of the hub, whose questions are counted."""

import errno
import hashlib
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, file_download

from tests.hub import DATASET, StandIn, write_dataset
from trainables.core.hub import downloads
from trainables.core.hub.downloads import dataset_snapshot, model_file, url_file
from trainables.core.hub.failures import HubError, explain

MODEL = "owner/net"
INFO = f"GET /api/datasets/{DATASET}"


def write_model(hub: StandIn, content: bytes = bytes(range(256)) * 40, name: str = "model.safetensors") -> Path:
    file = hub.root / "models" / MODEL / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a port on which nothing listens."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.3)


def test_a_data_set_is_downloaded_once_and_then_asked_about_once(hub: StandIn) -> None:
    write_dataset(hub.root, {"train": [b"a" * 9, b"b" * 9], "test": [b"c" * 9]})
    folder = dataset_snapshot(DATASET)
    stored = hub.root / "datasets" / DATASET
    names = ["README.md", "data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"]
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*")) == names
    assert all((folder / name).read_bytes() == (stored / name).read_bytes() for name in names)
    hub.asked.clear()
    assert dataset_snapshot(DATASET) == folder
    assert hub.asked == [INFO]
    assert dataset_snapshot(DATASET, folder.name) == folder
    assert hub.asked == [INFO]


def test_a_newer_version_is_noticed_and_the_older_one_stays(hub: StandIn) -> None:
    write_dataset(hub.root, {"train": [b"a", b"b"]})
    old = dataset_snapshot(DATASET)
    write_dataset(hub.root, {"train": [b"c", b"d"]})
    new = dataset_snapshot(DATASET)
    assert new != old
    hub.asked.clear()
    assert dataset_snapshot(DATASET, old.name) == old
    assert hub.asked == []


def test_an_interrupted_newer_version_leaves_the_complete_one(hub: StandIn) -> None:
    """Otherwise a search would train on the part of the files that arrived."""
    write_dataset(hub.root, {"train": [b"a", b"b"], "test": [b"c", b"d"]})
    old = dataset_snapshot(DATASET)
    write_dataset(hub.root, {"train": [b"e", b"f"], "test": [b"g", b"h"]})
    hub.fault, hub.faulty = "no file", "resolve/.*/data/train"
    assert dataset_snapshot(DATASET) == old
    hub.fault, hub.faulty = "server error", "api"
    assert dataset_snapshot(DATASET) == old


@pytest.mark.parametrize("fault", ["gated", "private", "server error", "portal", "reset"])
def test_the_cache_is_used_if_the_hub_does_not_answer_well(hub: StandIn, fault: str, capfd) -> None:
    write_dataset(hub.root, {"train": [b"a", b"b"]})
    folder = dataset_snapshot(DATASET)
    hub.fault = fault
    assert dataset_snapshot(DATASET) == folder
    assert capfd.readouterr() == ("", "")


def test_without_a_network_the_cache_is_used_silently_and_fast(hub: StandIn, monkeypatch, capfd) -> None:
    write_dataset(hub.root, {"train": [b"a", b"b"]})
    write_model(hub)
    folder, file = dataset_snapshot(DATASET), model_file(MODEL)
    unreachable(monkeypatch)
    began = time.monotonic()
    assert (dataset_snapshot(DATASET), model_file(MODEL)) == (folder, file)
    assert time.monotonic() - began < 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("impatient")
def test_a_hub_that_drops_packets_is_asked_once(hub: StandIn) -> None:
    write_dataset(hub.root, {"train": [b"a", b"b"]})
    folder = dataset_snapshot(DATASET)
    hub.asked.clear()
    hub.fault, began = "hang", time.monotonic()
    assert dataset_snapshot(DATASET) == folder
    with pytest.raises(HubError, match=r"did not answer within 10 s: set HTTPS_PROXY, set HF_ENDPOINT"):
        dataset_snapshot("owner/other")
    write_model(hub)
    with pytest.raises(HubError, match="did not answer within 10 s"):
        model_file(MODEL)
    assert time.monotonic() - began < 3
    assert len(hub.asked) == 3


@pytest.mark.usefixtures("impatient")
def test_a_listing_that_hangs_is_asked_for_once(hub: StandIn) -> None:
    """The client by itself asks six times, with pauses of up to 8 s in between."""
    write_dataset(hub.root, {"train": [b"a", b"b"]})
    hub.fault, hub.faulty = "hang", "tree"
    for asked in (1, 2):  # a later command asks again
        began = time.monotonic()
        with pytest.raises(HubError, match="did not answer within 10 s"):
            dataset_snapshot(DATASET)
        assert time.monotonic() - began < 3
        assert sum("/tree/" in line for line in hub.asked) == asked
    hub.fault = None
    assert dataset_snapshot(DATASET).is_dir()


def test_offline_mode_asks_nothing(hub: StandIn, monkeypatch) -> None:
    write_dataset(hub.root, {"train": [b"a", b"b"]})
    write_model(hub)
    folder, file = dataset_snapshot(DATASET), model_file(MODEL)
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert (dataset_snapshot(DATASET), model_file(MODEL)) == (folder, file)
    for ask in (lambda: dataset_snapshot("owner/other"), lambda: model_file("owner/other")):
        with pytest.raises(HubError, match="owner/other is not in the cache, and HF_HUB_OFFLINE forbids to ask"):
            ask()
    assert hub.asked == []


REASONS = {
    "gated": "is gated: accept its terms on .*, and then set HF_TOKEN or run `hf auth login`",
    "private": "or it is private: check the name; for a private one, set HF_TOKEN or run `hf auth login`",
    "missing": "has no .*, or it is private: check the name",
    "forbidden": "refused access to .* with status 403: set HF_TOKEN",
    "busy": "too many requests .status 429.: try again later, or set HF_TOKEN",
    "server error": "has a server error .status 503.: try again later",
    "portal": "is not that server, but perhaps a network's sign-in page: sign in .* or correct HF_ENDPOINT",
    "reset": "the connection to .* broke off .*: try again; if it happens again, set HTTPS_PROXY",
}


@pytest.mark.parametrize("fault", REASONS)
def test_failures_are_told_apart(hub: StandIn, fault: str) -> None:
    write_dataset(hub.root, {"train": [b"a", b"b"]})
    write_model(hub)
    hub.fault = fault
    for ask, wanted in ((dataset_snapshot, DATASET), (model_file, MODEL)):
        with pytest.raises(HubError, match=REASONS[fault]) as raised:
            ask(wanted)
        assert "\n" not in str(raised.value)
        assert hub.address in str(raised.value)


def test_a_token_that_does_not_permit_is_named(hub: StandIn, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.fault = "gated"
    with pytest.raises(HubError, match="accept its terms on .* with the account of the access token in use$") as raised:
        model_file(MODEL)
    assert "hf_secret" not in str(raised.value)


def test_an_unresolved_name_a_refused_port_and_a_proxy_are_told_apart(hub: StandIn, monkeypatch) -> None:
    from huggingface_hub import close_session

    unreachable(monkeypatch)
    with pytest.raises(HubError, match=r"http://127.0.0.1:9 cannot be reached \(.*refused"):
        dataset_snapshot(DATASET)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    with pytest.raises(HubError, match=r"the name of https://hub.invalid cannot be resolved: check the network"):
        dataset_snapshot(DATASET)
    monkeypatch.setenv("HTTPS_PROXY", hub.address)
    close_session()
    for ask in (lambda: dataset_snapshot(DATASET), lambda: url_file("https://hub.invalid/net-12345678.pth")):
        with pytest.raises(
            HubError, match=rf"the proxy {hub.address} refuses a connection to https://hub.invalid \(.*403 .*NO_PROXY"
        ):
            ask()


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        ("http://me:secret@127.0.0.1:9", r"the proxy http://.*127.0.0.1:9 cannot be reached \(.*refused"),
        ("http://proxy.invalid:3128", "the name of the proxy http://proxy.invalid:3128 cannot be resolved"),
    ],
)
def test_a_proxy_that_is_not_there_is_named_instead_of_the_hub(
    hub: StandIn, monkeypatch, proxy: str, reason: str
) -> None:
    from huggingface_hub import close_session

    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    close_session()
    for ask in (lambda: dataset_snapshot(DATASET), lambda: url_file("https://hub.invalid/net-12345678.pth")):
        with pytest.raises(HubError, match=f"{reason}.*: correct HTTPS_PROXY or NO_PROXY") as raised:
            ask()
        assert "secret" not in str(raised.value)
    monkeypatch.setenv("NO_PROXY", "hub.invalid")
    close_session()
    with pytest.raises(HubError, match="the name of https://hub.invalid cannot be resolved"):
        dataset_snapshot(DATASET)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_asks_for_a_login_is_named(hub: StandIn, monkeypatch, scheme: str) -> None:
    from huggingface_hub import close_session

    monkeypatch.setenv(f"{scheme.upper()}_PROXY", hub.address)
    monkeypatch.setattr(constants, "ENDPOINT", f"{scheme}://hub.invalid")
    hub.fault = "login"
    close_session()
    for ask in (lambda: dataset_snapshot(DATASET), lambda: url_file(f"{scheme}://hub.invalid/net-12345678.pth")):
        with pytest.raises(
            HubError, match=f"the proxy {hub.address} asks for a login: write .* in {scheme.upper()}_PROXY"
        ):
            ask()


def test_an_address_of_another_kind_is_refused(hub: StandIn, monkeypatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "nonsense")
    with pytest.raises(HubError, match="must be like https://huggingface.co, but is nonsense: correct HF_ENDPOINT"):
        dataset_snapshot(DATASET)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_not_the_hubs_fault(number: int) -> None:
    line = explain(OSError(number, "text", "/home/hub"), "resnet18", "https://hub")
    assert "set HF_HOME or TORCH_HOME" in line
    assert "https://hub" not in line


def test_a_truncated_or_zeroed_download_is_never_used(hub: StandIn) -> None:
    """The hub's client retries what is cut off for 5 s. It does not compare digests."""
    write_dataset(hub.root, {"train": [b"a" * 99, b"b" * 99]})
    write_model(hub)
    hub.fault, hub.faulty = "cut", "resolve"
    with pytest.raises(
        HubError, match=f"the download of {MODEL} from {hub.address} was truncated: try again|broke off"
    ):
        model_file(MODEL)
    hub.fault = "zeros"
    for ask, wanted in ((dataset_snapshot, DATASET), (model_file, MODEL)):
        for _ in range(2):
            with pytest.raises(HubError, match="/blobs/[0-9a-f]{64} is damaged, .*: delete it and run again") as raised:
                ask(wanted)
        hub.fault = None
        Path(str(raised.value).split(" is damaged")[0]).unlink()
        ask(wanted)
        hub.fault = "zeros"


@pytest.mark.usefixtures("impatient")
def test_weights_that_are_held_are_asked_for_once(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client would ask six times, each with its time-out."""
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    write_model(hub)
    hub.fault, hub.faulty = "hang", "^GET"
    with pytest.raises(HubError, match="did not answer within 10 s"):
        model_file(MODEL)
    assert len([question for question in hub.asked if question.startswith("GET")]) == 1


def test_a_download_that_always_breaks_off_ends(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client begins again for ever where a server in between cuts answers and knows no ranges."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 16)
    monkeypatch.setattr(file_download, "time", SimpleNamespace(**{**vars(time), "sleep": lambda _: None}))
    write_model(hub)
    hub.fault, hub.faulty = "cut", "^GET .*resolve"
    with pytest.raises(HubError, match="was truncated: try again"):
        model_file(MODEL)
    assert len([question for question in hub.asked if question.startswith("GET")]) <= 20


def test_another_file_of_a_repository_is_taken_if_the_first_is_missing(hub: StandIn) -> None:
    write_model(hub, b"pickle", "pytorch_model.bin")
    assert model_file(MODEL, ("model.safetensors", "pytorch_model.bin")).read_bytes() == b"pickle"
    with pytest.raises(HubError, match=f"{hub.address} has {MODEL}, but not its file"):
        model_file(MODEL)


def served(hub: StandIn, content: bytes = b"weights" * 99, name: str = "net-{}.pth") -> str:
    file = hub.root / "files" / name.format(hashlib.sha256(content).hexdigest()[:8])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return f"{hub.address}/files/{file.name}"


def test_a_file_of_a_server_is_fetched_once(hub: StandIn) -> None:
    url = served(hub)
    assert url_file(url).read_bytes() == b"weights" * 99
    assert url_file(url) == url_file(url)
    assert hub.asked == [f"GET /files/{url.split('/')[-1]}"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("hang", "did not answer within 10 s"),
        ("portal", "perhaps a network's sign-in page"),
        ("cut", "was truncated: try again"),
        ("zeros", "was truncated: try again"),
        ("server error", "has a server error .status 503.: try again later"),
        ("missing", r"does not know net-.* .status 404.: check the name"),
    ],
)
def test_a_failed_download_from_a_server_leaves_nothing(hub: StandIn, fault: str, message: str, tmp_path) -> None:
    url, hub.fault = served(hub), fault
    with pytest.raises(HubError, match=message):
        url_file(url)
    assert not any(file.is_file() for file in (tmp_path / "torch").rglob("*"))
    hub.fault = None
    assert url_file(url).is_file()


def test_a_torn_file_in_torchs_cache_is_named(hub: StandIn) -> None:
    file = url_file(served(hub))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(HubError, match=f"{file} is damaged, as its SHA-256 differs from its name: delete it"):
        url_file(served(hub))


FETCH = """
from trainables.core.hub.downloads import dataset_snapshot, model_file
print(dataset_snapshot("owner/brains"), model_file("owner/net"))
"""


def test_the_processes_of_a_node_ask_once_together(hub: StandIn) -> None:
    """Three processes that start at once, as workers do."""
    write_dataset(hub.root, {"train": [b"a", b"b"]})
    write_model(hub)
    running = [
        subprocess.Popen([sys.executable, "-c", FETCH], stdout=subprocess.PIPE, cwd=Path(__file__).parents[4])
        for _ in range(3)
    ]
    assert len({process.communicate()[0] for process in running}) == 1
    assert all(process.returncode == 0 for process in running)
    downloaded = [line for line in hub.asked if line.startswith("GET") and line != INFO]
    assert len(downloaded) == len(set(downloaded)) == 4, downloaded  # the listing, two files of data, the model
    assert sum(line.startswith("HEAD /owner/net") for line in hub.asked) == 2, hub.asked  # one by us, one by the client
