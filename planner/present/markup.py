"""HTML and SVG whose every text is escaped: a page that needs no network, and runs no script.

Rules: whoever makes an element gives its texts as they are, and `Markup` alone is taken as it stands.
Tags, paths and descriptions come from strangers: what would be markup in them, what a reader would not
see, and what XML cannot hold is shown as text.  A page may load nothing, and says so to the browser too.
"""

from __future__ import annotations

import html

from planner.present.visible import guard

__all__ = ["Markup", "element", "page", "together"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --good: #2e8b57; --bad: #c0392b; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 0; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td { border: 1px solid var(--line); padding: .2rem .6rem; text-align: left; vertical-align: top; }
th { background: var(--soft); font-weight: 600; }
td.path, code { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
.snapshot { border-left: 3px solid var(--line); margin: .8rem 0; padding: .1rem 0 .1rem 1rem; }
.current { border-left-color: var(--good); background: var(--soft); }
.mark { border: 1px solid var(--line); border-radius: .7rem; font-size: .85em; margin-left: .4rem;
  padding: 0 .5rem; }
.complete, .yes { color: var(--good); } .incomplete, .differs, .no, .finding { color: var(--bad); }
.text, pre { overflow-wrap: anywhere; white-space: pre-wrap; } .soft { opacity: .75; }
.wide { overflow-x: auto; } svg { background: #fff; color-scheme: light; }
@media print { body { max-width: none; margin: 0; } }
"""


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: str) -> Markup:
    """An element with this content.

    Args:
        name: Of the element: one of ours, never a stranger's.
        content: Each `Markup` as it stands, any other text escaped.
        attributes: By name, ``class_`` for ``class`` and ``_`` for ``-``; a text is escaped.
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{words}>{together(*content)}</{name}>")


def together(*content: str) -> Markup:
    """Content one after the other; any text that is no `Markup` escaped."""
    return Markup("".join(each if isinstance(each, Markup) else _escaped(each) for each in content))


def page(title: str, *content: str) -> str:
    """A whole page that stands by itself."""
    head = together(
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_escaped(_POLICY)}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="referrer" content="no-referrer">'),
        element("title", title),
        element("style", Markup(_STYLE)),
    )
    body = element("body", element("h1", title), *content)
    whole = element("html", element("head", head), Markup("\n"), body, lang="en")
    return f"<!doctype html>\n{whole}\n"


def _escaped(text: str) -> str:
    return html.escape(guard(text))
