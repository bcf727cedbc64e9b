"""A headless Chromium, driven over its DevTools pipe: null-terminated JSON on file descriptors 3 and 4, no library."""

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
    """The browser's path, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


class Chromium:
    """One page."""

    def __init__(self, folder, width=1600, height=900):
        theirs, to_browser = os.pipe()
        from_browser, answers = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        flags += [f"--user-data-dir={folder}/profile", f"--window-size={width},{height}", "--disable-dev-shm-usage"]
        # A shell puts the pipes where Chromium looks for them: 3 to read from, 4 to write to.
        script = f'exec "$@" 3<&{theirs} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", find(), *flags, "about:blank"],
            pass_fds=(theirs, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(theirs), os.close(answers)
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
            assert read, "the browser has ended"
            self._unread += read
        message, self._unread = self._unread.split(b"\0", 1)
        return json.loads(message)

    def open(self, url):
        """Goes to a page, from an empty one: within MLflow only what follows the # changes."""
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=url)

    def run(self, script):
        """The value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self):
        """What a person can read on the page."""
        return self.run("document.body ? document.body.innerText : ''") or ""

    def wait(self, script, seconds=60):
        """Waits until a JavaScript expression is true, and returns it."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"never true: {script}\n\n{self.text()[:3000]}"
            time.sleep(0.2)
        return value

    def wait_for_text(self, *texts):
        """Waits until all of these can be read."""
        self.wait(f"{json.dumps(texts)}.every(text => document.body && document.body.innerText.includes(text))")

    def click(self, script):
        """Clicks in the middle of the element that an expression gives, as a hand would."""
        self.wait(f"Boolean({script})")
        box = self.run(
            f"(() => {{ const e = {script}; e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self._call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], **button)

    def type(self, text):
        """Writes into what has the focus."""
        self._call("Input.insertText", text=text)

    def screenshot(self, file):
        """Keeps what is seen as a PNG of 256 colours."""
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
