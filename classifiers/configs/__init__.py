"""Training runs, and what they name beside data: one YAML file each."""

from pathlib import Path

__all__ = ["CONFIGS"]

CONFIGS = Path(__file__).parent
