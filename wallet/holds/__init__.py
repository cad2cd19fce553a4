"""Money set aside by a payer for a payee: captured in parts or whole, voided, or expired."""

from wallet.holds.expiry import expire, expire_all
from wallet.holds.models import Capture, Hold, HoldCapture, HoldWanted
from wallet.holds.reads import captures, get, page
from wallet.holds.service import CaptureFlow, OpenFlow, VoidFlow

__all__ = [
    "Capture",
    "CaptureFlow",
    "Hold",
    "HoldCapture",
    "HoldWanted",
    "OpenFlow",
    "VoidFlow",
    "captures",
    "expire",
    "expire_all",
    "get",
    "page",
]
