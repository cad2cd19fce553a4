"""The signer process: opens the vault, takes the journal's lock, serves one unix socket.

    bifold signer --vault DIR --socket PATH --policy FILE --passphrase-fd N --capability-fd N

It reads both secrets from inherited descriptors, leaves no core file and, unless `--inspectable`,
lets no other process of its user look into its memory. It ends with SIGTERM or SIGINT, and by
itself when its journal can no longer be written.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import importlib
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keys.descriptors import take, take_passphrase
from keys.desk import SigningDesk
from keys.errors import KeysError
from keys.files import in_words
from keys.handles import KeyHandle
from keys.house import (
    MAX_HOT_KEYS,
    MNEMONIC,
    OWNER,
    deposit_xpub,
    has_warm,
    hot_count,
    hot_keys,
    journal_key,
    warm_key,
)
from keys.journal import JOURNAL_FILE, Journal
from keys.plain_log import OneLine
from keys.policy_file import load
from keys.secret import Secret, SecretText
from keys.server import SignerServer
from keys.vault import VAULT_FILE, Vault
from keys.wire import MIN_CAPABILITY_BYTES

if TYPE_CHECKING:  # loads the HD code, which a signer without people's accounts does not need
    from keys.selfcustody import SelfCustodyDesk

PR_SET_DUMPABLE: Final = 4
PRIVATE_UMASK: Final = 0o077
EXIT_REFUSED: Final = 1
EXIT_JOURNAL_FAILED: Final = 3
log = logging.getLogger("keys.process")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the signer to its end. 0 after a signal, 1 when it refuses to start, 3 when the journal
    failed while running."""
    arguments = _parser().parse_args(argv)
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(asctime)s signer %(message)s"))
    logging.basicConfig(level=arguments.log_level, handlers=[handler])
    os.umask(PRIVATE_UMASK)
    try:
        _protect_memory(inspectable=arguments.inspectable)
        capability = take(arguments.capability_fd)
        if len(capability.reveal()) < MIN_CAPABILITY_BYTES:
            raise KeysError(f"a capability has at least {MIN_CAPABILITY_BYTES} bytes")
        passphrase = take_passphrase(arguments.passphrase_fd, outside=arguments.vault)
        devices = _devices(arguments)
        desk, pepper = _open_desk(
            arguments.vault, arguments.policy, passphrase, arguments.hot_keys, devices
        )
        own = _self_custody(desk, pepper) if arguments.self_custody else None
        eth1 = None if arguments.eth1 is None else _loopback(arguments.eth1)
        return asyncio.run(_serve(desk, capability, arguments.socket, eth1, own))
    except KeysError as error:
        log.error("%s: %s", error.code, error)
        return EXIT_REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bifold signer", description="The signer process.")
    parser.add_argument("--vault", type=Path, required=True, help="folder of vault and journal")
    parser.add_argument("--socket", required=True, help="unix socket to listen on")
    parser.add_argument("--policy", type=Path, required=True, help="policy file (JSON)")
    parser.add_argument(
        "--passphrase-fd", type=int, required=True, metavar="N", help="descriptor of the passphrase"
    )
    parser.add_argument(
        "--capability-fd", type=int, required=True, metavar="N", help="descriptor of the capability"
    )
    parser.add_argument(
        "--hot-keys",
        type=_hot_key_count,
        default=1,
        metavar="K",
        help="how many, from m/44'/60'/0'/0/0 on (1)",
    )
    parser.add_argument(
        "--self-custody", action="store_true", help="serve people's own accounts, too"
    )
    parser.add_argument("--eth1", metavar="HOST:PORT", help="speak Web3signer's eth1 API, too")
    parser.add_argument("--kms", action="append", default=[], metavar="KEY", help="AWS KMS key id")
    parser.add_argument("--pkcs11", metavar="LIBRARY", help="PKCS#11 library of an HSM")
    parser.add_argument("--token", help="label of the HSM's token, with --pkcs11")
    parser.add_argument("--label", action="append", default=[], help="key in the token, in order")
    parser.add_argument(
        "--pin-fd", type=int, metavar="N", help="descriptor to read the token's PIN from"
    )
    parser.add_argument(
        "--inspectable",
        action="store_true",
        help="let processes of the same user read this one's memory figures (sandbox)",
    )
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING"])
    return parser


def _hot_key_count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MAX_HOT_KEYS:
        raise argparse.ArgumentTypeError(f"1 to {MAX_HOT_KEYS}")
    return int(text)


