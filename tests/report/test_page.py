"""The page of results as a page: one file, escaped text, contents that lead to its sections."""

from __future__ import annotations

from html.parser import HTMLParser

from allegro_dist.report.page import Findings, Picture, Pictures, Row, Section, Table, below, plain_table, render_page

PNG = b"\x89PNG\r\n\x1a\n"


def test_page_is_one_file_that_escapes_text_and_marks_limits():
    met, missed = below("A", "energy < forces", 2.0, 3.0, "meV"), below("A", "drift", -5.0, 3.0, "meV")
    rows = [met, missed, Row("B", "speed", "9")]
    page = render_page("T & U", "lead", [Findings(rows), Pictures([Picture(PNG, 'a "curve"')])])
    links: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attrs):
            links.extend(value for name, value in attrs if name in ("src", "href"))

    Links().feed(page)
    assert len(links) == 1 and links[0].startswith("data:image/png;base64,")
    assert "energy &lt; forces" in page and "T &amp; U" in page and "a &quot;curve&quot;" in page
    assert page.count("✓") == 1 and page.count("✗") == 1 and page.count('<tr class="section">') == 2
    assert "MISSED" in plain_table(rows).splitlines()[2]


def test_contents_lead_to_the_sections():
    sections = [Section("Errors by type", []), Section("Crystal Si (a)", [Table(("", "GPa"), [("C11", "153")])])]
    page = render_page("T", "lead", sections)
    for anchor in ("errors-by-type", "crystal-si-a"):
        assert f'<a href="#{anchor}">' in page and f'<h2 id="{anchor}">' in page
    assert "<tr><td>C11</td><td>153</td></tr>" in page
