"""Ids that are no customer's: what is sent for them is applied as any event is, to measure, and is nobody's doing."""

from __future__ import annotations

CANARY = "$kairos-canary"
"""The customer by whom freshness is measured."""
