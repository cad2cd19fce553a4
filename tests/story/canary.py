"""Planted secrets, and the places where they must not be found.

A secret is looked for as it is, in hexadecimal and in base64; of a mnemonic any four words in a row
count.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path

from keys import mnemonic as bip39
from keys.derivation import DEPOSIT_ACCOUNT, HOT_ACCOUNT, derive_key, path
from keys.hd import HdNode
from keys.house import MNEMONIC, OWNER, journal_key, warm_key
from keys.secret import SecretText
from keys.vault import VAULT_FILE, Vault
from wallet.postgres import binaries

WORDS_IN_A_ROW = 4
MIN_BYTES = 12
CHUNK = 1 << 22


def needles(secret: str | bytes) -> set[bytes]:
    """Every spelling of one secret. Refuses one so short that it is found by chance."""
    raw = secret.encode() if isinstance(secret, str) else secret
    assert len(raw) >= MIN_BYTES
    words = secret.split() if isinstance(secret, str) else []
    if len(words) >= 12:
        rows = range(len(words) - WORDS_IN_A_ROW + 1)
        return {" ".join(words[n : n + WORDS_IN_A_ROW]).encode() for n in rows}
    coded = base64.b64encode(raw).rstrip(b"=")
    url = base64.urlsafe_b64encode(raw).rstrip(b"=")
    return {raw, raw.hex().encode(), raw.hex().upper().encode(), coded, url}


def house_secrets(vault_dir: Path, passphrase: str) -> dict[str, set[bytes]]:
    """What the signer alone may know, by name."""
    vault = Vault.open(vault_dir / VAULT_FILE, SecretText(passphrase))
    words = vault.get(OWNER, MNEMONIC).reveal().decode()
    seed = bip39.to_seed(SecretText(words))
    return {
        "house mnemonic": needles(words),
        "seed": needles(seed.reveal()),
        "hot private key": needles(derive_key(seed, path(HOT_ACCOUNT, 0)).reveal()),
        "warm private key": needles(warm_key(vault).reveal()),
        "deposit account key": needles(
            HdNode.from_seed(seed).derive(f"m/44'/60'/{DEPOSIT_ACCOUNT}'").private_key().reveal()
        ),
        "deposit private key": needles(derive_key(seed, path(DEPOSIT_ACCOUNT, 0)).reveal()),
        "vault passphrase": needles(passphrase),
        "vault data key": needles(vault._data_key.reveal()),
        "journal key": needles(journal_key(vault).reveal()),
    }


def hits(places: Mapping[str, Iterable[bytes]], planted: Mapping[str, set[bytes]]) -> list[str]:
    """`place: secret` for every secret that some place holds."""
    patterns = {
        name: re.compile(b"|".join(map(re.escape, sorted(forms))))
        for name, forms in planted.items()
    }
    overlap = max(len(form) for forms in planted.values() for form in forms)
    found = set()
    for place, chunks in places.items():
        tail = b""
        for chunk in chunks:
            text = tail + chunk
            found |= {f"{place}: {name}" for name, form in patterns.items() if form.search(text)}
            tail = text[-overlap:]
    return sorted(found)


def memory(pid: int) -> Iterator[bytes]:
    """What a core dump of the process would hold: every writable mapping.

    Raises PermissionError where the kernel keeps us from reading it.
    """
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if not rights.startswith("rw") or "[v" in line:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            for at in range(start, end, CHUNK):
                try:
                    mem.seek(at)
                    yield mem.read(min(CHUNK, end - at))
                except PermissionError:
                    raise
                except OSError:  # unmapped meanwhile
                    break


def core_limit(pid: int) -> int:
    """The largest core file the kernel may write of the process, in bytes."""
    text = Path(f"/proc/{pid}/limits").read_text()
    line = next(line for line in text.splitlines() if line.startswith("Max core file size"))
    soft = line.split()[4]
    return -1 if soft == "unlimited" else int(soft)


def database_dump(socket_dir: str, user: str, name: str) -> bytes:
    """All rows and definitions as SQL."""
    command = [binaries() / "pg_dump", "-h", socket_dir, "-U", user, name]
    ran = subprocess.run(command, capture_output=True, check=True, timeout=60, env={"PATH": ""})
    return ran.stdout


def backup(data_dir: Path) -> bytes:
    """The data directory as an operator backs it up: without the folder that holds passphrases."""
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in sorted(data_dir.rglob("*")):
            inside = file.relative_to(data_dir)
            if inside.parts[0] not in ("sandbox",) and file.is_file() and os.access(file, os.R_OK):
                tar.addfile(_info(tar, file), BytesIO(file.read_bytes()))
    return buffer.getvalue()


def _info(tar: tarfile.TarFile, file: Path) -> tarfile.TarInfo:
    info = tar.gettarinfo(str(file))
    info.size = file.stat().st_size
    return info
