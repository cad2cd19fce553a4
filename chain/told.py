"""What a node answers in bulk, as it told it: only the fields that are read, none believed yet.

A method's name may be a `Method`, which says what its answers look like. A transport that reads
JSON itself (`chain.rpc`) then makes these objects straight from the bytes, at a third of what a
dictionary of every field costs; other transports answer what JSON gives, of which `as_told` makes
the same. Values are text as told: `chain.blocks` checks them.
Source: the method answers of Ethereum's execution-apis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from chain.errors import NodeGarbage

MAX_TOPICS = 4
Shape = TypeVar("Shape")


class LogTold(msgspec.Struct, rename="camel", gc=False):
    """An event in an answer to `eth_getLogs`, or in a receipt."""

    address: str
    topics: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_TOPICS)]
    data: str
    block_hash: str
    block_number: str
    transaction_hash: str
    log_index: str
    removed: bool | None = None


class TxTold(msgspec.Struct, rename="camel", gc=False):
    """A transaction of a full block."""

    hash: str
    transaction_index: str
    value: str
    nonce: str
    block_hash: str
    sender: str = msgspec.field(name="from")
    to: str | None = None


class BlockTold(msgspec.Struct, rename="camel", gc=False):
    """A header or a block; its transactions are hashes or, in a full one, objects."""

    number: str
    hash: str
    parent_hash: str
    timestamp: str
    base_fee_per_gas: str | None = None
    gas_used: str | None = None
    logs_bloom: str | None = None
    transactions: list[TxTold | str] | None = None


class ReceiptTold(msgspec.Struct, rename="camel", gc=False):
    """A receipt. The last three are of OP chains."""

    transaction_hash: str
    block_hash: str
    block_number: str
    transaction_index: str
    status: str
    gas_used: str
    effective_gas_price: str
    logs: list[LogTold]
    contract_address: str | None = None
    l1_fee: str | None = None
    operator_fee_scalar: str | None = None
    operator_fee_constant: str | None = None


class Answer(msgspec.Struct, gc=False):
    """One call's answer that is no rejection."""

    id: int
    result: Any
    error: None = None


Answers = Sequence[Answer]


class Method(str):
    """A method's name that knows the shape of its `result`."""

    _alone: msgspec.json.Decoder[Any]
    _many: msgspec.json.Decoder[Any]

    def __new__(cls, name: str, shape: object) -> Method:
        """`shape`: a type that msgspec knows."""
        self = super().__new__(cls, name)
        fields: Any = [("id", int), ("result", shape), ("error", None, None)]
        answer = msgspec.defstruct("Answer", fields, gc=False)
        self._alone = msgspec.json.Decoder(answer)
        self._many = msgspec.json.Decoder(list[answer])  # type: ignore[valid-type]  # made here
        return self

    def alone(self, body: bytes) -> Answer | None:
        """The answer to one call; None where it is anything else, a rejection for example."""
        told: Answer | None = _decoded(self._alone, body)
        return told

    def many(self, body: bytes) -> Answers | None:
        """The answers to a batch of this method alone; None where they are anything else."""
        told: Answers | None = _decoded(self._many, body)
        return told


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError):  # what it is instead shows when it is read as any JSON
        return None


GET_BLOCK = Method("eth_getBlockByNumber", BlockTold | None)
GET_LOGS = Method("eth_getLogs", list[LogTold])
GET_RECEIPT = Method("eth_getTransactionReceipt", ReceiptTold | None)
BLOCK_RECEIPTS = Method("eth_getBlockReceipts", list[ReceiptTold] | None)


def as_told(value: object, shape: type[Shape], field: str) -> Shape:
    """This value of an answer in its shape. Raises NodeGarbage naming what does not fit."""
    if type(value) is shape:
        return value
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        # Its words name fields and types and hold no value.
        raise NodeGarbage(f"{field} is not of the standard's shape: {error}") from None
