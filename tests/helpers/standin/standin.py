"""The Python side of the stand-in for libedgetpu: its delegates are those of a virtual device."""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path
from typing import Any

_open: dict[int, Any] = {}


def create(arguments: str) -> int:
    """ "TYPE PATH OPTIONS" -> the address of a TfLiteDelegate that runs a model.

    STANDIN_MODEL names its file (a pattern), or those of several devices: DEVICE=FILE,DEVICE=FILE.
    """
    from atoll.device import VirtualEdgeTpu
    from atoll.device.virtual.region import Region
    from atoll.errors import DeviceError
    from atoll.model.tflite import read_model

    kind, path, options = arguments.split(" ", 2)
    _note(event="create", type=kind, path=path, options=options)
    delegate = VirtualEdgeTpu().delegate(read_model(_file(path)))
    if os.environ.get("STANDIN_FAIL") == "fail_invoke":

        def broken(_: Region) -> None:
            raise DeviceError("the stand-in was told to fail")

        Region.run = broken  # type: ignore[method-assign]
    address = delegate._get_native_delegate_pointer()
    _open[address] = delegate
    return address


def _file(device: str) -> Path:
    setting = os.environ["STANDIN_MODEL"]
    if "=" in setting:
        setting = dict(item.split("=") for item in setting.split(","))[device]
    (found,) = glob.glob(setting)
    return Path(found)


def free(arguments: str) -> int:
    del _open[int(arguments)]
    _note(event="free")
    return 0


def _note(**fields: object) -> None:
    with Path(os.environ["STANDIN_LOG"]).open("a") as file:
        file.write(json.dumps({"pid": os.getpid(), **fields}) + "\n")
