"""How long a test waits on a machine that runs other tests beside it."""

from __future__ import annotations

import os

SHARED_MACHINE = 3.0


def patience(seconds: float) -> float:
    """The seconds of a promise made for a quiet machine, stretched where a suite shares it.

    Tests catch a promise that is broken for good; `./dev bench` measures the promise itself.
    """
    crowd = os.getloadavg()[0] / (os.cpu_count() or 1)
    alone = "PYTEST_XDIST_WORKER" not in os.environ and os.environ.get("CI") != "true"
    return seconds * max(crowd, 1.0 if alone else SHARED_MACHINE)
