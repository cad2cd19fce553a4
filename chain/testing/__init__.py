"""Nodes for tests and the sandbox: a real Anvil process, an in-memory fake, a misbehaving proxy."""

from chain.testing.anvil import AnvilMissing, AnvilProcess, anvil_binary
from chain.testing.fake_node import FakeNode
from chain.testing.ganache import GanacheDidNotStart, GanacheMissing, GanacheProcess
from chain.testing.proxy import FaultProxy, MemoryProxy

__all__ = [
    "AnvilMissing",
    "AnvilProcess",
    "FakeNode",
    "FaultProxy",
    "GanacheDidNotStart",
    "GanacheMissing",
    "GanacheProcess",
    "MemoryProxy",
    "anvil_binary",
]
