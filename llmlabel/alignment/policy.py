"""The model that is trained: loaded from a folder, a hub id or the packaged weights, and checked before any work is done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from llmlabel.errors import BackendError, ConfigError
from llmlabel.llm import weights
from llmlabel.llm.backends.embedded import Place, place
from llmlabel.llm.causal_lm import gguf_options
from llmlabel.llm.training import out_of_memory

MISSING = "training needs PyTorch, transformers and peft: pip install 'llmlabel[align]'"
KNOBS = (
    "--set lists_at_once=1, --set two_pass=on, --set gradient_checkpointing=true, a smaller list_size, "
    "max_completion_tokens or max_prompt_tokens, or --lora"
)


@dataclass(frozen=True)
class Policy:
    """A causal language model and its tokenizer.

    `name`: for people; `source`: the folder, hub id or file it came from; `revision`: tells two versions of its weights apart
    ("" where unknown); `precision`: fp32 or bf16, in which it computes.
    """

    model: Any
    tokenizer: Any
    name: str
    revision: str
    source: str
    precision: str


def load(
    spec: str,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    gradient_checkpointing: bool = False,
    frozen: bool = False,
    knobs: str = KNOBS,
) -> Policy:
    """The model a spec names, on this process's GPU if there is one, without dropout.

    Weights that are trained stay float32 under bf16 too (steps of 1e-6 vanish in bf16's 8 bits): the trainer computes in bf16 by
    autocast. Weights that are not (`frozen`: a reference, what adapters stand on) are kept in bf16, half as large.

    Args:
        spec: a folder with config.json, a hub id, or `embedded`. precision: auto: bf16 on a GPU that has it, else fp32.
        knobs: what needs less memory, told where there is too little.
    Raises: ConfigError for a missing package, no such folder, no causal language model, no usable tokenizer, bf16 on a GPU
        without it; BackendError where files cannot be read or fetched.
    """
    if any(find_spec(name) is None for name in ("torch", "transformers")):
        raise ConfigError(MISSING)
    where = _place(spec)
    dtype = _precision(precision)
    with knobs_when_out_of_memory(knobs):
        model = _model(where, "bf16" if frozen and dtype == "bf16" else "fp32")
        tokenizer = _tokenizer(where)
        _check(model, tokenizer, where.name)
        model = model.to(_device())
    _without_dropout(model)
    if gradient_checkpointing:
        _checkpoint(model)
    revision = weights.revision(where.files) or str(getattr(model.config, "_commit_hash", None) or "")
    return Policy(model, tokenizer, where.name, revision, spec, dtype)


def with_adapters(model: Any, rank: int) -> Any:
    """The model with LoRA adapters on all its linear layers; only they are trained."""
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"))


def padding_id(tokenizer: Any) -> int:
    """What fills short rows: the padding token, else the one that ends a text, else the one for unknown words.

    The tokenizer is left as it is, and so is what will be saved of it.
    """
    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    return next((int(i) for i in ids if i is not None), 0)


def same_vocabulary(policy: Policy, reference: Policy) -> None:
    """Raises: ConfigError that says what differs where the two models do not read the same tokens."""
    ours, theirs = policy.tokenizer.get_vocab(), reference.tokenizer.get_vocab()
    what = ""
    if len(ours) != len(theirs):
        what = f"{len(ours)} tokens and {len(theirs)}"
    elif ours != theirs:
        token = min(t for t in ours if ours[t] != theirs.get(t))
        what = f"token {token!r} is {ours[token]} in the one and {theirs.get(token, 'not there')} in the other"
    elif policy.tokenizer.eos_token_id != reference.tokenizer.eos_token_id:
        what = f"a text ends with {policy.tokenizer.eos_token!r} and with {reference.tokenizer.eos_token!r}"
    if what:
        raise ConfigError(
            f"the policy {policy.name} and the reference {reference.name} have different vocabularies ({what}): their "
            "log-probabilities cannot be compared. Leave out --set reference=..., or name a model of the same family"
        )


@contextmanager
def knobs_when_out_of_memory(knobs: str = KNOBS) -> Iterator[None]:
    """Raises: ConfigError with the settings that need less memory, in the place of PyTorch's error."""
    try:
        yield
    except (MemoryError, RuntimeError) as e:
        if not out_of_memory(e):
            raise
        first = str(e).split("\n")[0][:200] or type(e).__name__
        raise ConfigError(f"out of memory ({first}). What needs less: {knobs}") from e


def _place(spec: str) -> Place:
    if spec.partition(":")[0] == "embedded":
        return place(spec.partition(":")[2])
    folder = Path(spec).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        adapters = " but adapters: merge them into their model first" if (folder / "adapter_config.json").is_file() else ""
        raise ConfigError(f"--policy {spec}: no model there (config.json){adapters}")
    if not folder.is_dir() and (spec.startswith((".", "/", "~")) or spec.count("/") > 1):
        raise ConfigError(f"--policy {spec}: no such folder")
    return place(spec)


def _precision(asked: str) -> str:
    import torch

    able = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if asked == "bf16" and torch.cuda.is_available() and not able:
        raise ConfigError("this GPU has no bf16; use --set precision=fp32")
    return asked if asked != "auto" else "bf16" if able else "fp32"


def _device() -> str:
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def _model(where: Place, dtype: str) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    wanted = torch.bfloat16 if dtype == "bf16" else torch.float32
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            where.folder, dtype=wanted, output_loading_info=True, **gguf_options(where.gguf)
        )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as e:
        if out_of_memory(e):
            raise
        if isinstance(e, ValueError) and "Unrecognized configuration class" in str(e):
            raise ConfigError(f"{where.name} is no causal language model: {_brief(e)}") from e
        raise BackendError(f"{where.name} cannot be loaded from {where.folder}: {_brief(e)}") from e
    if missing := sorted(found["missing_keys"]):
        raise ConfigError(
            f"{where.name} is no whole causal language model: its files lack {len(missing)} weights, such as {missing[0]}"
        )
    return model