def _protect_memory(*, inspectable: bool) -> None:
    """No core files; and without ptrace or /proc/PID/mem for others of the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if inspectable:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux" and libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise KeysError(f"prctl refused: {os.strerror(ctypes.get_errno())}")


def _devices(arguments: argparse.Namespace) -> list[KeyHandle]:
    """Keys in devices, after those of the vault. Raises `KeyDeviceFailed`."""
    found: list[KeyHandle] = []
    if arguments.pkcs11 is not None:
        if arguments.token is None or arguments.pin_fd is None or not arguments.label:
            raise KeysError("--pkcs11 needs --token, --label and --pin-fd")
        pin = take_passphrase(arguments.pin_fd, outside=arguments.vault)
        module = importlib.import_module("keys.pkcs11")
        found += [
            module.Pkcs11Key(arguments.pkcs11, token=arguments.token, pin=pin, label=label)
            for label in arguments.label
        ]
    if arguments.kms:
        module = importlib.import_module("keys.kms")
        found += [module.open_kms(key_id) for key_id in arguments.kms]
    return found


def _loopback(text: str) -> tuple[str, int]:
    """Host and port; only this machine's own addresses: the API has no encryption."""
    host, _, port = text.rpartition(":")
    if host not in ("127.0.0.1", "::1", "localhost") or not port.isdigit():
        raise KeysError("--eth1 listens on 127.0.0.1, ::1 or localhost only")
    return host, int(port)


def _open_desk(
    directory: Path,
    policy_file: Path,
    passphrase: SecretText,
    count: int,
    devices: Sequence[KeyHandle],
) -> tuple[SigningDesk, Secret]:
    """Policy first (cheap to get wrong), then the vault, then the journal and its lock; also the
    key of the journal."""
    policy = load(policy_file)
    vault = Vault.open(directory / VAULT_FILE, passphrase)
    if hot_count(vault) < count:
        # HD code is loaded for this one call only: it would stay in memory for the process's life.
        importlib.import_module("keys.setup").extend_hot(vault, count)
    warm = None
    if policy.keeps_warm:
        if not has_warm(vault):
            importlib.import_module("keys.setup").extend_warm(vault)
        warm = warm_key(vault)
    deposit_keys = None
    if policy.sweeps:
        words = SecretText(vault.get(OWNER, MNEMONIC).reveal().decode("utf-8"))
        deposit_keys = importlib.import_module("keys.deposit_keys").HdDepositKeys(words)
    secret = journal_key(vault)
    journal = Journal.open(directory / JOURNAL_FILE, secret)
    desk = SigningDesk(
        hot_keys=[*hot_keys(vault, count), *devices],
        deposit_xpub=deposit_xpub(vault),
        policy=policy,
        journal=journal,
        deposit_keys=deposit_keys,
        warm_key=warm,
    )
    return desk, secret


def _self_custody(desk: SigningDesk, pepper: Secret) -> SelfCustodyDesk:
    """People's own accounts: the HD code is loaded for the life of the process."""
    module = importlib.import_module("keys.selfcustody")
    made: SelfCustodyDesk = module.SelfCustodyDesk(
        journal=desk.journal, policy=desk.policy, pepper=pepper
    )
    return made


def _release_start_up_memory() -> None:
    """What imports and argon2id left behind goes back to the system (6 MB once measured)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


async def _serve(
    desk: SigningDesk,
    capability: Secret,
    socket_path: str,
    eth1: tuple[str, int] | None,
    own: SelfCustodyDesk | None,
) -> int:
    server = SignerServer(desk, capability)
    if own is not None:
        server.add(importlib.import_module("keys.selfcustody_methods").methods(own, server.durable))
    door = None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        try:
            await server.start(socket_path)
        except OSError as error:
            words = in_words(error, "socket", socket_path, making=True)
            raise KeysError(f"cannot listen: {words}") from error
        if eth1 is not None:
            door = importlib.import_module("keys.eth1_server").Eth1Server(desk, server, capability)
            log.info("eth1 API on port %d", await door.start(*eth1))
        _release_start_up_memory()
        log.info(
            "ready: %d hot keys, %s, %d nonces in the journal, chains %s",
            len(desk.hot_addresses),
            f"warm {desk.warm_address}" if desk.warm_address else "no warm key",
            len(desk.journal.book),
            sorted(desk.policy.chains),
        )
        waits = [asyncio.create_task(event.wait()) for event in (stop, server.failed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return EXIT_JOURNAL_FAILED if server.failed.is_set() else 0
    except OSError as error:
        raise KeysError(f"cannot listen: {error.strerror}") from error
    finally:
        if door is not None:
            await door.aclose()
        await server.aclose()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(socket_path)


if __name__ == "__main__":
    sys.exit(main())
