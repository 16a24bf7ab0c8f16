"""Self-aligned perplexity of a few answers against a loop of its own: a forward pass each, tokens of the whole chat template.

    python bench/selection_exact.py --data gsm8k_model_solutions.parquet --model DIR --specs embedded:DIR vllm:DIR

Exemplars are the last answer of other lists. Prints the largest and the mean difference in nats per token. For vLLM's precision:
LLMLABEL_VLLM_ARGS='--dtype float32'. Seed 0.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmlabel.lists import read_lists
from llmlabel.llm import connect
from llmlabel.selection.answers import OWN, Answer, Question
from llmlabel.selection.exemplars import Pool
from llmlabel.selection.scores import chat_turns, score

Found = dict[tuple[str, str], tuple[float, int]]


def direct(model: str, questions: list[Question], answers: dict[str, list[Answer]], pool: Pool) -> Found:
    tokenizer = AutoTokenizer.from_pretrained(model)
    lm = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    found: Found = {}
    for question in questions:
        turns = chat_turns(question, pool.before(question))
        start = len(tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"])
        for answer in answers[question.id]:
            whole = [*turns, {"role": "assistant", "content": answer.text.strip()}]
            ids = list(tokenizer.apply_chat_template(whole, continue_final_message=True, return_dict=True)["input_ids"])
            with torch.inference_mode():
                logps = lm(torch.tensor([ids])).logits[0].log_softmax(-1)
            each = [-float(logps[at - 1, ids[at]]) for at in range(start, len(ids))]
            found[question.id, answer.strategy] = (sum(each) / len(each), len(each))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="lists of answers")
    parser.add_argument("--model", required=True, help="folder")
    parser.add_argument("--specs", nargs="+", required=True)
    parser.add_argument("--questions", type=int, default=3)
    args = parser.parse_args()
    lists = [one for one in read_lists(args.data) if len(one.text) < 160 and all(len(c) < 220 for c in one.completions)][:14]
    asked = [Question(one.id, one.prompt, "known") for one in lists]
    pool = Pool.of(asked, [[Answer(one.id, OWN, one.completions[-1].strip(), correct=True)] for one in lists])
    questions = asked[: args.questions]
    answers = {
        one.id: [Answer(one.id, f"s{k}", text) for k, text in enumerate(one.completions[:-1])] for one in lists[: args.questions]
    }
    truth = direct(args.model, questions, answers, pool)
    for spec in args.specs:
        client = connect(spec, cache=Path(tempfile.mkdtemp()))
        try:
            told = score(client, "sppl", questions, answers, pool=pool, form="chat").values
        finally:
            client.close()
        off = [abs(truth[key][0] - told[key][0]) for key in truth]
        same = sum(truth[key][1] == told[key][1] for key in truth)
        print(f"{spec}: {len(off)} answers, largest {max(off):.2g}, mean {sum(off) / len(off):.2g}; tokens equal in {same}")


if __name__ == "__main__":
    main()
