"""Operating: nothing is sent without a dialog, Cancel has the focus, and nothing at all when the link is gone."""

from __future__ import annotations

import asyncio
import random

import pytest
from textual.events import Key

from pi_service.contract import (
    Accept,
    AckAlarm,
    ClearTag,
    InterlockView,
    Operate,
    PlaceTag,
    Preview,
    SetMode,
    Undo,
    Why,
)
from smartphase_tui.actions import ACTIONS
from smartphase_tui.screens.dialogs import Dialog

SIZE = (80, 24)


async def press(app, *keys: str, size=SIZE):
    """Run the app, press keys, give what was asked of the Pi."""
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        for worker in [w for w in app.workers if w.group != "source"]:
            await worker.wait()
        await pilot.pause()
        return [a for a in app.script.asked if not isinstance(a, Why)], app.room.notice


async def test_a_house_is_moved_by_select_preview_and_confirm(make_app):
    asked, notice = await press(make_app(), "down", "enter", "b", "tab", "enter")
    assert asked == [Preview("H0002", "B"), Operate("V000001")]
    assert notice.text == "done"


@pytest.mark.parametrize("keys", [("enter", "b", "enter"), ("enter", "b", "escape"), ("enter", "enter"),
                                  ("p", "enter"), ("m", "enter"), ("u", "u", "enter"), ("m", "tab", "escape")])
async def test_enter_on_cancel_and_esc_send_nothing(make_app, keys):
    asked, _ = await press(make_app(), *keys)
    assert [a for a in asked if not isinstance(a, Preview)] == []


async def test_a_failing_interlock_leaves_only_cancel(make_app):
    app = make_app()
    app.script.locks = (InterlockView("budget", False, "2 of 2 switches today"),)
    asked, _ = await press(app, "enter", "b", "tab", "enter")
    assert asked == [Preview("H0001", "B")]


async def test_a_preview_older_than_its_life_cannot_be_operated(make_app):
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("enter", "b")
        await pilot.pause()
        app.time.advance(31)
        app.room.store.take_snapshot(app.script.snapshot, False)
        await pilot.press("tab", "enter")
        await pilot.pause()
    assert app.script.asked == [Preview("H0001", "B")]


@pytest.mark.parametrize(("keys", "request_"), [
    (("p", "tab", "enter"), Accept("P000007")),
    (("m", "tab", "enter"), SetMode("AUTO", "by anil at the screen")),
    (("m", "tab", "tab", "enter"), SetMode("HOLD", "by anil at the screen")),
    (("u", "u", "tab", "enter"), Undo("S000002")),
    (("a", "a"), AckAlarm("A000003")),
    (("a", "down", "a"), AckAlarm("A000002")),
    (("down", "down", "t", "tab", "enter"), ClearTag("T000001")),
    (("t", *"wires", "tab", "enter"), PlaceTag("H0001", "caution", "wires")),
    (("T", *"pole", "tab", "tab", "tab", "enter"), PlaceTag("", "do-not-operate", "pole")),
])
async def test_what_a_confirmed_dialog_asks(make_app, keys, request_):
    asked, _ = await press(make_app(), *keys)
    assert asked == [request_]


async def test_a_viewer_asks_nothing(make_app):
    for action in ACTIONS:
        if action.control:
            asked, notice = await press(make_app(viewer=True), action.keys[0])
            assert asked == []
            assert "view-only" in notice.text


async def test_a_lost_link_turns_values_stale_within_three_seconds_and_refuses_controls(make_app):
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        app.time.advance(2.6)
        assert app.room.store.freshness().state == "STALE"
        assert app.room.store.measured(app.script.snapshot.neutral_a)[1] == "S"
        await pilot.press("enter")
        await pilot.pause()
        assert "no snapshot from the Pi" in app.room.notice.text
    assert app.script.asked == []


@pytest.mark.parametrize("seed", range(3))
async def test_random_keys_never_move_a_relay(make_app, seed):
    """1,200 keys as the terminal's driver posts them, Enter and Tab among them; dialogs are met, nothing is sent."""
    keys = ["enter", "up", "down", "tab", "escape", "pageup", "home", "left", "right", "space", "f1", "f3", "f4",
            "delete", "backspace", *"abcdefghijklmnoprstuvwxyz0123456789/?STR"]
    app = make_app()
    dialogs = 0
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        for key in random.Random(seed).choices(keys, k=1200):
            app.post_message(Key(key, key if len(key) == 1 else None))
            for _ in range(12):
                await asyncio.sleep(0)
            dialogs += isinstance(app.screen, Dialog)
        await pilot.pause()
    assert dialogs > 100
    assert [a for a in app.script.asked if isinstance(a, Operate | Accept | Undo | SetMode)] == []


async def test_a_foreign_key_leaves_a_dialog(make_app):
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("enter", "b", "tab", "x")
        await pilot.pause()
        assert not isinstance(app.screen, Dialog)
        assert "nothing was sent" in app.room.notice.text


async def test_the_cursor_stays_on_its_house_when_the_order_changes(make_app):
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("down", "down", "down", "s", "S")
        assert app.screen.houses.selected.id == "H0004"


async def test_a_filter_shows_only_what_fits(make_app):
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("slash", *"bad", "enter")
        await pilot.pause()
        assert {h.quality for h in app.screen.houses.rows()} == {"B"}
        await pilot.press("escape")
        assert len(app.screen.houses.rows()) == 60
