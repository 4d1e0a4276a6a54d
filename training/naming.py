"""What models and aliases may be called: checked where a command is read, before hours are spent."""

from __future__ import annotations

import re


def require_name(_type: object, name: str) -> None:
    """It is the name of a folder, and of a model in MLflow. Raises ValueError."""
    if not re.fullmatch(r"[\w][\w. -]{0,99}", name):
        raise ValueError("Letters, digits, spaces, dots, dashes and underscores make a model's name.")


def require_alias(_type: object, alias: str) -> None:
    """MLflow takes no other; a number is a version's. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", alias) or re.fullmatch(r"v?\d+|latest", alias, re.IGNORECASE):
        raise ValueError("Letters, digits, dashes and underscores make an alias; numbers and latest are versions.")
