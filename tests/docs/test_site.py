"""The site's hooks: links between pages, generated sections, and assets of other servers."""

import pytest
from mkdocs.exceptions import PluginError

from docs.hooks.site import on_post_build, site_links


@pytest.mark.parametrize(
    ("source", "uri", "link", "expected"),
    [
        ("README.md", "index.md", "[a](docs/tutorial.md)", "[a](tutorial.md)"),
        ("README.md", "index.md", "![a](docs/images/report.png)", "![a](images/report.png)"),
        ("README.md", "index.md", "[a](SECURITY.md#promised)", "[a](project/security.md#promised)"),
        ("docs/how-to/cluster.md", "how-to/cluster.md", "[a](../../deploy/README.md#x)", "[a](../project/deploy.md#x)"),
        ("docs/how-to/masks.md", "how-to/masks.md", "[a](region-first.md)", "[a](region-first.md)"),
        ("deploy/README.md", "project/deploy.md", "[a](../docs/how-to/cluster.md)", "[a](../how-to/cluster.md)"),
        ("deploy/README.md", "project/deploy.md", "[`gcp.yaml`](gcp.yaml) here", "`gcp.yaml` here"),
        ("README.md", "index.md", "[a](https://optuna.org) [b](#how-fast)", "[a](https://optuna.org) [b](#how-fast)"),
    ],
)
def test_links_lead_to_pages_of_the_site(source, uri, link, expected):
    assert site_links(link, source, uri) == expected


@pytest.mark.parametrize(
    "outward",
    [
        '<script src="https://unpkg.com/mermaid.js"></script>',
        '<img alt="x" src="//example.org/x.png">',
        '<link rel="stylesheet" href="https://fonts.example.org/css">',
        "<style>@import url(https://example.org/x.css);</style>",
        "<style>body{background:url('http://example.org/x.png')}</style>",
    ],
)
def test_a_page_that_would_fetch_from_another_server_fails_the_build(outward, tmp_path):
    page = tmp_path / "index.html"
    page.write_text('<a href="https://optuna.org">x</a><link rel="canonical" href="https://example.org/">')
    on_post_build({"site_dir": str(tmp_path)})
    page.write_text(outward)
    with pytest.raises(PluginError, match="must not fetch assets from other servers"):
        on_post_build({"site_dir": str(tmp_path)})
