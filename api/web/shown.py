"""How figures, addresses and names look on screen. Exact integers in, text out, never a float."""

from __future__ import annotations

from markupsafe import Markup

from wallet.money import Asset, Money, format_amount

MINUS = "\u2212"  # a true minus, as wide as the plus
NBSP = "\u00a0"
CHAIN_DECIMALS = 6
SHORT_HEAD, SHORT_TAIL = 6, 4
# Filled by `Markup.format`, which escapes what it is given. The gaps are no-break spaces.
_MONEY = Markup(
    '<span class="money {klass}" title="{title}">{mark}{symbol}<span class="money-number">{whole}'
    '<span class="money-fraction">{fraction}</span></span>\u00a0<span class="money-code">{code}'
    "</span></span>"
)
_SIGN = Markup('<span class="money-sign">{}</span>')
_SYMBOL = Markup('<span class="money-symbol">{}</span>\u00a0')


def grouped(digits: str) -> str:
    """`1234567` → `1,234,567`."""
    head = len(digits) % 3
    parts = [digits[:head]] if head else []
    parts += [digits[at : at + 3] for at in range(head, len(digits), 3)]
    return ",".join(parts)


def exact_number(minor: int, asset: Asset) -> str:
    """Every digit there is; zeros beyond the sixth decimal of a coin say nothing and stay away."""
    whole, _, fraction = format_amount(abs(minor), asset.scale).partition(".")
    if asset.kind != "fiat":
        fraction = fraction[:CHAIN_DECIMALS] + fraction[CHAIN_DECIMALS:].rstrip("0")
    return grouped(whole) + (f".{fraction}" if fraction else "")


def short_number(minor: int, asset: Asset) -> str:
    """Six decimals of a coin, cut and never rounded up; dust shows its first six digits."""
    if asset.kind == "fiat" or asset.scale <= CHAIN_DECIMALS:
        return exact_number(minor, asset)
    whole, _, fraction = format_amount(abs(minor), asset.scale).partition(".")
    kept = fraction[:CHAIN_DECIMALS]
    if minor and int(whole) == 0 and int(kept) == 0:
        zeros = len(fraction) - len(fraction.lstrip("0"))
        kept = fraction[: zeros + CHAIN_DECIMALS].rstrip("0")
    return f"{grouped(whole)}.{kept}"


def money_text(money: Money, *, exact: bool = True, sign: str = "") -> str:
    """`€ 1,250.00 EUR` as plain text, for sentences and titles."""
    number = exact_number if exact else short_number
    mark = sign or (MINUS if money.minor < 0 else "")
    symbol = money.asset.symbol
    lead = f"{symbol}{NBSP}" if symbol and symbol != money.asset.code else ""
    return f"{mark}{lead}{number(money.minor, money.asset)}{NBSP}{money.asset.code}"


def money_html(money: Money, *, exact: bool = False, sign: str = "", klass: str = "") -> Markup:
    """The same in parts that style can reach; the exact figure stands in `title`."""
    shown = exact_number(money.minor, money.asset) if exact else ""
    shown = shown or short_number(money.minor, money.asset)
    mark = sign or (MINUS if money.minor < 0 else "")
    symbol = money.asset.symbol if money.asset.symbol != money.asset.code else ""
    whole, point, fraction = shown.partition(".")
    return _MONEY.format(
        klass=klass,
        title=money_text(money, sign=sign),
        mark=_SIGN.format(mark) if mark else "",
        symbol=_SYMBOL.format(symbol) if symbol else "",
        whole=whole,
        fraction=point + fraction,
        code=money.asset.code,
    )


def short_address(address: str) -> str:
    """`0x12ab…89ef`: first six and last four characters."""
    if len(address) <= SHORT_HEAD + SHORT_TAIL + 1:
        return address
    return f"{address[:SHORT_HEAD]}…{address[-SHORT_TAIL:]}"


def in_fours(text: str) -> Markup:
    """A long code in groups of four that copy as one word: the gaps are style, not spaces."""
    head, body = ("0x", text[2:]) if text.startswith("0x") else ("", text)
    groups = [body[at : at + 4] for at in range(0, len(body), 4)]
    spans = Markup("").join(Markup("<span>{}</span>").format(group) for group in groups)
    lead = Markup('<span class="fours-head">{}</span>').format(head) if head else Markup("")
    return Markup('<span class="fours">{}{}</span>').format(lead, spans)


def masked_name(name: str) -> str:
    """Enough of a name to recognise, too little to collect: `Ana Gómez` → `Ana G•••`."""
    words = name.split()
    if not words:
        return "•••"
    if len(words) == 1:
        only = words[0]
        return only[:1] + "•••" if len(only) < 4 else only[:3] + "•••"
    return " ".join([words[0], *(f"{word[0]}•••" for word in words[1:3])])


_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"),
             ("Safari/", "Safari"))  # fmt: skip
_SYSTEMS = (("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"),
            ("Mac OS", "macOS"), ("Linux", "Linux"))  # fmt: skip


def device(user_agent: str) -> str:
    """`Firefox · Linux` out of a User-Agent header; its first word where nothing is known."""
    found = [
        next((name for mark, name in table if mark in user_agent), "")
        for table in (_BROWSERS, _SYSTEMS)
    ]
    return " · ".join(filter(None, found)) or user_agent.partition("/")[0][:40]
