"""Every exception that Florilegium raises on purpose.

    FlorilegiumError
    ├── RequestError           the request was wrong; nothing was done (exit code 2)
    │   ├── RecipeError        a recipe or charter does not parse or contradicts itself
    │   ├── InputError         an input cannot be found, opened or understood
    │   ├── OutputError        an output folder cannot be written or holds another run
    │   └── MissingExtraError  an optional package is needed; the message says how to install it
    └── RunError               the run failed or does not balance (exit code 1)
        ├── TaskError          tasks failed after their retries; the message names their files
        ├── StoreError         an object store failed for longer than is waited for
        ├── ModelError         a model is damaged, foreign or of another taxonomy
        └── BalanceError       the ledger does not balance, or a file differs from its manifest

A message names the file, row or key first and the remedy after it. Bad documents never raise: they
become rows with an `error`, so that the ledger counts them.
"""

__all__ = [
    "BalanceError",
    "FlorilegiumError",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "OutputError",
    "RecipeError",
    "RequestError",
    "RunError",
    "StoreError",
    "TaskError",
]


class FlorilegiumError(Exception):
    """Root of the tree above."""

    exit_code = 1


class RequestError(FlorilegiumError):
    """The request was wrong; nothing was done."""

    exit_code = 2


class RecipeError(RequestError):
    """A recipe or charter does not parse or contradicts itself."""


class InputError(RequestError):
    """An input cannot be found, opened or understood."""


class OutputError(RequestError):
    """An output folder cannot be written or holds another run."""


class MissingExtraError(RequestError):
    """An optional package is needed; the message says how to install it."""


class RunError(FlorilegiumError):
    """The run failed or does not balance."""


class TaskError(RunError):
    """Tasks failed after their retries; the message names their files."""


class StoreError(RunError):
    """An object store failed for longer than is waited for, or cannot be reached."""


class ModelError(RunError):
    """A model is damaged, foreign or of another taxonomy."""


class BalanceError(RunError):
    """The ledger does not balance, or a file differs from its manifest."""
