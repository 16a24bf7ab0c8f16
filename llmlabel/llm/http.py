"""What HTTP answers of model servers say, read leniently."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import orjson

LONGEST_WAIT = 300.0  # seconds an endpoint may ask us to wait


def proxy(url: str) -> str | None:
    """The proxy the environment names for a URL. (aiohttp's own `trust_env` reads .netrc in a thread for every request.)"""
    parts = urlsplit(url)
    here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return None if here or proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


def error_of(content: bytes) -> Mapping[str, Any]:
    """The error object of an answer that is not 200; servers differ in where they put it."""
    try:
        body = parsed(content)
    except ValueError:
        return {"message": content[:300].decode("utf-8", "replace")}
    error = body.get("error", body) if isinstance(body, dict) else body
    return error if isinstance(error, dict) else {"message": str(error)}


def parsed(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except ValueError:
        return json.loads(content)  # allows half a surrogate pair


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; `Retry-After` is a number of seconds or a date."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return None if math.isnan(seconds) or seconds < 0 else min(seconds, LONGEST_WAIT)


def duration(text: str) -> float:
    """Seconds of `6m0s`, `1.5s`, `20ms`, or of a plain number."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[hms]|)", text))
