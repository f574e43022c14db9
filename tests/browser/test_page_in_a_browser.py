"""The page in a real browser: with a mouse, a keyboard, a phone, on paper, and without scripts."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

PHONE = {"viewport": {"width": 390, "height": 844}}


def models_of(page):
    """The names of the shown models, from top to bottom."""
    rows = page.locator("table.matrix tbody tr:not(.reference):visible th")
    return rows.all_inner_texts()


def test_the_first_screen_says_what_regressed(open_page):
    page = open_page("failing")
    assert page.get_by_role("heading", level=1).inner_text().startswith("vgg19-raw regressed")
    assert page.get_by_role("heading", level=1).bounding_box()["y"] < 200
    assert page.locator("#summary").bounding_box()["y"] < 900


def test_the_contents_stay_in_view_and_lead_to_each_section(open_page):
    page = open_page("failing")
    links = page.get_by_role("navigation", name="Contents").get_by_role("link").all()
    assert len(links) > 5
    for link in links:
        link.click()
        section = page.locator(link.get_attribute("href"))
        assert section.locator("h2").is_visible()
        assert 0 <= link.bounding_box()["y"] < 900


def test_a_column_sorts_by_its_numbers_and_again_the_other_way(open_page):
    page = open_page("passing")
    assert models_of(page) == ["vgg19", "resnet50", "clip"]
    heading = page.locator("table.matrix th").nth(2)
    button = page.get_by_role("button", name="raw")
    button.click()
    assert models_of(page) == ["vgg19", "resnet50", "clip"]
    button.click()
    assert models_of(page) == ["clip", "resnet50", "vgg19"]
    assert heading.get_attribute("aria-sort") is None
    assert page.locator("table.matrix th").nth(1).get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="model").click()
    assert models_of(page) == ["clip", "resnet50", "vgg19"]


def test_sorting_follows_the_shown_metric(open_page):
    page = open_page("passing")
    page.get_by_role("combobox", name="Metric").select_option("macro_f1")
    page.get_by_role("button", name="raw").click()
    assert models_of(page) == ["clip", "resnet50", "vgg19"]
    assert "0.488" in page.locator("table.matrix tbody tr").first.inner_text()


def test_models_without_a_value_are_last_in_both_directions(open_page):
    page = open_page("passing")
    button = page.get_by_role("button", name="gfpgan")
    for _ in range(2):
        button.click()
        assert models_of(page)[-1] == "clip"


def test_text_and_verdict_filter_the_models_and_the_number_is_said(open_page):
    page = open_page("passing")
    form = page.get_by_role("form", name="Filter the leaderboard")
    page.get_by_label("Search").fill("RES")
    assert models_of(page) == ["resnet50"]
    assert form.get_by_role("status").inner_text() == "1 of 3 models"
    page.get_by_label("Search").fill("")
    page.get_by_label("Verdict").select_option("NEW")
    assert models_of(page) == ["clip"]


def test_a_restoration_can_be_hidden(open_page):
    page = open_page("passing")
    page.get_by_role("checkbox", name="gfpgan").uncheck()
    assert page.locator("table.matrix thead th:visible").count() == 2
    page.get_by_role("checkbox", name="gfpgan").check()
    assert page.locator("table.matrix thead th:visible").count() == 3


def test_a_cell_opens_its_subject(open_page):
    page = open_page("failing")
    subject = page.locator("#subject-vgg19-raw")
    assert not subject.locator("table").first.is_visible()
    page.get_by_role("link", name="Open vgg19-raw: 0.684").click()
    subject.get_by_text("Confusion matrix", exact=True).wait_for(state="visible")
    assert subject.get_by_text("pytest evals -k").first.is_visible()
    assert 0 <= subject.bounding_box()["y"] < 400


def test_a_subject_is_reached_and_opened_by_keyboard_alone(open_page):
    page = open_page("passing")
    page.locator("table.matrix a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#subject-vgg19-raw').open")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    assert not page.evaluate("document.querySelector('#subject-vgg19-raw').open")


def test_the_first_key_leads_past_the_header(open_page):
    page = open_page("passing")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the summary"


def test_an_address_with_a_subject_shows_it_opened(open_page):
    page = open_page("failing", "#subject-vgg19-raw")
    page.locator("#subject-vgg19-raw").get_by_text("Confusion matrix", exact=True).wait_for(state="visible")


def test_changed_faces_are_filtered_by_emotion_and_direction(open_page):
    page = open_page("failing")
    form = page.get_by_role("form", name="Filter the changed faces")
    shown = page.locator("#changed-faces .changed-face:visible")
    assert shown.count() == 9
    form.get_by_label("Direction").select_option("corrected")
    assert shown.count() == 1
    assert form.get_by_role("status").inner_text() == "1 of 9 pictures"
    form.get_by_label("Emotion").select_option("fear")
    assert shown.count() == 0


def test_a_failure_leads_to_its_changed_faces(open_page):
    page = open_page("failing")
    form = page.get_by_role("form", name="Filter the changed faces")
    form.get_by_label("Direction").select_option("corrected")
    page.get_by_role("link", name="Show its changed faces").click()
    assert form.get_by_label("Direction").input_value() == ""
    assert form.get_by_label("Model").input_value() == "vgg19-raw on fer2013/private_test"
    assert page.locator("#changed-faces .changed-face:visible").count() == 9


def test_the_table_of_tests_has_a_tab_of_its_own_that_arrow_keys_reach(open_page):
    page = open_page("hostile")
    assert not page.locator("#tests").is_visible()
    page.get_by_role("tab", name="Report").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tests").is_visible()
    assert not page.locator("#report").is_visible()
    assert page.locator("#results-table tbody").count() == 3
    page.keyboard.press("ArrowRight")
    assert page.locator("#report").is_visible()


def test_printing_opens_what_is_folded_and_folds_it_again(open_page):
    page = open_page("failing")
    folded = "document.querySelectorAll('#report details:not([open])').length"
    before = page.evaluate(folded)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert before > 0
    assert page.evaluate(folded) == 0
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(folded) == before


def test_a_printed_page_has_the_subjects_and_no_controls(open_page):
    page = open_page("failing")
    page.emulate_media(media="print")
    assert not page.get_by_role("navigation").is_visible()
    assert not page.locator(".filters").first.is_visible()
    assert page.pdf().startswith(b"%PDF")


@pytest.mark.parametrize("name", ["passing", "failing", "hostile"])
def test_nothing_is_wider_than_a_phone(open_page, name):
    page = open_page(name, **PHONE)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    size = page.evaluate("parseFloat(getComputedStyle(document.querySelector('td')).fontSize)")
    assert size >= 11


def test_the_colours_follow_the_preference_of_the_reader(open_page):
    grounds = []
    for scheme in ("light", "dark"):
        page = open_page("failing", color_scheme=scheme)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        drawn = page.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
        assert drawn != grounds[-1]
    assert grounds == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]


@pytest.mark.parametrize("name", ["failing", "hostile"])
def test_without_scripts_every_number_is_readable_and_no_control_is_shown(open_page, name):
    page = open_page(name, java_script_enabled=False)
    assert page.get_by_role("heading", level=1).is_visible()
    assert page.locator("table.matrix").first.is_visible()
    assert not page.locator(".filters").first.is_visible()
    subjects = page.locator("details.subject").all()
    assert len(subjects) == 3
    for subject in subjects:
        subject.locator("summary").first.click()
        subject.get_by_text("Confusion matrix", exact=True).wait_for(state="visible")


@pytest.mark.parametrize("scripts", [True, False])
def test_no_text_from_outside_runs_or_becomes_an_element(open_page, scripts):
    page = open_page("hostile", java_script_enabled=scripts)
    if scripts:
        page.get_by_role("tab", name="Tests").click()
        page.wait_for_timeout(200)
        assert page.locator("#results-table .col-testId", has_text="<img src=x").count() > 0
    assert page.locator("img[src=x], svg[onload], [onerror]").count() == 0
    assert page.locator("script").count() == 2
    text = page.locator("body").text_content()
    for part in ("<img src=x onerror=alert(1)>", "<script>alert(2)</script>", '"><svg onload=alert(3)>'):
        assert part in text


def test_the_policy_stops_a_script_that_got_into_the_page(browser, pages, tmp_path):
    markup = pages["passing"].read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    injected = "<script>window.ran = 1</script><img src=x onerror='window.ran = 2'>"
    assert "<main>" in markup
    broken.write_text(markup.replace("<main>", f"<main>{injected}"), encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    page.goto(broken.as_uri())
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None
    assert page.locator("form:visible").count() == 1, "our own script ran"
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["passing", "failing"])
def test_assistive_technology_finds_no_serious_obstacle(open_page, findings, name, scheme):
    page = open_page(name, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_assistive_technology_finds_no_serious_obstacle_in_the_table_of_tests(open_page, findings, scheme):
    page = open_page("hostile", color_scheme=scheme)
    page.get_by_role("tab", name="Tests").click()
    assert findings(page) == []


def test_a_page_of_forty_subjects_can_be_searched(open_page):
    page = open_page("large")
    page.get_by_label("Search").fill("model-07")
    assert models_of(page) == ["model-07"]
    page.get_by_role("link", name="Open model-07-gfpgan:").click()
    page.locator("#subject-model-07-gfpgan").get_by_text("Confusion matrix", exact=True).wait_for(
        state="visible"
    )
