"""Options that belong to one engine: what stands after `--` on the command line."""

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

from ...schemas.errors import RequestError

__all__ = ["OptionParser", "byte_count", "positive"]

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class OptionParser(argparse.ArgumentParser):
    """Parses `--name value` and `--name=value`. Raises RequestError, with the nearest name for an unknown one."""

    def __init__(self, engine: str) -> None:
        super().__init__(prog=f"--engine {engine}", add_help=False, allow_abbrev=False)

    def parse(self, options: Sequence[str]) -> argparse.Namespace:
        values, unknown = self.parse_known_args(list(options))
        if unknown:
            names = [action.option_strings[0] for action in self._actions]
            near = difflib.get_close_matches(unknown[0].partition("=")[0], names, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(names)}"
            raise RequestError(f"{self.prog}: {unknown[0]}: no such option; {hint}")
        return values

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{self.prog}: {message}")


def byte_count(text: str) -> int:
    """Bytes of "500M", "4G", "4GB" or "4GiB", in powers of 1,024 as Slurm counts them."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of memory; write for example 4G")
    return int(float(found[1]) * UNITS[found[2].upper()])


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)
