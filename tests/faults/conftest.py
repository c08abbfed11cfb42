"""The mail system of a scene may be any user's to pass."""

from __future__ import annotations

from tests.mailers.conftest import ground

__all__ = ["ground"]