def _tokenizer(where: Place) -> Any:
    from transformers import AutoTokenizer

    more = {"gguf_file": where.gguf} if where.gguf else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(where.folder, **more)
        ids = tokenizer("a text", add_special_tokens=False).input_ids
    except Exception as e:  # tokenizers raise plain Exception for files they cannot read
        raise ConfigError(f"{where.name} has no usable tokenizer in {where.folder}: {_brief(e)}") from e
    if not ids:
        raise ConfigError(f"{where.name} has no tokenizer in {where.folder}: put tokenizer.json beside config.json")
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"the tokenizer of {where.name} has no token that ends a text (eos_token), so no answer would ever end")
    return tokenizer


def _check(model: Any, tokenizer: Any, name: str) -> None:
    """Raises: ConfigError where tokens have no embedding, or a token sees what follows it."""
    import torch

    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ConfigError(f"the tokenizer of {name} has {len(tokenizer)} tokens and its model {rows}: they are no pair")
    ids = torch.arange(10, 18).remainder(rows).repeat(2, 1)
    ids[1, -1] = 0
    with torch.no_grad():
        logits = model.eval()(ids, use_cache=False).logits[:, :-1].float()
    if not torch.allclose(logits[0], logits[1], atol=1e-2, rtol=1e-2):
        raise ConfigError(f"{name} is no causal language model: what it predicts depends on what follows")


def _without_dropout(model: Any) -> None:
    """Policy and reference are compared, so neither may be noisy; the config, and so what is saved, stays."""
    import torch

    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        for name in [name for name, value in vars(part).items() if "dropout" in name and isinstance(value, float)]:
            setattr(part, name, 0.0)


def _checkpoint(model: Any) -> None:
    how = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
    else:  # its name in older versions of transformers
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)


def _brief(e: Exception) -> str:
    return " ".join(str(e).split())[:300]
