"""The pilot of a selection: whether the target can be trained, and which of two strategies trained it better.

Source: Ren, Chen, Liu 2025, arXiv 2502.11779v3 (LoRA of rank 8, three seeds). Their adapters stand on query and value layers,
ours on all linear ones: the former have other names in other architectures, and few steps get further with the latter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmlabel.errors import ConfigError
from llmlabel.llm.backends.embedded import Place, place
from llmlabel.llm.causal_lm import CausalLM
from llmlabel.selection.target import weights_of
from llmlabel.stats import bootstrap

DRAWS = 2000


def language_model(target: str) -> CausalLM:
    """The target's weights and tokenizer, not loaded yet but checked for a chat template. Raises: ConfigError."""
    found: Place = place(weights_of(target))
    lm = CausalLM(found.folder, found.gguf, found.name)
    if not lm.tokenizer.chat_template:
        raise ConfigError(
            f"{found.name} has no chat template, so nothing tells where an answer begins: name its chat version, or put the "
            "template beside its tokenizer (chat_template.jinja)"
        )
    return lm


def compare(correct: Mapping[str, ArrayLike], seed: int) -> dict[str, Any]:
    """Which of two strategies trained the target better, on the same test prompts.

    "Better on this target" speaks of trainings yet to be done and of prompts yet to be seen, so both are drawn anew: test prompts
    and trainings (the k-th of the one together with the k-th of the other), each with replacement. An interval over prompts alone
    holds for these very models, and is too narrow where trainings scatter; this one is rather too wide with few prompts.

    Args:
        correct: of two strategies (trainings, prompts) whether the answer was right.
    Returns: difference (mean of the first minus that of the second, shares), interval (95%), interval_prompts (of prompts alone),
        accepted (whether the first interval excludes 0), better (its name, else None), reason (a sentence).
    Raises: ValueError where there are not two, or their shapes differ, or there is only one training or prompt.
    Source: Owen 2007, the pigeonhole bootstrap, https://doi.org/10.1214/07-AOAS122.
    """
    (first, a), (second, b) = ((name, np.asarray(values, float)) for name, values in correct.items())
    if a.shape != b.shape or a.ndim != 2 or min(a.shape) < 2:
        raise ValueError(f"two arrays (trainings, prompts) of one shape and at least 2 of each, not {a.shape} and {b.shape}")
    gaps = a - b
    difference = float(gaps.mean())
    low, high = _interval(gaps, seed)
    prompts = bootstrap(np.mean, [gaps.mean(0)], seed=seed, draws=DRAWS) if np.ptp(gaps.mean(0)) else (difference, difference)
    better = first if low > 0 else second if high < 0 else None
    return {
        "difference": difference, "interval": [low, high], "interval_prompts": list(prompts), "accepted": better is not None,
        "better": better, "reason": _reason(first, second, better, 100 * difference, 100 * low, 100 * high, a.shape),
    }  # fmt: skip


def _interval(gaps: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Of the mean of (trainings, prompts), both drawn with replacement."""
    if not np.ptp(gaps):
        return float(gaps[0, 0]), float(gaps[0, 0])
    rng = np.random.default_rng([seed, 1])
    size = len(gaps)

    def drawn(prompts: NDArray[np.int64]) -> float:
        return float(gaps[rng.integers(size, size=size)][:, prompts].mean())

    return bootstrap(drawn, [np.arange(gaps.shape[1])], seed=seed, draws=DRAWS)


def _reason(first: str, second: str, better: str | None, gap: float, low: float, high: float, shape: tuple[int, ...]) -> str:
    """The figures are points, the first minus the second."""
    if better == second:
        first, second, gap, low, high = second, first, -gap, -high, -low
    said = "is right more often than trained on" if better else "cannot be told from the one trained on"
    figures = f"{gap:+.1f} points, 95% interval {low:+.1f} to {high:+.1f}"
    return f"trained on {first} the target {said} {second}: {figures} ({shape[0]} trainings each, {shape[1]} test prompts)"
