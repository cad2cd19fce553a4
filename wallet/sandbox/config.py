"""What the supervisor reads from the environment, and the addresses it derives from it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wallet.database_url import fault

DEFAULT_PORT = 8000
DEFAULT_ADMIN_PORT = 8001
DATABASES = (
    "BIFOLD_DATABASE_URL",
    "BIFOLD_MIGRATION_DATABASE_URL",
    "BIFOLD_AUDIT_DATABASE_URL",
    "BIFOLD_OPERATOR_DATABASE_URL",
)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SandboxError(Exception):
    """The sandbox cannot run; the message is one plain line with the way out."""


@dataclass(frozen=True)
class SandboxConfig:
    """The settings of one run; paths are absolute."""

    data_dir: Path
    host: str
    port: int
    admin_port: int
    public_url: str
    database_url: str | None
    migration_database_url: str | None
    local_rpc_url: str | None
    networks_file: Path | None
    environment: Mapping[str, str]

    @staticmethod
    def from_env(environment: Mapping[str, str] | None = None) -> SandboxConfig:
        """Read `BIFOLD_*`. Raises SandboxError for what cannot be meant."""
        env = dict(os.environ if environment is None else environment)
        mode = env.get("BIFOLD_MODE", "sandbox")
        if mode != "sandbox":
            raise SandboxError(
                f"./dev run is the sandbox; for BIFOLD_MODE={mode} use the bifold command."
            )
        host = env.get("BIFOLD_HOST", LOOPBACK[0])
        if host not in LOOPBACK and not env.get("BIFOLD_SANDBOX_TOKEN"):
            raise SandboxError(
                f"BIFOLD_HOST={host} opens the sandbox to others: set BIFOLD_SANDBOX_TOKEN too."
            )
        for name in DATABASES:
            if env.get(name) and (wrong := fault(env[name])) is not None:
                raise SandboxError(f"{name} {wrong} (docs/configuration.md).")
        port = _port(env, "BIFOLD_PORT", DEFAULT_PORT)
        if "BIFOLD_ADMIN_PORT" in env or "BIFOLD_PORT" not in env:
            admin_port = _port(env, "BIFOLD_ADMIN_PORT", DEFAULT_ADMIN_PORT)
        else:
            admin_port = free_port()
        return SandboxConfig(
            data_dir=Path(env.get("BIFOLD_DATA_DIR") or ".bifold").absolute(),
            host=host,
            port=port,
            admin_port=admin_port,
            public_url=env.get("BIFOLD_PUBLIC_URL") or f"http://localhost:{port}",
            database_url=env.get("BIFOLD_DATABASE_URL") or None,
            migration_database_url=env.get("BIFOLD_MIGRATION_DATABASE_URL") or None,
            local_rpc_url=env.get("BIFOLD_LOCAL_RPC_URL") or None,
            networks_file=_optional_path(env.get("BIFOLD_NETWORKS_FILE")),
            environment=env,
        )

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "log"

    @property
    def networks_path(self) -> Path:
        return self.data_dir / "networks.toml"

    @property
    def keys_path(self) -> Path:
        return self.data_dir / "keys.json"

    @property
    def policy_path(self) -> Path:
        return self.data_dir / "policy.json"

    @property
    def vault_dir(self) -> Path:
        return self.data_dir / "vault"

    @property
    def environment_path(self) -> Path:
        """As `wallet.settings.RUNNING_SANDBOX`, which this process is too small to import."""
        return self.data_dir / "sandbox" / "environment"

    @property
    def passphrase_path(self) -> Path:
        return self.data_dir / "sandbox" / "passphrase"


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise SandboxError(f"{name}={text} is no port; give a number from 1 to 65535.")
    return int(text)


def _optional_path(text: str | None) -> Path | None:
    return Path(text).absolute() if text else None


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(host: str = LOOPBACK[0]) -> int:
    """A port nobody uses at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
