"""A headless Chromium, controlled over its DevTools pipe: null-terminated JSON on file descriptors 3 and 4."""

import base64
import io
import itertools
import json
import os
import shutil
import subprocess
import time

from PIL import Image


def find():
    """Return the path of the browser, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


class Chromium:
    """A browser with one page."""

    def __init__(self, folder, width=1600, height=900):
        commands, to_browser = os.pipe()
        from_browser, answers = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        flags += [f"--user-data-dir={folder}/profile", f"--window-size={width},{height}", "--disable-dev-shm-usage"]
        # Chromium reads commands from descriptor 3 and writes answers to descriptor 4.
        script = f'exec "$@" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", find(), *flags, "about:blank"],
            pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(commands), os.close(answers)
        self._to, self._from = os.fdopen(to_browser, "wb", 0), os.fdopen(from_browser, "rb", 0)
        self._ids, self._unread = itertools.count(1), b""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = None
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)

    def _call(self, method, **params):
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _receive(self):
        while b"\0" not in self._unread:
            read = self._from.read(65536)
            assert read, "the browser has exited"
            self._unread += read
        message, self._unread = self._unread.split(b"\0", 1)
        return json.loads(message)

    def open(self, url):
        """Open a page by way of an empty one, because MLflow's pages differ only after the #."""
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=url)

    def run(self, script):
        """Return the value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self):
        """Return the visible text of the page."""
        return self.run("document.body ? document.body.innerText : ''") or ""

    def wait(self, script, seconds=60):
        """Wait until a JavaScript expression is true, and return its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"not true within {seconds} s: {script}\n\n{self.text()[:3000]}"
            time.sleep(0.2)
        return value

    def wait_for_text(self, *texts):
        """Wait until the page shows all of these texts."""
        self.wait(f"{json.dumps(texts)}.every(text => document.body && document.body.innerText.includes(text))")

    def click(self, script):
        """Click on the centre of the element that a JavaScript expression returns."""
        self.wait(f"Boolean({script})")
        box = self.run(
            f"(() => {{ const e = {script}; e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self._call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], **button)

    def type(self, text):
        """Type into the focused element."""
        self._call("Input.insertText", text=text)

    def screenshot(self, file):
        """Save the visible page as a PNG of 256 colours."""
        shot = base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])
        Image.open(io.BytesIO(shot)).convert("RGB").quantize(256).save(file, optimize=True)

    def close(self):
        self._to.close()
        self._from.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
