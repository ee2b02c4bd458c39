"""The chat page, one file that loads nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from fastapi.responses import HTMLResponse

__all__ = ["page"]

FILE = Path(__file__).with_name("page.html")


def _hashes(text: str, element: str) -> str:
    """Sources for a content security policy: the hashes of what the elements of a kind contain."""
    contents = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in contents)


def page() -> HTMLResponse:
    """The page. A browser runs its own script alone, whatever a model writes, and lets it talk to this server alone."""
    text = FILE.read_text("utf-8")
    policy = (f"default-src 'none'; script-src {_hashes(text, 'script')}; style-src {_hashes(text, 'style')}; "
              "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
    return HTMLResponse(text, headers={
        "Content-Security-Policy": policy, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer"})
