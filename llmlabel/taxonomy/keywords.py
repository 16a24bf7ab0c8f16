"""A few broad keywords per text, asked of the model: their vectors, beside the texts' own, make groups that answer the
use case rather than share words.

Source: TnT-LLM's summaries under the use case (arXiv 2403.12173), cut down to keywords; keyphrase expansion as in
Viswanathan et al. 2024 (arXiv 2307.00524).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from llmlabel.errors import LlmlabelError
from llmlabel.llm.requests import Request
from llmlabel.records import Example
from llmlabel.taxonomy.groups import Groups
from llmlabel.taxonomy.settings import Setting

ASKED, MOST_TOKENS, CHARS = 3, 16, 1500
KEPT = 8


def keywords(examples: Sequence[Example], texts: Sequence[str], setting: Setting) -> tuple[list[str], list[dict[str, str]]]:
    """One line of keywords for every text, and the failures (the text's own first words stand in there)."""
    prompt, failures = setting.prompt("keywords"), []
    requests = [
        Request(prompt.render(text=t[:CHARS], use_case=setting.use_case, words=ASKED), max_tokens=MOST_TOKENS) for t in texts
    ]
    lines = []
    answers = setting.models["summarise"].map(requests, "keywords", setting.counter("keywords", len(requests)))
    for example, text, answer in zip(examples, texts, answers, strict=True):
        line = "" if isinstance(answer, LlmlabelError) else _clean(answer.text)
        if not line:
            reason = str(answer) if isinstance(answer, LlmlabelError) else "no keywords in the answer"
            failures.append({"id": example.id, "status": "parse_failed", "reason": f"keywords: {reason}"})
            line = " ".join(text.split()[:8])
        lines.append(line)
    return lines, failures


def _clean(answer: str) -> str:
    lines = answer.strip().splitlines()
    return lines[0].translate(str.maketrans("", "", '."<>')).strip().lower() if lines else ""


def split(line: str) -> list[str]:
    return [word for part in line.split(",") if 2 < len(word := part.strip()) < 40]


def typical_keywords(groups: Groups, lines: Sequence[str]) -> list[list[str]]:
    """For every group its keywords by how much commoner they are inside than outside, at most `KEPT`."""
    everywhere = Counter(word for line in lines for word in set(split(line)))
    found = []
    for k in range(groups.count):
        members = [line for line, group in zip(lines, groups.assignment.tolist(), strict=True) if group == k]
        inside = Counter(word for line in members for word in set(split(line)))
        outside = max(1, len(lines) - len(members))
        fewest = 2 if len(members) >= 6 else 1
        usable = [word for word, n in inside.items() if n >= fewest]

        def gap(word: str, inside: Counter[str] = inside, size: int = len(members), outside: int = outside) -> float:
            return inside[word] / size - (everywhere[word] - inside[word]) / outside

        found.append(sorted(usable, key=lambda word: (-gap(word), word))[:KEPT])
    return found
