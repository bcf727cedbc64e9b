"""A page of HTML as a test sees it."""

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """The elements of a page, its text, and what it would ask a server for."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.asked, self._inside = [], "", [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._inside = [tag] if tag in ("script", "style") else []
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "poster") and not re.match(r"#|data:", value or ""):
                self.asked.append((tag, name, value))

    def handle_endtag(self, tag):
        self._inside = []

    def handle_data(self, data):
        if not self._inside:
            self.text += data
