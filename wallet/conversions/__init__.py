"""Conversions: one quote, one entry."""

from wallet.conversions.service import Conversion, create, get, page

__all__ = ["Conversion", "create", "get", "page"]
