"""Where the measured data is that comes with the workplace and not with the repository; tests that need it skip."""

from pathlib import Path

SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA = SHARED / "data"
HELPERS = Path(__file__).parent
"""Where the modules are that tests share, for scripts that tests write."""
