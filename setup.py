"""What pyproject.toml cannot say: README with links that work away from the checkout, and the addresses of the project.

A package registry shows README without the files beside it. Built with PREP_REPOSITORY_URL, the address of the
repository on GitHub or alike, links lead to the tag of the version there; built without it, they are text.
"""

import os
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
URL_VARIABLE = "PREP_REPOSITORY_URL"
_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?!https?:|#)(?P<path>[^)]+)\)")


def rewrite_links(text: str, base_url: str | None) -> str:
    """Make relative links of Markdown absolute, or with no base, text: what they say, and in brackets the path."""

    def rewrite(match: "re.Match[str]") -> str:
        said, path = match["text"], match["path"]
        if base_url:
            return f"[{said}]({base_url}/{path})"
        return f"`{path}`" if said.rstrip("/") == path.rstrip("/") else f"{said} (`{path}`)"

    return _LINK.sub(rewrite, text)


def list_addresses(url: str | None, version: str) -> dict[str, str]:
    """The project's addresses, by the names that package registries know."""
    if not url:
        return {}
    tag = f"{url}/blob/v{version}"
    return {
        "Source": url,
        "Documentation": f"{tag}/README.md",
        "Changelog": f"{tag}/CHANGELOG.md",
        "Issues": f"{url}/issues",
    }


def read_version() -> str:
    """The version in the package, which is not imported."""
    text = (ROOT / "pipeline" / "prep_triton" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]


if __name__ == "__main__":
    repository_url = os.environ.get(URL_VARIABLE, "").rstrip("/") or None
    number = read_version()
    setup(
        long_description=rewrite_links(
            (ROOT / "README.md").read_text(encoding="utf-8"),
            f"{repository_url}/blob/v{number}" if repository_url else None,
        ),
        long_description_content_type="text/markdown",
        project_urls=list_addresses(repository_url, number),
    )
