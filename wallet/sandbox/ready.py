"""Waiting for a child to say that it is there. Blocking: called from worker threads."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

POLL_SECONDS = 0.05
ANSWER_TIMEOUT_SECONDS = 3.0
WORDS_LIMIT_BYTES = 2000


def wait_for_file(path: Path, timeout_seconds: float) -> bool:
    """Whether it appeared in time; its user waits for it too, and names it when it is missing."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if path.exists():
            return True
        time.sleep(POLL_SECONDS)
    return False


def ask_ready(host: str, port: int) -> tuple[bool, str]:
    """Whether GET /readyz answers 200, and its words."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz", headers={"Host": f"localhost:{port}"})
        response = connection.getresponse()
        words = response.read(WORDS_LIMIT_BYTES).decode("utf-8", "replace")
        return response.status == http.client.OK, words
    except (OSError, http.client.HTTPException) as error:
        return False, str(error)
    finally:
        connection.close()
