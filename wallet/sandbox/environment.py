"""Which child gets which environment: addresses for all, database roles only for those meant."""

from __future__ import annotations

import sys
from pathlib import Path

from wallet.sandbox.config import SandboxConfig
from wallet.sandbox.runtime import write_private

_KEPT_BACK = (
    "BIFOLD_MIGRATION_DATABASE_URL",
    "BIFOLD_AUDIT_DATABASE_URL",
    "BIFOLD_OPERATOR_DATABASE_URL",
    "PYTHONDONTWRITEBYTECODE",  # without kept bytecode every start compiles everything again
)


def bifold(*arguments: str) -> tuple[str, ...]:
    """The command line of `bifold`, from this source tree."""
    return (sys.executable, "-m", "wallet.cli", *arguments)


def base_environment(config: SandboxConfig) -> dict[str, str]:
    """The caller's environment without what children must not have."""
    kept = {key: value for key, value in config.environment.items() if key not in _KEPT_BACK}
    root = str(Path(__file__).resolve().parents[2])
    return kept | {"PYTHONPATH": root, "PYTHONUNBUFFERED": "1"}


def front_environment(config: SandboxConfig, app_url: str) -> dict[str, str]:
    """What API and worker get: where everything is, and no secret."""
    return base_environment(config) | {
        "BIFOLD_MODE": "sandbox",
        "BIFOLD_HOST": config.host,
        "BIFOLD_PORT": str(config.port),
        "BIFOLD_ADMIN_PORT": str(config.admin_port),
        "BIFOLD_PUBLIC_URL": config.public_url,
        "BIFOLD_DATA_DIR": str(config.data_dir),
        "BIFOLD_DATABASE_URL": app_url,
        "BIFOLD_NETWORKS_FILE": str(config.networks_path),
        "BIFOLD_KEYS_FILE": str(config.keys_path),
    }


def auditor_environment(config: SandboxConfig, audit_url: str) -> dict[str, str]:
    """What the auditor gets: the books as its role reads them, the two files, and nothing else."""
    kept = base_environment(config).items()
    return {key: value for key, value in kept if not key.startswith("BIFOLD_")} | {
        "BIFOLD_AUDIT_DATABASE_URL": audit_url,
        "BIFOLD_DATA_DIR": str(config.data_dir),
        "BIFOLD_NETWORKS_FILE": str(config.networks_path),
        "BIFOLD_KEYS_FILE": str(config.keys_path),
    }


def write_environment_file(
    config: SandboxConfig, *, app_url: str, owner_url: str, audit_url: str, operator_url: str
) -> None:
    """`sandbox/environment`: what `bifold` needs in another terminal while this sandbox runs."""
    values = front_environment(config, app_url) | {
        "BIFOLD_MIGRATION_DATABASE_URL": owner_url,
        "BIFOLD_AUDIT_DATABASE_URL": audit_url,
        "BIFOLD_OPERATOR_DATABASE_URL": operator_url,
    }
    lines = [f"{key}={value}\n" for key, value in values.items() if key.startswith("BIFOLD_")]
    write_private(config.environment_path, "".join(lines))
