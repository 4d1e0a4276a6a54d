"""What a user can put right, told apart from what is broken.

A refusal is a subclass of ValueError defined in one of Kairos' own packages: its message says what to do, and it is
shown without a traceback. Every other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

REFUSED = 78
"""Exit code of a part that was refused (EX_CONFIG of sysexits.h): starting it again would not help."""

PACKAGES = frozenset({"features", "models", "training", "service"})


def explain(error: BaseException) -> str | None:
    """The message for the user, or None when the error is not one that a user can put right."""
    ours = type(error).__module__.partition(".")[0] in PACKAGES
    return str(error) if isinstance(error, ValueError) and ours else None
