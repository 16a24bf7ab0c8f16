"""What a request costs: from the user's own price table, else from the table of the `genai-prices` package.

A table of one's own is YAML, US dollars per million tokens:

    date: 2026-11-20
    prices:
      my-model: {input: 0.10, output: 0.40, cached_input: 0.05, batch: 0.5}

`cached_input` (default: as `input`) is for prompt tokens the provider had computed before, `batch` (default .5) the
factor for batch jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmlabel.errors import ConfigError
from llmlabel.llm.requests import Backend
from llmlabel.llm.specs import OPENAI_URL, Spec
from llmlabel.records import plain_errors

PICO_PER_MILLION = 1_000_000  # one US dollar per million tokens is a million picodollars per token
Dollars = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]


class Rates(BaseModel):
    """US dollars per million tokens of one model."""

    model_config = ConfigDict(extra="forbid")

    input: Dollars
    output: Dollars = 0.0
    cached_input: Dollars | None = None
    batch: Annotated[float, Field(ge=0, le=1)] = 0.5


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")

    date: date
    prices: dict[str, Rates]


FREE = Rates(input=0.0)


class Prices:
    """The tables there are, the user's own before the packaged one.

    Args:
        own: `{model: {input, output, ...}}`, or the path of a file as above.
    Raises: ConfigError that names the line, when the file cannot be read or holds nonsense.
    """

    def __init__(self, own: Mapping[str, Any] | Path | None = None) -> None:
        self.version = f"genai-prices {metadata.version('genai-prices')}"
        values: Any = {"date": date.today(), "prices": own or {}}
        try:
            if isinstance(own, Path):
                values = yaml.safe_load(own.read_text(encoding="utf-8"))
            table = _Table.model_validate(values)
        except OSError as e:
            raise ConfigError(f"cannot read the price table {own}: {e.strerror}") from e
        except (yaml.YAMLError, UnicodeDecodeError) as e:
            raise ConfigError(f"the price table {own} is not valid YAML: {e}") from e
        except ValidationError as e:
            where = own if isinstance(own, Path) else "prices"
            raise ConfigError(
                f"{where}: not a price table:\n{plain_errors(e)}\nWrite US dollars per million tokens, as in: {EXAMPLE}"
            ) from e
        self._own = table.prices
        if isinstance(own, Path):
            self.version = f"{own.name} of {table.date}, {self.version}"

    def of(self, backend: Backend) -> Price:
        return Price(backend.model, self._rates(backend.model, backend.local, str(getattr(backend, "url", ""))))

    def source(self, backend: Backend) -> str:
        """Who says what this model costs."""
        if backend.model in self._own:
            return self.version.rpartition(", ")[0] or "prices in the settings"
        return "nothing to pay: it runs on this machine" if backend.local else self.version.rpartition(", ")[2]

    def of_spec(self, spec: Spec) -> Price:
        """The price before the model is reached."""
        url = spec.urls[0] if spec.urls else OPENAI_URL
        return Price(spec.model, self._rates(spec.model, spec.kind != "openai", url))

    def _rates(self, model: str, local: bool, url: str) -> Rates | None:
        if model in self._own:
            return self._own[model]
        return FREE if local else _from_package(model, url)


EXAMPLE = "{date: 2026-11-20, prices: {my-model: {input: 0.10, output: 0.40}}}"


class Price:
    """What one model costs; `known` is False where nobody says. Money in whole billionths of a US dollar, rounded up."""

    def __init__(self, model: str, rates: Rates | None) -> None:
        self.model, self.known = model, rates is not None
        rates = rates or FREE
        self.batch_factor = rates.batch
        cached = rates.input if rates.cached_input is None else rates.cached_input
        self._read, self._wrote, self._cached = (round(r * PICO_PER_MILLION) for r in (rates.input, rates.output, cached))

    def nano(self, read: int, wrote: int, cached: int = 0, *, batch: bool = False) -> int:
        """The price of so many tokens; `cached` of those read were computed before. 0 where it is not known."""
        pico = (read - cached) * self._read + cached * self._cached + wrote * self._wrote
        if batch:
            pico = -int(-pico * self.batch_factor // 1)
        return -(-pico // 1000)

    @property
    def missing(self) -> str:
        """What to tell a user whose cap needs this price."""
        return (
            f"the price of {self.model!r} is in no table; write a file with the line\n"
            f"  {self.model}: {{input: USD_PER_MILLION_TOKENS, output: USD_PER_MILLION_TOKENS}}\n"
            f"under `prices:` and a `date:`, and name it with --prices FILE, as in: {EXAMPLE}"
        )


def _from_package(model: str, url: str) -> Rates | None:
    """The provider is told by its URL; one that is not known has no prices."""
    from genai_prices import Usage, calc_price

    def per_million(**tokens: int) -> float:
        return float(calc_price(Usage(**tokens), model_ref=model, provider_api_url=url).total_price) * 1000

    try:
        return Rates(
            input=per_million(input_tokens=1000),
            output=per_million(output_tokens=1000),
            cached_input=per_million(input_tokens=1000, cache_read_tokens=1000),
        )
    except (LookupError, ValueError):
        return None
