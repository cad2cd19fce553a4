"""Settings, read once from `BIFOLD_*` and passed down; `docs/configuration.md` lists them."""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from wallet.database_url import fault
from wallet.errors import WalletError

Mode = Literal["sandbox", "production"]
# Written by the supervisor: BIFOLD_* names and values; `bifold reconcile` finds its sandbox so.
RUNNING_SANDBOX = Path("sandbox") / "environment"
ADDRESS = "database_address"
# Who has one of these means that database, not a sandbox that runs here.
OWN_DATABASE = {"BIFOLD_DATABASE_URL", "BIFOLD_OPERATOR_DATABASE_URL"}


class InvalidSettings(WalletError):
    """The environment does not say what this process needs."""

    code = "invalid_settings"


def _told(error: ValidationError) -> str:
    names = {f"BIFOLD_{str(item['loc'][0]).upper()}": item for item in error.errors()}
    missing = [name for name, item in names.items() if item["type"] == "missing"]
    parts = [f"set {', '.join(missing)}"] if missing else []
    parts += [
        f"{name} {item['msg'] if item['type'] == ADDRESS else 'has a value that cannot be'}"
        for name, item in names.items()
        if name not in missing
    ]
    way_out = "start ./dev run first (BIFOLD_DATA_DIR names its folder)"
    return f"{'; '.join(parts)} (docs/configuration.md), or {way_out}."


def _proxies(told: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """`10.0.0.5, fd00::/8` as networks. Raises ValueError."""
    return tuple(ip_network(one.strip()) for one in told.split(",") if one.strip())


class Settings(BaseSettings):
    """One frozen record for every process of an instance."""

    model_config = SettingsConfigDict(env_prefix="BIFOLD_", frozen=True, extra="ignore")

    mode: Mode
    database_url: str
    database_direct_url: str | None = None
    migration_database_url: str | None = None
    audit_database_url: str | None = None
    operator_database_url: str | None = None
    holds_per_payer: int = Field(default=1_000, ge=1, le=100_000)
    audit_minutes: int = Field(default=15, ge=0, le=1_440)
    host: str = "127.0.0.1"
    port: int = 8000
    admin_port: int = 8001
    public_url: str | None = None
    trusted_proxies: str = ""
    data_dir: Path = Path(".bifold")
    networks_file: Path | None = None
    keys_file: Path | None = None
    signer_socket: Path | None = None
    signer_url: str | None = None
    signer_capability_fd: int | None = None
    sandbox_token: str | None = None
    metrics_token: str | None = None
    log_level: str = "INFO"

    @model_validator(mode="before")
    @classmethod
    def _of_an_operator(cls, told: Any) -> Any:
        """Who is given the operators' address alone has that one."""
        theirs = told.get("operator_database_url")
        return told if told.get("database_url") or not theirs else told | {"database_url": theirs}

    @field_validator(
        "database_url",
        "database_direct_url",
        "migration_database_url",
        "audit_database_url",
        "operator_database_url",
    )
    @classmethod
    def _an_address(cls, url: str | None, info: ValidationInfo) -> str | None:
        """An empty one counts as none, where it may be left out."""
        needed = info.field_name == "database_url"
        wrong = fault(url or "") if url or needed else None
        if wrong is not None:
            raise PydanticCustomError(ADDRESS, "{wrong}", {"wrong": wrong})
        return url

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, told: str) -> str:
        """Raises where one of them is no address and no network."""
        _proxies(told)
        return told

    @classmethod
    def from_env(cls) -> Settings:
        """Read the environment; beside a running sandbox, what it wrote down about itself.

        Raises InvalidSettings, naming each variable that is missing or cannot be meant.
        """
        data_dir = Path(os.environ.get("BIFOLD_DATA_DIR") or ".bifold")
        running = data_dir / RUNNING_SANDBOX
        try:
            if OWN_DATABASE & os.environ.keys() or not running.is_file():
                return cls()
            lines = (line.partition("=") for line in running.read_text("utf-8").splitlines())
            known = {name.removeprefix("BIFOLD_").lower(): value for name, _, value in lines}
            return cls.model_validate({k: v for k, v in known.items() if k in cls.model_fields})
        except ValidationError as error:
            raise InvalidSettings(_told(error)) from None

    @property
    def sandbox(self) -> bool:
        """Whether this instance plays with worthless money."""
        return self.mode == "sandbox"

    @property
    def direct_url(self) -> str:
        """The database without a transaction pooler in between: for worker and listener."""
        return self.database_direct_url or self.database_url

    @property
    def operator_url(self) -> str:
        """The database as operators' commands reach it."""
        return self.operator_database_url or self.database_url

    @property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Whose word counts for whom they serve; empty: nobody's."""
        return _proxies(self.trusted_proxies)

    @property
    def networks_path(self) -> Path:
        """The network registry in use."""
        return self.networks_file or self.data_dir / "networks.toml"

    @property
    def keys_path(self) -> Path:
        """The public key material: deposit xpub and hot addresses."""
        return self.keys_file or self.data_dir / "keys.json"

    @property
    def base_url(self) -> str:
        """What people type: origin for links, cookies and CSRF."""
        return (self.public_url or f"http://localhost:{self.port}").rstrip("/")
