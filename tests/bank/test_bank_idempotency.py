"""The idempotency campaign at a size for CI: the same request 32 times at once, and ever after."""

from __future__ import annotations

import pytest

from bench.campaigns.idempotency import AT_ONCE, measure
from wallet.testing.databases import ScratchCluster

pytestmark = [pytest.mark.durable, pytest.mark.slow, pytest.mark.timeout(300)]


def test_one_key_is_one_effect_and_one_answer_for_ever(durable_cluster: ScratchCluster) -> None:
    """At once, over a server that dies, over a restart of all, and 400 days later."""
    figures = measure(rounds=9, kill_every=8, shared=durable_cluster)
    assert figures["wrong"] == []
    assert figures["rounds"] == figures["effects"] == 9
    assert figures["same"] == {"at once": 9, "after a restart": 9, "400 days later": 9}
    assert figures["codes"]["2xx"] >= 8 * AT_ONCE
    assert figures["killed"] == 1
