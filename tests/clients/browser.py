"""Uses the board with Chromium, as a person does.

    browser.py URL CHROMIUM FOLDER

The key is in OPSROOM_KEY. The server has the runbooks `ticker` and `hostile`, and `broken` with a diagnostic.
Writes the line `restart` when the server is to be stopped and started again on the same address, and waits for a
line. Pictures go into FOLDER. Ends with `ok` and figures, or with an exception.
"""

import json
import os
import re
import sys
import time

import httpx
from playwright.sync_api import expect, sync_playwright

URL, CHROMIUM, FOLDER = sys.argv[1:4]
API = httpx.Client(base_url=URL, headers={"authorization": f"Bearer {os.environ['OPSROOM_KEY']}"}, timeout=60)
# Long enough for a busy machine; nothing takes as long when it works.
PATIENCE = 60_000
HOSTILE = "<img src=x onerror=\"window.hacked=1;alert(1)\"><script>window.hacked=1</script>"
expect.set_options(timeout=PATIENCE)


def start(runbook, **params):
    answer = API.post("/v1/runs", json={"runbook": runbook, "params": params})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


class Browser:
    """A page, and everything that should not happen on it."""

    def __init__(self, playwright):
        arguments = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update"]
        self.chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        self.context = self.chromium.new_context(viewport={"width": 1280, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.wrong, self.streams, self.forgiving = [], [], False
        self.page.on("console", lambda message: self.said(message))
        self.page.on("pageerror", lambda error: self.wrong.append(f"exception: {error}"))
        self.page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked(request))

    def said(self, message):
        # A server that is away, or refuses, is told by the browser itself.
        expected = self.forgiving and "Failed to load resource" in message.text
        if message.type in ("error", "warning") and not expected:
            self.wrong.append(f"{message.type}: {message.text}")

    def asked(self, request):
        if "/events/stream" in request.url:
            self.streams.append(request)

    def picture(self, name):
        self.page.screenshot(path=os.path.join(FOLDER, f"{name}.png"))

    def none_wrong(self):
        assert self.page.evaluate("window.hacked") is None, "a text became a program"
        assert self.wrong == [], self.wrong


def sign_in_is_asked_for(browser):
    stranger = browser.chromium.new_context().new_page()
    stranger.goto(URL)
    expect(stranger.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(stranger.locator("code", has_text="opsroom open")).to_be_visible()
    stranger.context.close()


def signs_in(browser):
    link = API.post("/v1/login-links").json()["url"]
    browser.page.goto(link)
    expect(browser.page).to_have_url(f"{URL}/")
    expect(browser.page.locator("#connection")).to_have_text("Live")
    cookies = {cookie["name"]: cookie for cookie in browser.context.cookies()}
    cookie = cookies["opsroom_session"]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict", cookie
    assert browser.page.evaluate("document.cookie") == ""
    again = httpx.get(link)
    assert again.status_code == 401, (again.status_code, again.text)


def teaches(browser):
    expect(browser.page.get_by_role("heading", name="Nothing has run yet")).to_be_visible()
    browser.picture("empty")


def sees_a_run_appear(browser):
    """Without a reload, within two seconds; the fastest of a few counts, since the machine may be busy."""
    browser.page.evaluate("window.same = true")
    took = []
    for _ in range(5):
        run = start("ticker", ticks=100000)
        began = time.monotonic()
        expect(browser.page.locator(f'.card[href="#/runs/{run}"]')).to_be_visible()
        took.append(time.monotonic() - began)
        if took[-1] <= 2:
            break
        API.post(f"/v1/runs/{run}/cancel", json={})
    assert min(took) <= 2, took
    expect(browser.page.locator(f'.card[href="#/runs/{run}"] .track i')).to_have_count(2)
    assert browser.page.evaluate("window.same") is True, "the page was loaded again"
    browser.picture("board")
    return run, min(took)


def opens_it(browser, run):
    """By keyboard."""
    browser.page.locator(f'.card[href="#/runs/{run}"]').focus()
    browser.page.keyboard.press("Enter")
    expect(browser.page.get_by_role("heading", level=1, name="ticker")).to_be_visible()
    expect(browser.page.locator(".entry", has_text="tick 3").first).to_be_visible()
    expect(browser.page.locator(".entry .c2", has_text="green").first).to_be_visible()
    browser.page.locator(".step", has_text="count").get_by_role("button").click()
    expect(browser.page.get_by_role("heading", name="Log of count")).to_be_visible()
    expect(browser.page.locator(".entry", has_text="tick").first).to_be_visible()
    browser.page.get_by_role("button", name="All steps").click()
    browser.picture("run")


def goes_on_after_a_restart(browser, run):
    browser.forgiving = True
    before = len(browser.streams)
    print("restart", flush=True)
    sys.stdin.readline()
    expect(browser.page.locator("#connection")).to_have_text("Live")
    deadline = time.monotonic() + PATIENCE / 1000
    while not any(resumed(request) for request in browser.streams[before:]):
        assert time.monotonic() < deadline, [request.all_headers() for request in browser.streams[before:]]
        browser.page.wait_for_timeout(100)
    # The new process goes on with the run, and nothing of the old ones comes twice.
    expect(browser.page.locator(".entry.note", has_text="started: attempt 2")).to_have_count(1)
    expect(browser.page.locator(".entry.note", has_text="run started")).to_have_count(1)
    browser.page.wait_for_timeout(500)
    browser.forgiving = False
    assert API.get(f"/v1/runs/{run}").json()["status"] in ("running", "claimed")


def resumed(request):
    return "last-event-id" in request.all_headers() or "last_event_id=" in request.url


def cancels(browser, run):
    browser.page.get_by_role("button", name="Cancel").click()
    dialog = browser.page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("seen enough")
    dialog.get_by_role("button", name="Cancel the run").click()
    expect(browser.page.locator("h1 + .pill")).to_have_text("cancelled")
    expect(browser.page.locator("#connection")).to_have_text("Complete")
    assert API.get(f"/v1/runs/{run}").json()["status"] == "cancelled"
    browser.picture("cancelled")


def filters(browser):
    browser.page.get_by_role("link", name="Board", exact=True).click()
    expect(browser.page.locator(".line .pill").first).to_have_text("cancelled")
    browser.page.get_by_label("Any status").select_option("succeeded")
    expect(browser.page).to_have_url(re.compile("status=succeeded"))
    expect(browser.page.get_by_text("No run passes these filters.")).to_be_visible()
    browser.page.get_by_role("link", name="Show all").click()
    expect(browser.page.locator(".line").first).to_be_visible()


def starts_one_with_the_form(browser):
    """With words that try to be markup, in a param, a label, a log line and a diagnostic."""
    page = browser.page
    page.get_by_role("button", name="Start a run").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Runbook").select_option("hostile")
    browser.forgiving = True
    form.get_by_label("text").fill("x")
    form.get_by_role("button", name="Start").click()
    # The server says what is wrong, and the form where.
    expect(form.locator(".field", has_text="text").locator(".field-problem")).to_contain_text(re.compile(r"\w"))
    browser.forgiving = False
    form.get_by_label("text").fill(HOSTILE)
    form.get_by_label("count").fill("2")
    form.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", level=1, name="hostile")).to_be_visible()
    expect(page.locator("dd", has_text=HOSTILE).first).to_be_visible()
    expect(page.locator(".entry", has_text=HOSTILE).first).to_be_visible()
    expect(page.locator("h1 + .pill")).to_have_text("failed")
    file = page.locator(".artifacts a", has_text="note.html")
    with page.expect_download() as download:
        file.click()
    with open(download.value.path(), encoding="utf-8") as saved:
        assert saved.read() == "<script>window.hacked=1</script>"
    # Opened by its address it is no page of this origin either.
    head = API.get(file.get_attribute("href")).headers
    alone = "attachment" in head.get("content-disposition", "") or "sandbox" in head.get("content-security-policy", "")
    assert alone and head["x-content-type-options"] == "nosniff", head
    browser.picture("hostile")
    browser.none_wrong()
    page.goto(f"{URL}/#/runbooks")
    expect(page.locator(".broken", has_text="UNKNOWN_KEY")).to_be_visible()
    browser.picture("runbooks")


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let node = element; node; node = node.parentElement) {
      const colour = rgba(getComputedStyle(node).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return rgba(getComputedStyle(document.body).backgroundColor);
  };
  const weak = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== '');
    if (!own || !element.checkVisibility() || element.closest('option')) continue;
    const [a, b] = [light(rgba(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) weak.push(`${element.tagName}.${element.className} ${element.textContent.slice(0, 20)}: ${ratio.toFixed(2)}`);
  }
  return weak;
}"""


def can_be_read(browser):
    """In both themes, on every page, and on a phone."""
    page = browser.page
    run = API.get("/v1/runs", params={"runbook": "hostile"}).json()["items"][0]["id"]
    for path in ("/#/", f"/#/runs/{run}", "/#/runbooks", "/docs"):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.goto(URL + path)
            expect(page.locator("#main .panel, #main .line").first).to_be_visible()
            weak = page.evaluate(CONTRAST)
            assert weak == [], (path, scheme, weak)
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
        page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{URL}/docs#RUN_NOT_FOUND")
    expect(page.locator("#RUN_NOT_FOUND")).to_be_in_viewport()


def signs_out(browser):
    browser.forgiving = True
    browser.page.goto(f"{URL}/#/")
    browser.page.get_by_role("button", name="Sign out").click()
    expect(browser.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert browser.page.evaluate("fetch('/v1/runs').then((answer) => answer.status)") == 401


def main():
    with sync_playwright() as playwright:
        browser = Browser(playwright)
        try:
            sign_in_is_asked_for(browser)
            signs_in(browser)
            teaches(browser)
            run, took = sees_a_run_appear(browser)
            opens_it(browser, run)
            goes_on_after_a_restart(browser, run)
            cancels(browser, run)
            filters(browser)
            starts_one_with_the_form(browser)
            can_be_read(browser)
            browser.none_wrong()
            signs_out(browser)
        except BaseException:
            browser.picture("failed")
            print(browser.page.locator("body").inner_text(), browser.wrong, file=sys.stderr)
            raise
        finally:
            browser.chromium.close()
    print("ok", json.dumps({"seen_after_seconds": round(took, 2)}), flush=True)


main()
