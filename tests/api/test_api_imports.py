"""What the API's process does not load: it starts again under fire, and libraries cost time."""

from __future__ import annotations

import subprocess
import sys

from wallet.testing.pace import patience


def test_the_api_loads_no_library_that_signs() -> None:
    code = (
        "import sys, api.server;"
        "print(sorted({'eth_account', 'py_ecc', 'web3', 'keys.desk', 'keys.vault'}"
        " & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        timeout=patience(60),
    )  # fmt: skip
    assert (ran.stdout, ran.returncode) == ("[]\n", 0), ran.stderr
