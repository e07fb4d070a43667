"""What the main screen looks like, cell by cell: three sizes, three tiers of signs and colours, and the dialogs."""

from __future__ import annotations

import pytest

SIZES = [(80, 24), (120, 40), (60, 20)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_main_screen(snap_compare, make_app, size):
    assert snap_compare(make_app(), terminal_size=size)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_main_screen_of_a_linux_console(snap_compare, make_app, size):
    assert snap_compare(make_app(tier="cp437", colours="16"), terminal_size=size)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_main_screen_in_ascii_without_colour(snap_compare, make_app, size):
    assert snap_compare(make_app(tier="ascii", colours="mono"), terminal_size=size)


@pytest.mark.parametrize(("name", "keys"), {
    "move": ["enter", "b"], "mode": ["m"], "tag": ["t"], "undo": ["u", "u"], "accept": ["p"], "filter": ["slash"],
    "help": ["question_mark"], "alarms": ["f3"], "why": ["w"], "ack": ["a"], "sorted": ["s", "s", "s", "s"],
}.items())
def test_dialogs_and_pages(snap_compare, make_app, name, keys):
    assert snap_compare(make_app(), press=keys, terminal_size=(80, 24))


def test_a_viewer_sees_everything_and_may_do_nothing(snap_compare, make_app):
    assert snap_compare(make_app(viewer=True), press=["m"], terminal_size=(80, 24))
