"""Every deliberate error of llmlabel, in one small tree.

A message says what went wrong, where, and what to do. Errors of other libraries are mapped where they enter
(a backend, a file reader) and nowhere else.
"""

from __future__ import annotations


class LlmlabelError(Exception):
    """Base of all; `exit_code` is what the command line returns."""

    exit_code = 1


class ConfigError(LlmlabelError):
    """An option, config file or prompt that cannot be used as it is."""

    exit_code = 2


class PromptError(ConfigError):
    """A prompt file that breaks the format, or was filled with the wrong variables."""


class StoreError(ConfigError):
    """The answer store cannot be used: damaged, full, read-only, locked."""

    exit_code = 1


class DataError(LlmlabelError):
    """Input data that cannot be read or used."""

    exit_code = 2


class RunMismatch(ConfigError):
    """The run folder holds a run that was defined differently."""


class BudgetReached(LlmlabelError):
    """The next request could break the cap, so it was not sent. What was bought so far is kept.

    Args:
        cap: in words, as in `the cap of 5 calls`.
    """

    exit_code = 4

    def __init__(self, cap: str) -> None:
        super().__init__(f"stopped before {cap} could be broken; run again with a larger one to go on")


class TimedOut(LlmlabelError):
    """The run's time limit was reached. What was bought so far is kept."""


class BackendError(LlmlabelError):
    """A model could not be reached or refused the request for good."""


class AuthError(BackendError):
    """The endpoint does not accept the key."""


class TransientError(BackendError):
    """Worth another try: rate limit, overload, time-out, lost connection.

    Args:
        retry_after: seconds the server asked us to wait, or None.
        cause: in a word or two, to be counted: `429`, `500`, `timed out`, `unreachable`.
    """

    def __init__(self, message: str, retry_after: float | None = None, cause: str = "failed") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.cause = cause


class RequestRejected(BackendError):
    """This one request cannot be served (too long, say); others may be."""


class AnswerError(LlmlabelError):
    """The model answered, but not usably. `status` is one of `records.Status`, `reason` goes back to the model once."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason
