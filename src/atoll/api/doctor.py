"""``atoll.doctor``: this machine → what works, what does not, and what to do about it, in order."""

from __future__ import annotations

from atoll.device.doctor import DoctorReport, diagnose


def doctor() -> DoctorReport:
    """Check the whole installation: interpreter, devices, drivers, permissions, runtime, leases, compiler.

    A device that is free is opened once, in a child process, unless it is known how its library and LiteRT get on.
    Nothing is raised: what is wrong is in the report.

    >>> atoll.doctor().healthy  # doctest: +SKIP
    True
    """
    return diagnose()
