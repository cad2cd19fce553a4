"""Hot routes: the same checks in the same order as everywhere, without the dependency solver.

FastAPI still declares them, so OpenAPI and the error documents are those of any other route; what
is left out is the walk through the graph of dependencies on every request.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from api.authentication import CallerDep, authenticate, bearer_token
from api.idempotency import as_response, claim_of
from api.route import StrictRoute, take_body
from api.state import State, state_of
from wallet.group_batch import Flow
from wallet.idempotency import Answer, Claim

Asked = TypeVar("Asked")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Together:
    """One idempotent request whose effect shares its commit with whatever arrives beside it."""

    state: State
    claim: Claim

    async def __call__(
        self, flow: Flow[Asked, Made], asked: Asked, shape: Callable[[Made], Answer]
    ) -> Response:
        """Do it, or tell its first answer again; the commit has happened when this returns."""
        return as_response(await self.state.writer.submit(self.claim, flow, asked, shape))


def _declared(
    request: Request,
    caller: CallerDep,
    _documented: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Required: 1–255 printable ASCII characters, one for each intention. "
            "A repeat gets the first answer again.",
            examples=["9b2f6c1e-transfer-1"],
        ),
    ] = None,
) -> Together:
    """What the solver would do, were it asked; it also is what OpenAPI shows."""
    return Together(state_of(request), claim_of(request, caller.principal_id))


TogetherDep = Annotated[Together, Depends(_declared)]


class HotRoute(StrictRoute):
    """For endpoints that take `caller`, `services`, `together`, path parameters, and maybe `body`.

    Sign-in, then the key, then the body: the order in which the solver would refuse.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint behind its checks."""
        endpoint = self.endpoint
        parameters = inspect.signature(endpoint).parameters
        takes = frozenset(parameters)
        needs_body = "body" in takes and parameters["body"].default is inspect.Parameter.empty
        model = _model(endpoint)

        async def hot(request: Request) -> Response:
            await take_body(request, bodiless=model is None)
            state = state_of(request)
            caller = await authenticate(state, bearer_token(request))
            given: dict[str, Any] = {
                "caller": caller,
                "services": state.services,
                "together": Together(state, claim_of(request, caller.principal_id)),
                **request.path_params,
            }
            sent = request.scope.get("bifold.json", _ABSENT)
            if model is not None and (needs_body or sent is not _ABSENT):
                given["body"] = _validated(model, sent)
            answer: Response = await endpoint(
                **{name: value for name, value in given.items() if name in takes}
            )
            return answer

        return hot


_ABSENT = object()


def _model(endpoint: Callable[..., Any]) -> type[BaseModel] | None:
    kind = inspect.get_annotations(endpoint, eval_str=True).get("body")
    return kind if inspect.isclass(kind) and issubclass(kind, BaseModel) else None


def _validated(model: type[BaseModel], value: Any) -> BaseModel:
    if value is _ABSENT:
        raise RequestValidationError(
            [{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}]
        )
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise RequestValidationError(
            [
                {**one, "loc": ("body", *one["loc"])}
                for one in error.errors(include_url=False, include_input=False)
            ]
        ) from None
