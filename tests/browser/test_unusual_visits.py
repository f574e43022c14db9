"""The page in a browser: malformed addresses, the keyboard alone, paper, hostile names in its controls."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

PHONE = {"viewport": {"width": 390, "height": 844}}
TAB_KEYS = 60


def press_tab_until(page, selector):
    """Press Tab until an element that matches has the focus; fail if none gets it."""
    for _ in range(TAB_KEYS):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"{TAB_KEYS} presses of Tab did not reach {selector}")


@pytest.mark.parametrize("fragment", ["#100%", "#%E0%A4%A", "#no-such-part"])
def test_an_address_that_names_no_part_of_the_page_stops_no_script(open_page, fragment):
    page = open_page("failing", fragment)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#report details:not([open])").count() == 0


def test_the_tab_key_alone_searches_sorts_and_opens_a_subject(open_page):
    page = open_page("passing")
    press_tab_until(page, "input[type=search]")
    page.keyboard.type("resnet")
    press_tab_until(page, "th:nth-child(2) button")
    page.keyboard.press("Enter")
    assert page.locator("table.matrix th").nth(1).get_attribute("aria-sort") == "descending"
    press_tab_until(page, "table.matrix a")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#subject-resnet50-raw').open")
    assert page.evaluate("document.activeElement.closest('details').id") == "subject-resnet50-raw"


def test_the_focus_is_visible_on_links_buttons_and_fields(open_page):
    page = open_page("passing")
    for selector in ("nav a", "input[type=search]", "button.sort", "table.matrix a"):
        press_tab_until(page, selector)
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", selector


def test_the_report_is_printed_from_the_tab_of_tests_too(open_page):
    page = open_page("hostile")
    page.get_by_role("tab", name="Tests").click()
    page.emulate_media(media="print")
    assert page.locator("#leaderboard").is_visible()


def test_a_reader_with_dark_colours_prints_dark_text_on_white(open_page):
    page = open_page("failing", color_scheme="dark")
    on_screen = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(media="print", color_scheme="dark")
    assert on_screen != "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_the_reference_of_the_faces_stays_when_a_restoration_is_hidden(open_page):
    page = open_page("failing")
    reference = page.locator("tr.reference td").first
    assert reference.is_visible()
    page.get_by_role("checkbox", name="raw").uncheck()
    assert reference.is_visible()


def test_the_table_of_tests_is_not_wider_than_a_phone(open_page):
    page = open_page("hostile", **PHONE)
    page.get_by_role("tab", name="Tests").click()
    assert page.locator("#results-table tbody").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_each_cell_of_a_model_with_a_hostile_name_opens_its_own_subject(open_page):
    page = open_page("hostile")
    links = page.locator("table.matrix a").all()
    opened = "Array.from(document.querySelectorAll('details.subject[open]'), part => part.id)"
    for number, link in enumerate(links, 1):
        link.click()
        page.wait_for_function(f"({opened}).length === {number}")
    assert len(links) == 3


def test_hostile_names_are_values_of_the_filters(open_page):
    page = open_page("hostile")
    form = page.get_by_role("form", name="Filter the changed faces")
    names = form.get_by_label("Model").locator("option").all_inner_texts()[1:]
    assert any("<img src=x onerror=alert(1)>" in name for name in names)
    for name in names:
        form.get_by_label("Model").select_option(name)
        assert page.locator("#changed-faces .changed-face:visible").count() == 1


@pytest.mark.parametrize("scripts", [True, False])
def test_no_link_of_the_report_runs_a_script_or_leaves_the_page(open_page, scripts):
    page = open_page("hostile", java_script_enabled=scripts)
    links = page.locator("#report a")
    assert links.count() > 0
    assert [link for link in links.all() if not link.get_attribute("href").startswith("#")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("settings", [{}, PHONE], ids=["desktop", "phone"])
def test_assistive_technology_finds_no_serious_obstacle_in_hostile_texts(
    open_page, findings, settings, scheme
):
    page = open_page("hostile", color_scheme=scheme, **settings)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert findings(page) == []
