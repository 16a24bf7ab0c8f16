"""What a request costs. Prices come from the `genai-prices` table, or from the user's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import metadata

from llmlabel.llm.requests import Backend
from llmlabel.llm.specs import Spec


class Price:
    """US dollars per token of one model. `known` is False where nobody says what it costs.

    Args:
        local: runs on the user's own machine and costs nothing. hosted: at the provider the table is for.
        own: `{model: {input: USD per million tokens, output: ...}}`, which goes before the table.
    """

    def __init__(self, model: str, own: Mapping[str, Mapping[str, float]], *, local: bool, hosted: bool) -> None:
        self.model, self._local, self._own, self._hosted = model, local, own.get(model), hosted

    @classmethod
    def of(cls, backend: Backend, own: Mapping[str, Mapping[str, float]]) -> Price:
        return cls(backend.model, own, local=backend.local, hosted=backend.name == "openai")

    @classmethod
    def of_spec(cls, spec: Spec, own: Mapping[str, Mapping[str, float]]) -> Price:
        """The price before the model is reached."""
        hosted = spec.kind == "openai" and not spec.urls
        return cls(spec.model, own, local=spec.kind != "openai", hosted=hosted)

    @cached_property
    def _rates(self) -> tuple[float, float] | None:
        if self._own is not None:
            return self._own.get("input", 0.0) / 1e6, self._own.get("output", 0.0) / 1e6
        if self._local:
            return 0.0, 0.0
        return self._from_table() if self._hosted else None

    def _from_table(self) -> tuple[float, float] | None:
        from genai_prices import Usage, calc_price

        try:
            million = 1_000_000
            read = calc_price(Usage(input_tokens=million), model_ref=self.model, provider_id="openai").total_price
            wrote = calc_price(Usage(output_tokens=million), model_ref=self.model, provider_id="openai").total_price
        except LookupError:
            return None
        return float(read) / million, float(wrote) / million

    @property
    def known(self) -> bool:
        return self._rates is not None

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars; 0 where the price is not known."""
        read, wrote = self._rates or (0.0, 0.0)
        return prompt_tokens * read + completion_tokens * wrote

    @property
    def dearest(self) -> float:
        """US dollars of the dearer kind of token."""
        return max(self._rates or (0.0, 0.0))


def table_version() -> str:
    return f"genai-prices {metadata.version('genai-prices')}"
