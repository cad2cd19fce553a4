"""Jinja, one environment a language: autoescape on, undefined names are errors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babel.dates import format_datetime, format_timedelta
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api.web import shown, words
from api.web.i18n import Language
from wallet.money import Asset

if TYPE_CHECKING:
    from api.web.visit import Visit

API_DIR = Path(__file__).resolve().parent.parent
TEMPLATES = API_DIR / "templates"
STATIC = API_DIR / "static"


class Renderer:
    """Turns a template and its figures into a page."""

    def __init__(self, languages: Mapping[str, Language], *, sandbox: bool) -> None:
        self._versions = {
            str(file.relative_to(STATIC)): hashlib.sha256(file.read_bytes()).hexdigest()[:10]
            for file in sorted(STATIC.rglob("*"))
            if file.is_file()
        }
        self._environments = {
            tag: self._environment(language, languages, sandbox)
            for tag, language in languages.items()
        }

    def render(self, template: str, visit: Visit, context: Mapping[str, Any]) -> str:
        """The HTML. `visit` is in every template."""
        environment = self._environments[visit.language.tag]
        return environment.get_template(template).render(visit=visit, **context)

    def _environment(
        self, language: Language, languages: Mapping[str, Language], sandbox: bool
    ) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
        )
        environment.install_gettext_translations(language.translations, newstyle=True)  # type: ignore[attr-defined]
        environment.globals.update(
            language=language,
            languages=languages,
            sandbox=sandbox,
            static=self._static,
            money=shown.money_html,
            money_text=shown.money_text,
            in_fours=shown.in_fours,
            device=shown.device,
            kinds=words.KINDS,
            state_of=words.state_of,
            refusal=lambda error: words.refusal(error, language),
            why_ended=lambda code: words.ending(code, language),
            when=lambda moment, style="": _when(moment, language, style),
            lasting=lambda seconds: _lasting(seconds, language),
            asset_name=lambda asset: _asset_name(asset, language),
            country_name=lambda code: language.babel.territories.get(code, code),
        )
        environment.filters.update(
            short_address=shown.short_address,
            masked=shown.masked_name,
            say=lambda message: language.gettext(message),
        )
        return environment

    def _static(self, name: str) -> str:
        return f"/static/{name}?v={self._versions[name]}"


def _when(moment: datetime, language: Language, style: str) -> Markup:
    """A moment that the browser turns into the viewer's zone; UTC, and said so, without it.

    `style` "clock" shows the time of day, "exact" all of it, else how long ago.
    """
    utc = moment.astimezone(UTC)
    text = format_datetime(utc, "d MMM y HH:mm", locale=language.babel)
    mark = Markup(" data-{}").format(style) if style else ""
    return Markup('<time datetime="{iso}" title="{text} UTC"{mark}>{text} UTC</time>').format(
        iso=utc.isoformat(timespec="seconds"), text=text, mark=mark
    )


def _asset_name(asset: Asset, language: Language) -> str:
    """Money by its name in this language; coins keep their own."""
    if asset.kind != "fiat":
        return asset.name
    return str(language.babel.currencies.get(asset.code, asset.name))


def _lasting(seconds: int, language: Language) -> str:
    """`about a minute` in words."""
    return str(format_timedelta(max(1, seconds), threshold=1.4, locale=language.babel))
