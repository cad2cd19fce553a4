"""The floor for HTTP: the smallest FastAPI route that takes and gives a pydantic body."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Money(BaseModel):
    """Amount and asset."""

    amount: str
    asset: str


class Transfer(BaseModel):
    """As the real route takes it."""

    to: str
    money: Money


@app.post("/v1/transfers", status_code=201)
async def hello(body: Transfer) -> Transfer:
    """Answer what came."""
    return body


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
