"""What a text means: models that score documents, their calibration, training and evaluation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .student import Classifier, Scores, load

__all__ = ["Classifier", "Scores", "load"]


def __getattr__(name: str) -> Any:
    """Import the scorer on first use: its kernels need numba, which takes half a second to import."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import student

    return getattr(student, name)
