"""From the table of actions to the toolkit's key bindings."""

from __future__ import annotations

from textual.binding import Binding, BindingType

from smartphase_tui.actions import of_screen


def bindings(screen: str) -> list[BindingType]:
    """The bindings of `screen`: each key performs its action by id."""
    return [
        Binding(
            ",".join(action.keys), f"perform('{action.id}')", action.label or action.id, show=False, id=action.id
        )
        for action in of_screen(screen)
    ]
