#!/usr/bin/env python3
"""Make the fonts of PDF statements, committed under wallet/statements/fonts.

Run by hand when they change, with this checkout's own Python (it brings fontTools):

    pip install --no-deps --target /tmp/noto fontpkg-noto-sans==2.15
    apt-get install fonts-noto-cjk
    .venv/bin/python deploy/fonts.py /tmp/noto

Letters of Latin, Greek and Cyrillic come from Noto Sans, in two weights; the 6,763 characters of
GB 2312 and their punctuation from Noto Sans CJK SC. Both are under the SIL Open Font License,
whose text lies beside what is made.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib.instancer import instantiateVariableFont

FONTS = Path(__file__).resolve().parent.parent / "wallet" / "statements" / "fonts"
HAN = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")
SIMPLIFIED_CHINESE = 2  # its place in the collection
NAMES = [0, 1, 2, 3, 4, 5, 6, 13, 14]
LETTERS = (
    *range(0x20, 0x7F), *range(0xA0, 0x250), *range(0x370, 0x500), *range(0x1E00, 0x1F00),
    *range(0x2010, 0x2028), 0x2030, 0x2032, 0x2033, 0x2039, 0x203A, *range(0x20A0, 0x20C1), 0x2116,
    0x2122, 0x2212,
)  # fmt: skip


def gb2312() -> set[int]:
    """Every character of the standard that mainland texts and names are written in."""
    found: set[int] = set()
    for row in range(0xA1, 0xF8):
        for cell in range(0xA1, 0xFF):
            try:
                found.add(ord(bytes((row, cell)).decode("gb2312")))
            except UnicodeDecodeError:
                continue
    return found


def cut(font: TTFont, characters: set[int], name: str, target: str) -> None:
    """Keep these characters, nothing that only a typesetter needs, under our own name."""
    options = subset.Options()
    options.layout_features = []
    options.hinting = False
    options.name_IDs = NAMES
    options.notdef_outline = True
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "BASE", "vhea", "vmtx", "VORG", "STAT"]
    work = subset.Subsetter(options)
    work.populate(unicodes=characters)
    work.subset(font)
    for record in font["name"].names:
        if record.nameID in (1, 3, 4):
            record.string = name
        elif record.nameID == 6:
            record.string = name.replace(" ", "")
    font.flavor = "woff"
    font["head"].modified = font["head"].created  # made again, the file is the same
    font.recalcTimestamp = False
    font.save(FONTS / target)
    sys.stdout.write(f"{target}: {len(font.getBestCmap())} characters\n")


def main(noto: Path) -> int:
    """Make all three."""
    FONTS.mkdir(exist_ok=True)
    variable = noto / "fontpkg_noto_sans" / "files" / "NotoSans[wdth,wght].ttf"
    for weight, style in ((400, "Regular"), (650, "Bold")):
        font = instantiateVariableFont(TTFont(variable), {"wght": weight, "wdth": 100})
        cut(font, set(LETTERS), f"Bifold Sans {style}", f"sans-{style.lower()}.woff")
    cut(TTFont(HAN, fontNumber=SIMPLIFIED_CHINESE), gb2312(), "Bifold Han", "han-regular.woff")
    licence = (noto / "fontpkg_noto_sans" / "LICENSE").read_text(encoding="utf-8")
    (FONTS / "LICENSE-OFL.txt").write_text(
        "sans-*.woff are cut from Noto Sans 2.015, han-regular.woff from Noto Sans CJK SC 2.004\n"
        "(Copyright 2014-2021 Adobe), by deploy/fonts.py. Both are under the licence below.\n\n"
        + licence,
        encoding="utf-8",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
