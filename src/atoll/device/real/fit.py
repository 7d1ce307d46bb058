"""This library and this LiteRT -> what they do together: plain, through the adapter, or not at all, because it was
tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.device.leasing.lease import reserve
from atoll.device.real import layouts, runtime, trial
from atoll.device.real.context_view import TensorBytes
from atoll.device.real.real_device import RealEdgeTpu, why_not
from atoll.errors import DeviceBusyError, DeviceError


@dataclass(frozen=True, slots=True)
class Fit:
    """What was seen; ``untried`` says why nothing was."""

    tensor_bytes: TensorBytes | None = None
    """With which tensors the adapter works."""
    plain: str = ""
    """What LiteRT alone does, as in :class:`layouts.TrialVerdict`."""
    untried: str = ""
    error: DeviceError | None = None
    """Why it does not work at all."""


def try_fit(devices: Sequence[RealEdgeTpu]) -> Fit:
    """What is remembered of the devices' library, or what one of them shows that is free; each trial has a time limit.

    A child process opens the device and prepares a model without instructions: nothing runs on the chip.
    """
    if not devices:
        return Fit(untried="the library makes no delegate without a device that it sees")
    path = devices[0].library.path
    known = layouts.remembered(path)
    if known is not None and known.plain:
        return Fit(known.tensor_bytes, known.plain)
    try:
        reserved = reserve(devices, 0)
    except DeviceBusyError:
        untried = "all devices are in use"
        return Fit(untried=untried) if known is None else Fit(known.tensor_bytes, "", untried)
    try:
        device = next(device for device in devices if device is reserved.device)
        return _try(device)
    finally:
        reserved.release()


def _try(device: RealEdgeTpu) -> Fit:
    path = device.library.path
    with trial.model_file(path) as (file, until):

        def attempt(size: TensorBytes | None) -> runtime.Answer:
            return runtime.ask(path, (device.type, device.path), {}, file, runtime.OPEN_SECONDS, size, until)

        found, answer = trial.find_size(attempt)
        if found is not None:
            plain = _alone(answer, attempt(None))
            layouts.remember(path, layouts.TrialVerdict(found, plain))
            return Fit(found, plain)
    if answer.opened is False:
        return Fit(error=why_not(device))
    return Fit(error=runtime.misfit(path, answer, device.library.version))


def _alone(adapted: runtime.Answer, plain: runtime.Answer) -> str:
    if plain.opened is False:
        return ""
    if plain.worked:
        return "works" if adapted.complete else "luck"
    return (plain.ending or "failed")[:100]
