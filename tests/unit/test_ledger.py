"""The ledger: what a crash leaves, what a damaged file does, and that sums are kept."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from books import added_up
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.errors import BudgetReached, ConfigError, StoreError
from llmlabel.llm import schema
from llmlabel.llm.ledger import NANO, Budget, Busy, Ledger, Send, Stored, Totals
from llmlabel.llm.loop import run_async
from llmlabel.llm.requests import Completion, EmbedRequest, Request, ScoreRequest, most_tokens, request_key

NO_CAP = Budget()
TEXT = st.text(st.characters(codec=None), max_size=60)


def send(key: str = "k", tokens: int = 100, cost: float = 1.0, run: str = "r") -> Send:
    return Send(run, "s", key.encode(), "m", tokens, int(cost * NANO))


def opened(ledger: Ledger, key: str = "k", tokens: int = 100, cost: float = 1.0, budget: Budget = NO_CAP) -> int:
    intent = run_async(ledger.open(send(key, tokens, cost), budget))
    assert isinstance(intent, int)
    return intent


def settle(ledger: Ledger, intent: int, what: Send, answer: Completion | None, paid: float, outcome: str) -> None:
    ledger.settle(intent, what, answer=answer, nano=int(paid * NANO), outcome=outcome)
    run_async(ledger.flush())


def settled(ledger: Ledger, key: str, answer: Completion | None, paid: float = 0.25) -> None:
    outcome = "ok" if answer else "TransientError"
    settle(ledger, opened(ledger, key), send(key), answer, paid if answer else 0.0, outcome)


class TestAnswers:
    def test_are_there_for_the_next_run(self, tmp_path: Path) -> None:
        answer = Completion("hello", logprobs={"a": -0.5}, prompt_tokens=3, completion_tokens=1)
        settled(Ledger(tmp_path), "k", answer)
        assert Ledger(tmp_path).answer(b"k") == answer
        assert Ledger(tmp_path).answer(b"other") is None

    def test_the_first_one_stays(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        first, second = opened(ledger), opened(ledger)
        settle(ledger, first, send(), Completion("first"), 0.25, "ok")
        settle(ledger, second, send(), Completion("second"), 0.25, "ok")
        assert ledger.answer(b"k") == Completion("first")
        assert ledger.totals("r").calls == 2, "both were paid"

    @given(TEXT, TEXT, st.lists(st.floats(allow_nan=False), max_size=4))
    @settings(max_examples=60, deadline=None)
    def test_a_stored_completion_equals_the_fresh_one(self, text: str, token: str, scores: list[float]) -> None:
        answer = Completion(text, refusal=text, logprobs={token: -1.0}, scores=scores, vectors=[scores])
        again = Completion.from_json(answer.to_json().encode().decode())
        assert again == answer
        assert again.to_json() == answer.to_json()


class TestIntents:
    def test_one_left_open_by_a_crash_counts_at_its_maximum(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        settled(ledger, "a", Completion("x", prompt_tokens=10, completion_tokens=5))
        opened(ledger, "b", tokens=100, cost=1.0)
        del ledger  # no close, no settlement
        after = Ledger(tmp_path)
        totals = after.totals("r")
        assert (totals.calls, totals.tokens, totals.cost) == (1, 15, 0.25)
        assert (totals.open_calls, totals.open_tokens, totals.open_cost) == (1, 100, 1.0)
        for budget in (Budget(calls=2), Budget(tokens=115), Budget(money=1.25)):
            with pytest.raises(BudgetReached):
                opened(after, "c", tokens=1, cost=0.01, budget=budget)
        opened(after, "c", tokens=1, cost=0.01, budget=Budget(calls=3, tokens=116, money=1.27))
        assert {row["outcome"] for row in after.by_step("r")} == {"ok", "maybe billed"}

    def test_a_refused_one_leaves_nothing(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        with pytest.raises(BudgetReached):
            opened(ledger, budget=Budget(calls=0))
        assert Ledger(tmp_path).totals("r").open_calls == 0

    def test_runs_have_accounts_of_their_own(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        settled(ledger, "a", Completion("x"))
        assert ledger.totals("other").calls == 0

    @given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500), st.sampled_from(["ok", "failed", "open"]))))
    @settings(max_examples=25, deadline=None)
    def test_running_totals_are_the_sums_of_the_intents(
        self, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, str]]
    ) -> None:
        folder = tmp_path_factory.mktemp("ledger")
        ledger = Ledger(folder)
        ledger.totals("r")
        for i, (read, wrote, how) in enumerate(steps):
            intent = opened(ledger, str(i), tokens=1000, cost=0.5)
            if how != "open":
                answer = Completion("x", prompt_tokens=read, completion_tokens=wrote) if how == "ok" else None
                paid = 0.25 if answer else 0.0
                settle(ledger, intent, send(str(i), 1000, 0.5), answer, paid, how)
        assert ledger.totals("r") == added_up(folder)
        assert ledger.totals("r").tokens == sum(r + w for r, w, how in steps if how == "ok")

    def test_a_cap_holds_over_threads(self, tmp_path: Path) -> None:
        ledger, passed = Ledger(tmp_path), []

        def try_some() -> None:
            for i in range(20):
                try:
                    passed.append(opened(ledger, str(i), tokens=10, budget=Budget(tokens=305)))
                except BudgetReached:
                    return

        threads = [threading.Thread(target=try_some) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(passed) == 30

    def test_steps_are_summed_by_outcome(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        settled(ledger, "a", Completion("x", prompt_tokens=3, completion_tokens=4))
        settled(ledger, "b", Completion("x", prompt_tokens=3, completion_tokens=4))
        settled(ledger, "c", None)
        ok, failed = ledger.by_step("r")
        assert (ok["calls"], ok["prompt_tokens"], ok["completion_tokens"], ok["cost"]) == (2, 6, 8, 0.5)
        assert (failed["calls"], failed["outcome"], failed["cost"]) == (1, "TransientError", 0.0)


class TestSharing:
    """Two ledgers on one file, as two processes have them."""

    def test_what_another_process_is_asking_is_not_asked_again(self, tmp_path: Path) -> None:
        one, other = Ledger(tmp_path), Ledger(tmp_path)
        intent = opened(one)
        assert run_async(other.open(send(), NO_CAP)) == Busy()
        settle(one, intent, send(), Completion("x"), 0.25, "ok")
        assert run_async(other.open(send(), NO_CAP)) == Stored(Completion("x"))
        assert other.totals("r").calls == 1

    def test_what_a_dead_process_was_asking_is_asked_again(self, tmp_path: Path) -> None:
        one, other = Ledger(tmp_path), Ledger(tmp_path)
        opened(one)
        one.close()
        assert isinstance(run_async(other.open(send(), NO_CAP)), int)
        assert other.totals("r").open_calls == 2, "the first one may have been billed"

    def test_what_was_lost_is_not_waited_for(self, tmp_path: Path) -> None:
        one, other = Ledger(tmp_path), Ledger(tmp_path)
        one.lose(opened(one), send(), "timed out")
        run_async(one.flush())
        assert isinstance(run_async(other.open(send(), NO_CAP)), int)
        assert other.totals("r").open_calls == 2

    def test_a_cap_holds_over_both(self, tmp_path: Path) -> None:
        ledgers, passed = [Ledger(tmp_path), Ledger(tmp_path)], 0
        for i in range(100):
            try:
                opened(ledgers[i % 2], str(i), tokens=10, budget=Budget(tokens=305))
                passed += 1
            except BudgetReached:
                pass
        assert passed == 30
        assert ledgers[0].totals("r") == ledgers[1].totals("r") == added_up(tmp_path)

    def test_many_threads_and_two_files_balance(self, tmp_path: Path) -> None:
        def work(ledger: Ledger, name: str) -> None:
            for i in range(60):
                settled(ledger, f"{name} {i}", Completion("x", prompt_tokens=1, completion_tokens=1))

        ledgers = [Ledger(tmp_path), Ledger(tmp_path)]
        threads = [threading.Thread(target=work, args=(ledgers[n % 2], str(n))) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ledgers[0].totals("r") == added_up(tmp_path) == Totals(360, 360, 360, 90 * NANO)


class TestText:
    def test_what_was_asked_is_kept_beside_the_answer_unless_told_not_to(self, tmp_path: Path) -> None:
        for keep in (True, False):
            ledger = Ledger(tmp_path / str(keep), store_text=keep)
            ledger.settle(opened(ledger), send(), answer=Completion("x"), nano=0, outcome="ok", asked=b"the secret text")
            ledger.close()
            raw = b"".join(f.read_bytes() for f in (tmp_path / str(keep)).glob("ledger*"))
            assert (b"the secret text" in raw) is keep


class TestBadFiles:
    def test_one_of_a_newer_version_is_refused(self, tmp_path: Path) -> None:
        Ledger(tmp_path).close()
        with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
            db.execute("PRAGMA user_version = 999")
        with pytest.raises(ConfigError, match="newer llmlabel"):
            Ledger(tmp_path)

    def test_one_that_is_no_database_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "ledger.sqlite").write_bytes(b"this is no database, it is a text" * 200)
        with pytest.raises(ConfigError, match="--cache DIR"):
            Ledger(tmp_path)

    @pytest.mark.parametrize("where", ["start", "middle", "end"])
    def test_a_damaged_one_is_a_config_error_whenever_it_shows(self, where: str, tmp_path: Path) -> None:
        """And never a wrong answer: what is read is right, or it is an error."""
        ledger = Ledger(tmp_path)
        for i in range(400):
            settled(ledger, f"key {i}", Completion(f"text {i} " + "x" * 200))
        ledger.close()
        file = tmp_path / "ledger.sqlite"
        raw = bytearray(file.read_bytes())
        begin = {"start": 0, "middle": len(raw) // 4, "end": len(raw) - 12288}[where]
        raw[begin : begin + 12288] = b"\xa5" * 12288
        file.write_bytes(raw)
        errors = 0
        try:
            damaged = Ledger(tmp_path)
            for i in range(400):
                try:
                    assert damaged.answer(f"key {i}".encode()) in (None, Completion(f"text {i} " + "x" * 200))
                except ConfigError:
                    errors += 1
        except ConfigError:
            errors += 1
        assert errors

    def test_a_truncated_one_is_a_config_error(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        for i in range(200):
            settled(ledger, f"key {i}", Completion("x" * 500))
        ledger.close()
        file = tmp_path / "ledger.sqlite"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(ConfigError, match="--cache DIR"):  # noqa: PT012
            damaged = Ledger(tmp_path)
            for i in range(200):
                damaged.answer(f"key {i}".encode())
                settled(damaged, f"new {i}", Completion("x"))

    def test_a_folder_that_cannot_be_made_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="--cache DIR"):
            Ledger(tmp_path / "file")

    def test_a_full_disk_says_so_and_what_was_paid_counts(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        settled(ledger, "a", Completion("x"))
        intent = opened(ledger, "b")
        ledger.close()
        full = Ledger(tmp_path)
        page_count = sqlite3.connect(full.path).execute("PRAGMA page_count").fetchone()[0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(schema, "PRAGMAS", (*schema.PRAGMAS, f"PRAGMA max_page_count={page_count}"))
            full = Ledger(tmp_path)
        full.settle(intent, send("b"), answer=Completion("y" * 100_000), nano=1, outcome="ok")
        with pytest.raises(StoreError, match="(?s)full.*Free some space, then run the same command") as error:
            run_async(full.flush())
        assert error.value.exit_code == 1
        with pytest.raises(StoreError):
            opened(full, "c")
        full.close()
        after = Ledger(tmp_path)
        assert after.answer(b"a") == Completion("x")
        assert after.totals("r").open_calls == 1

    def test_one_of_version_1_is_brought_up_to_date(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
            db.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, model TEXT, answer TEXT, created REAL)")
            db.execute("CREATE TABLE intents (id INTEGER PRIMARY KEY, run TEXT)")
            db.execute("PRAGMA user_version = 1")
        settled(Ledger(tmp_path), "k", Completion("x"))
        assert Ledger(tmp_path).answer(b"k") == Completion("x")


class TestKeys:
    class Backend:
        model, revision = "m", "1"

    REQUEST = Request([{"role": "user", "content": "hi"}])

    @pytest.mark.parametrize(
        "other",
        [
            Request([{"role": "user", "content": "hi "}]),
            Request([{"role": "system", "content": "hi"}]),
            Request([{"role": "user", "content": "hi"}], max_tokens=511),
            Request([{"role": "user", "content": "hi"}], temperature=0.1),
            Request([{"role": "user", "content": "hi"}], top_p=0.9),
            Request([{"role": "user", "content": "hi"}], schema={"type": "object"}),
            Request([{"role": "user", "content": "hi"}], top_logprobs=1),
            Request([{"role": "user", "content": "hi"}], sample=1),
            ScoreRequest("hi", ["a"]),
            EmbedRequest(["hi"]),
        ],
    )
    def test_every_field_makes_another_key(self, other: Request) -> None:
        backend = self.Backend()
        assert request_key(backend, other) != request_key(backend, self.REQUEST)  # type: ignore[arg-type]

    def test_model_and_revision_make_another_key(self) -> None:
        one, other = self.Backend(), self.Backend()
        other.revision = "2"
        assert request_key(one, self.REQUEST) != request_key(other, self.REQUEST)  # type: ignore[arg-type]

    def test_equal_requests_have_one_key_that_never_changes(self) -> None:
        """A changed key makes every stored answer worthless; if that is meant, change this line."""
        assert request_key(self.Backend(), self.REQUEST).hex() == "267ca739e173562dbd78846c9db15edfc92256453b9baff6"  # type: ignore[arg-type]


@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(1, 2000))
def test_most_tokens_is_an_upper_bound_of_any_byte_level_tokenizer(texts: list[str], max_tokens: int) -> None:
    size = sum(len(t.encode("utf-8", "surrogatepass")) for t in texts)
    messages = [{"role": "user", "content": t} for t in texts]
    read, wrote = most_tokens(Request(messages, max_tokens))
    assert read >= size + 5 * len(texts) and wrote == max_tokens
    assert sum(most_tokens(ScoreRequest(texts[0], texts))) >= size + len(texts[0].encode("utf-8", "surrogatepass"))
    assert most_tokens(ScoreRequest(messages, texts))[0] >= size + 5 * len(texts)
    assert sum(most_tokens(EmbedRequest(texts))) >= size
