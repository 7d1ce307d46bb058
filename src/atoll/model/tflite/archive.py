"""Bytes of a ``.tflite`` file → where the ZIP archive behind the FlatBuffer begins, if there is one.

TFLite metadata keeps labels and other associated files there. (Read here, since importing :mod:`zipfile` takes longer
than reading a model. Format: PKWARE's APPNOTE.TXT, sections 4.3.12 and 4.3.16.)
"""

from __future__ import annotations

import struct

_END = struct.Struct("<4s4x2xHIIH")
"""The end record: magic, entries, size and offset of the directory, length of the comment."""
_END_MAGIC = b"PK\5\6"
_ENTRY = struct.Struct("<4s24xHHH8xI")
"""An entry of the directory: magic, lengths of name, extra field and comment, offset of the file."""
_ENTRY_MAGIC = b"PK\1\2"
_LONGEST_COMMENT = 2**16 - 1


def archive_start(data: memoryview) -> int | None:
    """Where the archive begins that ``data`` ends with; None without one."""
    tail = bytes(data[-(_LONGEST_COMMENT + _END.size) :])
    at = tail.rfind(_END_MAGIC, 0, len(tail) - _END.size + len(_END_MAGIC))
    if at < 0:
        return None
    _, entries, size, offset, _ = _END.unpack_from(tail, at)
    directory = len(data) - len(tail) + at - size
    shift = directory - offset  # offsets count from the archive's beginning, or as in a file of another size before
    if directory < 0:
        return None  # the four bytes were weights
    start = position = directory
    for _ in range(entries):
        if position + _ENTRY.size > directory + size:
            return None
        magic, name, extra, comment, file = _ENTRY.unpack_from(data, position)
        if magic != _ENTRY_MAGIC:
            return None
        start = min(start, file + shift)
        position += _ENTRY.size + name + extra + comment
    return start if start > 0 else None
