import pytest
import torch

from trainables.core.models.stored_rows import OUTPUTS, read_rows, write_rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_vectors_are_read_as_they_were_written(tmp_path, dtype):
    rows = torch.randn(5, 7).to(dtype)
    write_rows(tmp_path, iter(rows.split(2)), 5)
    stored = read_rows(tmp_path)
    assert torch.equal(stored.outputs, rows) and stored.outputs.dtype == dtype
    assert not stored.channels_last


def test_channels_last_images_are_stored_with_the_channels_last(tmp_path):
    images = torch.randn(4, 3, 5, 6).contiguous(memory_format=torch.channels_last)
    write_rows(tmp_path, iter(images.split(3)), 4)
    stored = read_rows(tmp_path)
    assert stored.channels_last
    assert torch.equal(stored.outputs.permute(0, 3, 1, 2), images)


def test_a_truncated_file_is_refused(tmp_path):
    write_rows(tmp_path, iter([torch.randn(4, 100)]), 4)
    content = (tmp_path / OUTPUTS).read_bytes()
    (tmp_path / OUTPUTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"mmap|size"):
        read_rows(tmp_path)
