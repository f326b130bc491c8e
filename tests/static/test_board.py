"""The live board against a real socket: in-place updates, replay, reordering rules, pause, polling, final state, drawer."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.static.conftest import Site, ready

SLOW = 15_000


def order(page: Page) -> list[str]:
    return page.eval_on_selector_all("tbody tr[data-id]", "rows => rows.map(row => row.dataset.id)")


def open_board(page: Page, site: Site, query: str = "") -> None:
    ready(page, f"{site.url}/board/{query}")
    expect(page.locator("[data-board-connection]")).to_have_attribute("data-state", "live")
    page.mouse.move(5, 5)


def test_an_update_changes_cells_in_place_and_keeps_selection_and_focus(tab: Page, site: Site) -> None:
    open_board(tab, site)
    tab.check('input[data-select][value="c"]')
    tab.evaluate("window.kept = document.querySelector('tr[data-id=c]')")
    site.control(do="push", rows={"c": {"value": 81.5, "low": 78.0, "high": 84.5}})
    expect(tab.locator("tr[data-id=c]")).to_contain_text("81.5 %")
    assert tab.evaluate("window.kept === document.querySelector('tr[data-id=c]')")
    assert tab.evaluate("document.activeElement.value") == "c"
    expect(tab.locator('input[data-select][value="c"]')).to_be_checked()
    expect(tab.locator("[data-seq-shown]")).to_have_text("8")
    expect(tab.locator("#status")).to_have_text("Update 8: vision/resnet18-fine leads")


def test_summaries_are_spaced_and_the_last_one_is_not_lost(tab: Page, site: Site) -> None:
    tab.clock.install()
    open_board(tab, site)
    site.control(do="push", rows={"a": {"value": 87.0}})
    expect(tab.locator("[data-seq-shown]")).to_have_text("8")
    tab.clock.run_for(100)
    expect(tab.locator("#status")).to_contain_text("Update 8")
    site.control(do="push", rows={"a": {"value": 87.1}})
    expect(tab.locator("[data-seq-shown]")).to_have_text("9")
    tab.clock.run_for(8_000)
    expect(tab.locator("#status")).to_contain_text("Update 8")
    tab.clock.run_for(5_000)
    expect(tab.locator("#status")).to_contain_text("Update 9")


def test_rows_move_by_themselves_only_while_nobody_is_in_the_table(tab: Page, site: Site) -> None:
    open_board(tab, site)
    site.control(do="push", order=["c", "a", "b", "d", "e", "f", "g"])
    expect(tab.locator("tbody tr[data-id]").first).to_have_attribute("data-id", "c")

    tab.hover("tr[data-id=b]")
    site.control(do="push", order=["a", "c", "b", "d", "e", "f", "g"])
    apply = tab.locator("[data-board-apply]")
    expect(apply).to_have_text("2 rows changed, apply")
    assert order(tab)[0] == "c"
    apply.click()
    assert order(tab)[0] == "a"
    expect(apply).to_be_hidden()

    tab.focus("tr[data-id=a] a")
    tab.mouse.move(5, 5)
    site.control(do="push", order=["b", "a", "c", "d", "e", "f", "g"])
    expect(apply).to_be_visible()
    assert order(tab)[0] == "a"
    tab.evaluate("document.activeElement.blur()")
    expect(tab.locator("tbody tr[data-id]").first).to_have_attribute("data-id", "b")


def test_a_new_row_appears_and_a_persons_sort_stays(tab: Page, site: Site) -> None:
    open_board(tab, site)
    tab.click("[data-sort=latency]")
    tab.click("[data-sort=latency]")
    tab.evaluate("document.activeElement.blur()")
    tab.mouse.move(5, 5)
    assert order(tab)[0] == "c"
    assert "sort=latency" in tab.url
    assert tab.eval_on_selector_all("th[aria-sort]", "heads => heads.map(h => h.dataset.col + h.ariaSort)") == ["latencyascending"]
    site.control(do="push", rows={"h": {"name": "new/tiny", "latency": 1.0}}, order=["a", "b", "c", "d", "e", "f", "g", "h"])
    expect(tab.locator("tbody tr[data-id]").first).to_have_attribute("data-id", "h")
    ready(tab, tab.url)
    assert order(tab)[:2] == ["h", "c"]


def test_filter_and_columns_are_in_the_address_and_survive_updates(tab: Page, site: Site) -> None:
    open_board(tab, site, "?filter=lab")
    assert tab.locator("tbody tr:visible").count() == 2
    site.control(do="push", rows={"a": {"value": 90.0}})
    expect(tab.locator("[data-seq-shown]")).to_have_text("8")
    assert tab.locator("tbody tr:visible").count() == 2
    tab.click("[popovertarget=board-columns]")
    tab.uncheck("[data-column=latency]")
    expect(tab.locator("th[data-col=latency]")).to_be_hidden()
    assert "cols=" in tab.url
    ready(tab, f"{site.url}/board/")
    expect(tab.locator("th[data-col=latency]")).to_be_hidden()


def test_the_state_filter_offers_what_is_there_and_what_was_chosen(tab: Page, site: Site) -> None:
    open_board(tab, site)
    states = tab.locator("#board-state")
    offered = "select => [...select.options].map(option => option.value)"
    assert states.evaluate(offered) == ["", "queued", "running", "eliminated", "failed", "skipped"]
    assert states.input_value() == "", "what is chosen stays chosen"
    states.select_option("queued")
    tab.evaluate("document.activeElement.blur()")
    site.control(do="push", rows={"d": {"state": "running"}, "a": {"state": "finished"}})
    expect(tab.locator("[data-seq-shown]")).to_have_text("8")
    assert states.evaluate(offered) == ["", "queued", "running", "eliminated", "finished", "failed", "skipped"]
    assert tab.locator("tbody tr:visible").count() == 0
    states.focus()
    states.select_option("")
    assert "queued" in states.evaluate(offered), "not while somebody chooses"
    tab.evaluate("document.activeElement.blur()")
    assert "queued" not in states.evaluate(offered)


def test_a_header_alone_moves_nothing_else(tab: Page, site: Site) -> None:
    open_board(tab, site)
    tab.evaluate("window.updates = 0; document.addEventListener('board:updated', () => { window.updates += 1; })")
    site.control(do="tell", header="<div><dt>Worker</dt><dd>gpu-7</dd></div>")
    expect(tab.locator("[data-board-header]")).to_contain_text("gpu-7")
    assert tab.evaluate("window.updates") == 0
    assert tab.get_attribute("[data-board]", "data-seq") == "7"
    expect(tab.locator("#status")).to_have_text("")
    site.control(do="push", rows={"a": {"value": 87.0}})
    expect(tab.locator("tr[data-id=a]")).to_contain_text("87.0 %")
    assert tab.evaluate("window.updates") == 1


def test_what_was_missed_during_a_cut_is_replayed(tab: Page, site: Site) -> None:
    open_board(tab, site)
    site.control(do="push", rows={"a": {"value": 87.0}})
    expect(tab.locator("tr[data-id=a]")).to_contain_text("87.0 %")
    site.control(do="cut", refuse=True)
    expect(tab.locator("[data-board-connection]")).to_have_attribute("data-state", "reconnecting")
    site.control(do="push", rows={"b": {"value": 55.5}})
    site.control(do="cut", refuse=False)
    expect(tab.locator("tr[data-id=b]")).to_contain_text("55.5 %", timeout=SLOW)
    assert "socket 8" in site.control(do="look")["asked"]


def test_polling_takes_over_where_sockets_are_blocked_and_hands_back(tab: Page, site: Site) -> None:
    site.control(do="cut", refuse=True)
    ready(tab, f"{site.url}/board/")
    chip = tab.locator("[data-board-connection]")
    expect(chip).to_have_attribute("data-state", "polling", timeout=SLOW)
    site.control(do="push", rows={"b": {"value": 66.6}})
    expect(tab.locator("tr[data-id=b]")).to_contain_text("66.6 %", timeout=SLOW)
    site.control(do="cut", refuse=False)
    expect(chip).to_have_attribute("data-state", "live", timeout=SLOW)
    seen = len([ask for ask in site.control(do="look")["asked"] if ask.startswith("poll")])
    tab.wait_for_timeout(6_000)
    assert len([ask for ask in site.control(do="look")["asked"] if ask.startswith("poll")]) == seen


def test_pause_holds_updates_and_resume_shows_them_all(tab: Page, site: Site) -> None:
    open_board(tab, site)
    tab.keyboard.press("Space")
    expect(tab.locator("[data-board-connection]")).to_have_attribute("data-state", "paused")
    site.control(do="push", rows={"a": {"value": 10.5}})
    site.control(do="push", rows={"b": {"value": 20.5}})
    tab.wait_for_timeout(300)
    expect(tab.locator("tr[data-id=a]")).to_contain_text("86.4 %")
    tab.keyboard.press("Space")
    expect(tab.locator("tr[data-id=a]")).to_contain_text("10.5 %")
    expect(tab.locator("tr[data-id=b]")).to_contain_text("20.5 %")


def test_the_final_message_ends_the_connection(tab: Page, site: Site) -> None:
    open_board(tab, site)
    site.control(do="push", rows={"a": {"state": "finished"}}, final=True)
    expect(tab.locator("[data-board-connection]")).to_have_text("final result")
    expect(tab.locator("[data-board-pause]")).to_be_hidden()
    tab.wait_for_timeout(1_500)
    seen = site.control(do="look")
    assert seen["sockets"] == 0
    assert seen["asked"] == ["socket 7"]


def test_the_drawer_is_a_link_and_follows_updates_without_moving_anything(tab: Page, site: Site) -> None:
    open_board(tab, site)
    tab.click("tr[data-id=c] [data-drawer-link]")
    assert tab.url.endswith("?row=c")
    expect(tab.locator("[data-drawer-title]")).to_be_focused()
    expect(tab.locator("[data-drawer-seq]")).to_have_text("update 7")
    tab.fill("#note", "mine")
    tab.click(".drawer summary")
    tab.evaluate("document.querySelector('[data-drawer-body]').scrollTop = 60")
    tab.focus("#note")
    site.control(do="push", rows={"c": {"value": 80.0}})
    expect(tab.locator("[data-drawer-seq]")).to_have_text("update 8")
    expect(tab.locator("#note")).to_have_value("mine")
    expect(tab.locator("#note")).to_be_focused()
    assert tab.evaluate("document.querySelector('.drawer details').open")
    assert tab.evaluate("document.querySelector('[data-drawer-body]').scrollTop") == 60
    expect(tab.locator("tr[data-id=c]")).to_have_attribute("aria-selected", "true")
    tab.keyboard.press("Escape")
    expect(tab.locator("[data-drawer]")).to_be_hidden()
    expect(tab.locator("tr[data-id=c] [data-drawer-link]")).to_be_focused()
    tab.go_back()
    expect(tab.locator("[data-drawer]")).to_be_visible()
    ready(tab, f"{site.url}/board/?row=b")
    expect(tab.locator("[data-drawer-title]")).to_contain_text("vit-tiny")


def test_keys_move_select_open_and_compare(tab: Page, site: Site) -> None:
    open_board(tab, site)
    for key in ("j", "x", "j", "x"):
        tab.keyboard.press(key)
    expect(tab.locator("[data-selection-text]")).to_have_text("2 selected of at most 6")
    assert tab.get_attribute("[data-selection-go]", "href") == "/compare/?v=a&v=b"
    tab.keyboard.press("Enter")
    expect(tab.locator("[data-drawer-title]")).to_contain_text("vit-tiny")
    tab.keyboard.press("Escape")
    tab.keyboard.press("/")
    expect(tab.locator("#site-search")).to_be_focused()
    tab.keyboard.press("?")
    expect(tab.locator("#shortcuts-dialog")).to_be_hidden()
    tab.evaluate("document.activeElement.blur()")
    tab.keyboard.press("?")
    expect(tab.locator("#shortcuts-dialog")).to_be_visible()
    tab.uncheck("[data-shortcuts-toggle]")
    tab.keyboard.press("Escape")
    tab.keyboard.press("/")
    expect(tab.locator("#site-search")).not_to_be_focused()
