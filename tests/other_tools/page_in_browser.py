"""The chat page in a browser without a window: `python page_in_browser.py CHECK URL FOLDER`.

It runs in the environment of the clients, which has Selenium, with Debian's Chromium. Every check is a function; the
pictures that it puts into the folder are for people.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

WAIT_S = 60
KEY = "word"
PROGRAM = """# A *title* <b>not bold</b>

Some **bold**, `code <i>`, [good](https://example.org/a), [bad](javascript:alert(1)), [worse](data:text/html,x) and
<img src=x onerror="document.title='run'"><script>document.title = 'run'</script> ![p](http://example.org/p.png)

- one
- two
  1. inner

> said

| a | b |
| --- | --- |
| 1 | <u>2</u> |

```html
<script>document.title = 'run'</script> and a line that is much too long for the width of a telephone in the hand
```
"""


class Page:
    """The page in a browser."""

    def __init__(self, url: str, pictures: Path, width: int = 1280, dark: bool = False,
                 ready: str = "context") -> None:
        options = webdriver.ChromeOptions()
        for one in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
            options.add_argument(one)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.url, self._pictures, self._name = url, pictures, f"{width}-{'dark' if dark else 'light'}"
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": 740, "deviceScaleFactor": 1, "mobile": False})
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        self.browser.get(url)
        self.until(lambda: ready in self.text("machine"))

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.quit()

    def until(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.browser, WAIT_S, 0.05).until(lambda _: condition())

    def text(self, name: str) -> str:
        return self.browser.find_element(By.ID, name).text

    def run(self, script: str, *arguments: object) -> Any:
        return self.browser.execute_script(script, *arguments)

    def press(self, *keys: str) -> None:
        self.browser.switch_to.active_element.send_keys(*keys)

    def focused(self) -> str:
        found = self.browser.switch_to.active_element
        return str(found.get_attribute("name") or found.get_attribute("id") or found.text)

    def set(self, **values: str) -> None:
        """Through the dialog, with the keyboard; the last of them must be a field of one line."""
        self.browser.find_element(By.ID, "open").send_keys(Keys.ENTER)
        for name, value in values.items():
            field = self.browser.find_element(By.NAME, name)
            field.clear()
            field.send_keys(value)
        self.press(Keys.ENTER)
        self.until(lambda: self.focused() == "message")

    def say(self, text: str) -> None:
        self.browser.find_element(By.ID, "message").send_keys(text, Keys.ENTER)

    def answers(self) -> list[str]:
        """What is shown of the answers, as it was generated but for blanks."""
        return [found.text for found in self.browser.find_elements(By.CSS_SELECTOR, ".assistant .text")]

    def idle(self) -> None:
        self.until(lambda: self.text("send") == "Send")

    def picture(self, what: str) -> None:
        self.browser.save_screenshot(str(self._pictures / f"{what}-{self._name}.png"))

    def show(self, *messages: dict[str, str]) -> None:
        """As if this had been said."""
        self.run("sessionStorage.setItem('messages', arguments[0])", json.dumps(messages))
        self.browser.refresh()
        self.until(lambda: "context" in self.text("machine"))

    def wrong(self) -> list[str]:
        """What the browser complains about, but for answers that are errors."""
        return [one["message"] for one in self.browser.get_log("browser") if "status of 4" not in one["message"]]


def whole(url: str, **fields: object) -> str:
    """An answer as the API gives it."""
    asked = Request(url + "/v1/chat/completions", json.dumps(fields).encode(), {"Content-Type": "application/json"})
    with urlopen(asked, timeout=WAIT_S) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


def words(text: str) -> list[str]:
    return text.split()


def talks(url: str, pictures: Path) -> None:
    """Two turns, Stop, Regenerate; what is shown is what the API answers."""
    with Page(url, pictures) as page:
        assert "backend golden" in page.text("machine")
        assert "preset tiny" in page.text("machine")
        page.set(system="Speak.", temperature="0", max_tokens="24")
        page.say("Who is there?")
        page.idle()
        said = [{"role": "system", "content": "Speak."}, {"role": "user", "content": "Who is there?"}]
        first = whole(url, messages=said, temperature=0, max_tokens=24)
        assert words(page.answers()[0]) == words(first), (page.answers(), first)
        assert "tokens/s" in page.text("speed")
        assert page.text("position").startswith("position ")
        assert "limit" in page.text("log")
        page.say("And then?")
        page.idle()
        said += [{"role": "assistant", "content": first}, {"role": "user", "content": "And then?"}]
        assert words(page.answers()[1]) == words(whole(url, messages=said, temperature=0, max_tokens=24))
        page.picture("talk")
        page.browser.refresh()
        page.until(lambda: len(page.answers()) == 2)
        page.browser.find_element(By.ID, "new").click()
        assert not page.answers()
        page.set(max_tokens="200")
        page.say("Who is there?")
        page.until(lambda: page.answers() and words(page.answers()[0]))
        page.picture("running")
        page.press(Keys.ESCAPE)
        page.idle()
        part = page.answers()[0]
        assert "Stopped" in page.text("log")
        assert "position " in page.text("position")
        page.set(max_tokens="24")
        page.browser.find_element(By.XPATH, "//button[text()='Regenerate']").send_keys(Keys.ENTER)
        page.idle()
        assert words(page.answers()[0]) == words(first) != words(part)
        assert not page.wrong()


def markdown(url: str, pictures: Path) -> None:
    """It becomes elements, none of which does anything; and nothing is fetched for it."""
    with Page(url, pictures) as page:
        page.show({"role": "user", "content": "<b>x</b>\n  y"}, {"role": "assistant", "content": PROGRAM})
        found = page.browser.find_element(By.CSS_SELECTOR, ".assistant .text")
        for selector in ("h3 em", "strong", "code", "ul > li > ol > li", "blockquote", "td", "pre > code", "a"):
            assert found.find_elements(By.CSS_SELECTOR, selector), selector
        assert not found.find_elements(By.CSS_SELECTOR, "img, script, b, u, i, iframe")
        links = [one.get_attribute("href") for one in found.find_elements(By.TAG_NAME, "a")]
        assert links == ["https://example.org/a", "http://example.org/p.png"]
        assert page.browser.title == "shakespeare-nano"
        for text in ("<b>not bold</b>", "<script>document.title = 'run'</script>", "onerror", "<u>2</u>"):
            assert text in found.text, found.text
        assert page.browser.find_element(By.CSS_SELECTOR, ".user .text").text == "<b>x</b>\n  y"
        asked = [json.loads(one["message"])["message"] for one in page.browser.get_log("performance")]
        urls = {one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"}
        assert urls
        assert all(one.startswith((url, "data:,")) for one in urls), urls
        assert not page.wrong()


LUMINANCE = """
const parts = text => text.match(/[\\d.]+/g).map(Number);
const light = text => parts(text).slice(0, 3).map(one => one / 255)
  .map(one => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
  .reduce((sum, one, n) => sum + one * [0.2126, 0.7152, 0.0722][n], 0);
const back = node => { for (; node; node = node.parentElement) {
  const colour = getComputedStyle(node).backgroundColor;
  if (parts(colour)[3] !== 0) return colour; } return "rgb(255, 255, 255)"; };
return [...document.querySelectorAll("body *")].filter(node => node.checkVisibility()
  && [...node.childNodes].some(one => one.nodeType === 3 && one.data.trim())).map(node => {
  const both = [light(getComputedStyle(node).color), light(back(node))].sort((a, b) => b - a);
  return [(both[0] + 0.05) / (both[1] + 0.05), node.tagName + ": " + node.textContent.slice(0, 30)];
}).sort((a, b) => a[0] - b[0])[0];
"""


def sizes_and_colours(url: str, pictures: Path) -> None:
    """Nothing is wider than the window, and text can be read: 4.5 to 1, which WCAG 2 asks for."""
    for width in (360, 1280):
        for dark in (False, True):
            with Page(url, pictures, width, dark) as page:
                page.show({"role": "user", "content": "word " * 30 + "w" * 300},
                          {"role": "assistant", "content": PROGRAM + "w" * 300, "note": "Stopped"},
                          {"role": "user", "content": "x", "error": "What is wrong"})
                lightness = page.run("return getComputedStyle(document.body).backgroundColor")
                assert (lightness == "rgb(255, 255, 255)") != dark
                for what in ("page", "settings"):
                    if what == "settings":
                        page.browser.find_element(By.ID, "open").click()
                    page.picture(what)
                    assert page.run("return document.documentElement.scrollWidth") <= width
                    assert page.run("const box = document.getElementById('scroll'); return box.scrollWidth "
                                    "- box.clientWidth") <= 0
                    contrast, where = page.run(LUMINANCE)
                    assert contrast >= 4.5, (where, contrast)


def keyboard(url: str, pictures: Path) -> None:
    """Every control is reached, is marked, and has a name; the dialog gives the focus back."""
    with Page(url, pictures) as page:
        page.show({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})
        page.run("const first = document.getElementById('model'); first.tabIndex = -1; first.focus()")
        reached: list[str] = []
        while "send" not in reached and len(reached) < 9:
            page.press(Keys.TAB)
            reached.append(page.focused())
            width = page.run("return getComputedStyle(document.activeElement).outlineWidth")
            assert width == "3px", (reached, width)
        assert reached == ["new", "open", "scroll", "Regenerate", "Edit", "Copy", "message", "send"], reached
        page.browser.find_element(By.ID, "open").send_keys(Keys.SPACE)
        assert page.focused() == "system"
        page.press(Keys.ESCAPE)
        page.until(lambda: page.focused() == "message")
        page.press("a", Keys.SHIFT + Keys.ENTER, Keys.NULL, "b")
        assert page.browser.find_element(By.ID, "message").get_attribute("value") == "a\nb"
        page.browser.find_element(By.ID, "open").click()
        tree = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        roles = ("button", "textbox", "spinbutton", "dialog")
        nodes = [(one["role"]["value"], one["name"]["value"]) for one in tree
                 if not one["ignored"] and one["role"]["value"] in roles]
        assert {"dialog", "textbox", "spinbutton", "button"} == {role for role, _ in nodes}
        assert all(name.strip() for _, name in nodes), nodes


def errors(url: str, pictures: Path) -> None:
    """They are shown, told to screen readers, and can be tried again."""
    with Page(url, pictures) as page:
        page.set(temperature="0", max_tokens="5")
        page.say("word " * 600)
        page.until(lambda: page.browser.find_elements(By.CSS_SELECTOR, "[role=alert]"))
        assert "context holds" in page.browser.find_element(By.CSS_SELECTOR, "[role=alert]").text
        page.picture("error")
        page.browser.find_element(By.XPATH, "//button[text()='Edit']").click()
        assert page.focused() == "message"
        page.press(Keys.CONTROL + "a", Keys.NULL, Keys.DELETE)
        page.say("Who?")
        page.idle()
        assert len(page.answers()) == 1
        page.browser.execute_cdp_cmd("Network.enable", {})
        page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", {
            "offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
        page.say("Again?")
        page.until(lambda: "cannot be reached" in page.text("log"))
        page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", {
            "offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
        page.browser.find_element(By.XPATH, "//button[text()='Answer']").click()
        page.until(lambda: len(page.answers()) == 2)
        page.idle()
        assert "cannot be reached" not in page.text("log")


def key(url: str, pictures: Path) -> None:
    """The page asks for it, and keeps it in the tab."""
    with Page(url, pictures, ready="API key") as page:
        page.until(lambda: page.focused() == "key")
        page.press(KEY, Keys.ENTER)
        page.until(lambda: "context" in page.text("machine"))
        page.browser.refresh()
        page.until(lambda: "context" in page.text("machine"))
        assert KEY not in page.run("return JSON.stringify(localStorage)")
        page.set(max_tokens="4")
        page.say("Who?")
        page.idle()
        assert words(page.answers()[0])


CHECKS = {check.__name__: check for check in (talks, markdown, sizes_and_colours, keyboard, errors, key)}

if __name__ == "__main__":
    CHECKS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
