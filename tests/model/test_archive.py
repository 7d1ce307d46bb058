"""Where an archive begins behind other bytes: as the zipfile module finds it, and nowhere in bytes that hold none."""

from __future__ import annotations

import io
import random
import zipfile

import pytest

from atoll.model.tflite.archive import archive_start


def archive(files: int, comment: bytes = b"") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as written:
        for number in range(files):
            written.writestr(f"labels_{number}.txt", b"cat\n" * number)
        written.comment = comment
    return content.getvalue()


@pytest.mark.parametrize("before", [1, 100, 70_000])
@pytest.mark.parametrize("files", [0, 1, 3])
@pytest.mark.parametrize("comment", [b"", b"made by a converter"])
def test_it_begins_where_the_bytes_before_end(before: int, files: int, comment: bytes) -> None:
    data = bytes(before) + archive(files, comment)
    assert archive_start(memoryview(data)) == before
    with zipfile.ZipFile(io.BytesIO(data)) as read:
        assert min((item.header_offset for item in read.infolist()), default=read.start_dir) == before


def test_bytes_that_hold_none() -> None:
    generator = random.Random(1)
    for size in (0, 3, 4, 21, 22, 100, 1000):
        assert archive_start(memoryview(bytes(size))) is None
        for _ in range(50):
            content = generator.randbytes(size)
            at = generator.randrange(size + 1)
            assert archive_start(memoryview(content[:at] + b"PK\5\6" + content[at:])) is None


def test_torn_archives() -> None:
    data = bytes(10) + archive(3)
    for end in range(10, len(data)):
        assert archive_start(memoryview(data[:end])) is None
