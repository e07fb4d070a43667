"""Who sits before the screen: their name, their role and the key that signs what they ask for.

Without a key the session is view-only. The Pi judges every request by its own list; the role here only says early
what it would refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SHORT = {"viewer": "VIEW", "operator": "OPER", "engineer": "ENG", "field": "FIELD", "admin": "ADMIN"}


@dataclass(frozen=True, slots=True)
class Operator:
    """A person at this screen. `sign` turns the JSON of a request into its signed form; None: view-only."""

    name: str
    role: str
    sign: Callable[[bytes], bytes] | None

    @property
    def has_key(self) -> bool:
        return self.sign is not None

    @property
    def words(self) -> str:
        """As the header shows it."""
        return f"{self.name}/{SHORT.get(self.role, self.role)}" if self.has_key else "VIEW ONLY"


VIEWER = Operator("", "viewer", None)
