#!/usr/bin/env python3
"""Fetch the browser libraries that are committed under api/static/vendor.

Run by hand when a version changes: `python3 deploy/vendor.py`. Uses the machine's own npm client;
the web app itself has no build step and never asks a registry.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "api" / "static" / "vendor"
ALPINE_LICENCE = """\
# MIT License

Copyright © 2019-2025 Caleb Porzio and contributors

Permission is hereby granted, free of charge, to any person obtaining a copy of this software
and associated documentation files (the "Software"), to deal in the Software without
restriction, including without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING
BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
# package, version, {file inside the package: our name}, licence file inside the package
PACKAGES = (
    (
        "htmx.org",
        "4.0.1",
        {
            "dist/htmx.min.js": "htmx.min.js",
            "dist/ext/hx-alpine-compat.min.js": "hx-alpine-compat.min.js",
        },
        "LICENSE",
    ),
    ("@alpinejs/csp", "3.17.4", {"dist/cdn.min.js": "alpine-csp.min.js"}, None),
    ("@picocss/pico", "2.1.1", {"css/pico.min.css": "pico.min.css"}, "LICENSE.md"),
)


def fetch(package: str, version: str, folder: Path) -> Path:
    """The unpacked package; `npm pack` checks the registry's integrity hash."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", "--json", f"{package}@{version}"],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    answer = json.loads(packed.stdout)
    entry = answer[0] if isinstance(answer, list) else next(iter(answer.values()))
    with tarfile.open(folder / entry["filename"]) as archive:
        archive.extractall(folder / "out", filter="data")
    return folder / "out" / "package"


def without_source_map(text: str) -> str:
    """A map that is not shipped would be asked for by every open developer console."""
    lines = [line for line in text.splitlines() if not line.startswith("//# sourceMappingURL=")]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite the folder and its README."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    rows = []
    for package, version, files, licence in PACKAGES:
        with tempfile.TemporaryDirectory() as folder:
            unpacked = fetch(package, version, Path(folder))
            stem = package.strip("@").replace("/", "-")
            target = VENDOR / f"LICENSE-{stem}.txt"
            if licence is None:
                target.write_text(ALPINE_LICENCE)
            else:
                shutil.copyfile(unpacked / licence, target)
            for inside, name in files.items():
                (VENDOR / name).write_text(without_source_map((unpacked / inside).read_text()))
                digest = hashlib.sha256((VENDOR / name).read_bytes()).hexdigest()
                rows.append(f"| `{name}` | {package} {version} | `{inside}` | `{digest[:16]}…` |")
    (VENDOR / "README.md").write_text(
        "# Vendored browser libraries\n\n"
        "Written by `python3 deploy/vendor.py`; never edited by hand. Source-map comments are"
        " removed.\nLicences: `LICENSE-*.txt` beside this file (htmx: Zero-Clause BSD; Alpine and"
        " Pico: MIT).\n\n| file | package | from | sha-256 |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


if __name__ == "__main__":
    main()
