"""Reads a page of snapplan's as a browser would, and says what is not right with it."""

from html.parser import HTMLParser

__all__ = ["ReadPage", "read_page"]

VOID = {"meta"}
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "pre", "section"),
    *("article", "div", "span", "table", "tr", "th", "td", "svg", "g", "rect", "text", "path"),
    *("defs", "marker"),
}


class ReadPage(HTMLParser):
    """A page, as far as tests ask.

    Attributes:
        text: What a reader sees, head and all.
        faults: What must not be in it.
        policy: Its Content-Security-Policy.
    """

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.text, self.faults, self.policy, self._open = "", [], "", []

    def handle_starttag(self, tag, attrs):
        if tag not in ALLOWED:
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            outside = name in ("href", "src", "action", "data", "xlink:href") or "url(http" in (
                value or ""
            )
            if name.startswith("on") or outside:
                self.faults.append(f"{name}={value}")
        found = dict(attrs)
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        if self._open[-1:] == ["style"] and ("@import" in data or "url(" in data):
            self.faults.append("the style loads something")
        self.text += data

    def close(self):
        super().close()
        self.faults += [f"<{tag}> is left open" for tag in self._open]


def read_page(text):
    """Parse a page to its end."""
    page = ReadPage()
    page.feed(text)
    page.close()
    return page
