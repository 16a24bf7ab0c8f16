"""One door to any model."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

from llmlabel.config import CommonConfig
from llmlabel.errors import ConfigError
from llmlabel.llm.client import Client
from llmlabel.llm.ledger import Budget, Ledger
from llmlabel.llm.options import Options
from llmlabel.llm.prices import Price
from llmlabel.llm.probe import with_features
from llmlabel.llm.specs import Spec, parse_spec

__all__ = ["Client", "Ledger", "Models", "connect"]


def connect(
    spec: str | None = None,
    *,
    cache: Path | None = None,
    options: CommonConfig | None = None,
    ledger: Ledger | None = None,
    run: str = "",
    probe: bool = True,
) -> Client:
    """A client for one model spec, its features probed (unless it is an embeddings endpoint: `probe=False`).

    Args:
        spec: a model spec; None: hosted if a key or URL is set, else embedded. cache: where answers are kept.
        options: budget, prices and time-outs; None: no caps. run: whose budget is spent.
    Raises: ConfigError, AuthError or BackendError when the model cannot be reached.
    """
    parsed = parse_spec(spec)
    settings = options.model_dump() if options else {}
    backend_options = Options(
        parsed.model, parsed.urls, settings.get("api_key_env", "LLMLABEL_API_KEY"), settings.get("timeout", 120.0)
    )
    backend = _module(parsed).connect(backend_options)
    budget = Budget(settings.get("budget"), settings.get("budget_calls"), settings.get("budget_tokens"))
    price = Price.of(backend, settings.get("prices", {}))
    if budget.money is not None and not price.known:
        raise ConfigError(
            f"--budget needs the price of {backend.model!r}, which is in no table; add to the config: "
            f"prices: {{{backend.model}: {{input: USD_PER_MILLION_TOKENS, output: USD_PER_MILLION_TOKENS}}}}"
        )
    concurrency = 1 if parsed.kind == "embedded" else settings.get("concurrency", 16)
    client = Client(backend, ledger or Ledger(cache or settings.get("cache")), price, run, budget, concurrency)
    try:
        return with_features(client) if probe else client
    except BaseException:
        client.close()  # it may hold a server
        raise


def _module(spec: Spec) -> Any:
    path = spec.kind if "." in spec.kind else f"llmlabel.llm.backends.{spec.kind}"
    try:
        module = import_module(path)
    except ModuleNotFoundError as e:
        raise ConfigError(f"--llm {spec}: cannot import {e.name!r}; is the extra installed that brings it?") from e
    if not hasattr(module, "connect"):
        raise ConfigError(f"--llm {spec}: {path} is no backend; a backend is a module with connect(options)")
    return module


class Models:
    """The clients of a run, one per distinct spec, made when first needed and closed together.

    Args:
        config: names the spec of each role. run: the run's id, whose budget all of them share.
    """

    def __init__(self, config: CommonConfig, run: str = "", ledger: Ledger | None = None) -> None:
        self.config, self.run = config, run
        self.ledger = ledger or Ledger(config.cache)
        self.opened: dict[str, Client] = {}

    def spec(self, role: str) -> str:
        return str(parse_spec(self.config.llm.spec(role)))

    def __getitem__(self, role: str) -> Client:
        spec = self.spec(role)
        if spec not in self.opened:
            self.opened[spec] = connect(self.config.llm.spec(role), options=self.config, ledger=self.ledger, run=self.run)
        return self.opened[spec]

    def embeddings(self, spec: str) -> Client:
        """A client for an embeddings endpoint, on the same account."""
        if spec not in self.opened:
            self.opened[spec] = connect(spec, options=self.config, ledger=self.ledger, run=self.run, probe=False)
        return self.opened[spec]

    def close(self) -> None:
        for client in self.opened.values():
            client.close()

    def __enter__(self) -> Models:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
