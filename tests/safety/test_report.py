"""The report shows what came from file names and metadata as text."""

import html.parser
import json
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.made_up import make_report, row

pytestmark = pytest.mark.timeout(60)


HOSTILE = [
    "<script>alert(1)</script>.mp4",
    '"><img src=x onerror=alert(1)>.mp4',
    "' onmouseover='alert(1).mp4",
    "javascript:alert(1)//.mp4",
    "</title></pre></style><svg onload=alert(1)>.mp4",
    "{{7*7}}{% raw %}${x}<%= y %>.mp4",
    "two\nlines\r\x00\x1b[31m.mp4",
    "\u202egpj.<b>mp4",
    "&lt;b&gt;&amp;.mp4",
    "$\\frac{1}{0}$ \\input{/etc/passwd}.mp4",
    "-->]]><!--.mp4",
]


class Page(html.parser.HTMLParser):
    """Every tag with the names of its attributes, every link, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.links: list[str] = []
        self.text = ""
        self.declarations: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag, tuple(sorted(name for name, _ in attrs))] += 1
        self.links += [
            str(value)
            for name, value in attrs
            if name in ("href", "src", "action", "srcset", "data")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.declarations.append(data)


def built(folder: Path, names: list[str]) -> Page:
    """The page of a run over clips of these names, which also stand in messages, notes, versions,
    the job and its name.
    """
    rows = []
    for i, name in enumerate(names):
        rows += [row(f"{i:016x}", index, path=f"/in/{name}") for index in range(6)]
        bad = {"status": "error", "error_type": name[:40], "error_message": f"{name} is broken"}
        rows.append(row(f"{i:016x}", 6, **bad | {"path": f"/in/{name}"}))
    job = {
        "compose": {"prompt": names[0], "method": names[1]},
        "edit": {"kind": names[2]},
        "input": {"paths": names},
    }
    make_report(
        folder, rows, name=names[0], command=f"raydepth run {names[1]}", job_yaml=json.dumps(job),
        machine={"platform": names[0]}, versions={"raydepth": names[1], names[2]: "1"}, errors={name: 1 for name in names},
    )  # fmt: skip
    return Page((folder / "report" / "index.html").read_text(encoding="utf-8"))


def test_the_report_shows_names_as_text(tmp_path: Path) -> None:
    """Hostile names change no tag, no attribute and no link of the page; they are there to be read."""
    plain = built(tmp_path / "plain", [f"clip {i}.mp4" for i in range(len(HOSTILE))])
    hostile = built(tmp_path / "hostile", HOSTILE)
    assert hostile.tags == plain.tags
    assert hostile.links == plain.links
    assert hostile.declarations == plain.declarations
    assert not {tag for tag, _ in hostile.tags} & {
        "script",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
    }
    assert not [name for _, names in hostile.tags for name in names if name.startswith("on")]
    for name in (
        "<script>alert(1)</script>.mp4",
        '"><img src=x onerror=alert(1)>.mp4',
        "{{7*7}}",
        "&lt;b&gt;&amp;",
    ):
        assert name in hostile.text
    for link in hostile.links:
        assert re.fullmatch(r"(figures|pictures)/[a-z0-9_]+\.(png|jpg)|report\.json", link)
        assert (tmp_path / "hostile" / "report" / link).is_file()
    tree = json.loads((tmp_path / "hostile" / "report" / "report.json").read_text(encoding="utf-8"))
    assert {video["path"] for video in tree["videos"]} == {f"/in/{name}" for name in HOSTILE}
    files = [path.name for path in (tmp_path / "hostile").rglob("*") if path.is_file()]
    assert all(re.fullmatch(r"[a-z0-9_]+\.(png|jpg|json|html)", name) for name in files)


@settings(max_examples=12, deadline=None)
@given(st.text(min_size=1, max_size=30).filter(lambda name: "/" not in name))
def test_any_name_is_text_in_the_page(name: str) -> None:
    from raydepth.evaluate.fold import fold
    from raydepth.files.text import utf8
    from raydepth.report.numbers import document, to_json
    from raydepth.report.page import render

    def page(path: str) -> Page:
        table = pa.Table.from_pylist(
            [row("a", 0, path=path), row("a", 1, path=path, status="error")]
        )
        tree = document(fold([table]), table, {"name": path}, {}) | {"pictures": [], "figures": []}
        json.loads(to_json(tree).encode("utf-8", "backslashreplace"))
        return Page(render(tree, [], [], path))

    hostile, plain = page(utf8(name)), page("clip.mp4")
    assert hostile.tags == plain.tags and hostile.links == plain.links
