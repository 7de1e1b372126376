"""The reference as a page: from this service alone, with nothing that a browser would fetch from elsewhere."""

import hashlib
import re
from pathlib import Path

import httpx2
import pytest

from service.routes import docs

FILES = ["/docs/page.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"]


def test_the_page_names_no_other_place(http: httpx2.Client) -> None:
    page = http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"(https?:)?//[a-z]", page.text.replace("<!doctype", ""))
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sorted(named) == sorted([*(path.removeprefix("/") for path in FILES), "data:,", "openapi.json"])
    assert "<script>" not in page.text  # The policy would not run it.
    assert "style=" not in page.text
    for path in FILES:
        assert http.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/docs", *FILES])
def test_browsers_are_told_to_load_nothing_else(http: httpx2.Client, path: str) -> None:
    answer = http.get(path)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = http.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert http.head(path).status_code == 200


def test_the_files_are_what_they_say(http: httpx2.Client) -> None:
    assert "SwaggerUIBundle" in http.get("/docs/swagger-ui-bundle.js").text
    assert ".swagger-ui" in http.get("/docs/swagger-ui.css").text
    assert http.get("/docs/swagger-ui-bundle.js").headers["content-type"].startswith("text/javascript")
    assert http.get("/docs/swagger-ui.css").headers["content-type"].startswith("text/css")


def test_what_is_from_elsewhere_is_unchanged_and_has_its_licence(http: httpx2.Client) -> None:
    folder = Path(docs.__file__).parent / "pages" / "swagger-ui"
    digests = re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", (folder / "README.md").read_text())
    assert [f"/docs/{name}" for name, _ in digests] == FILES[1:]
    for name, digest in digests:
        assert hashlib.sha256(http.get(f"/docs/{name}").content).hexdigest() == digest
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert "SmartBear" in (folder / "NOTICE").read_text()
    assert "@license" in (folder / "swagger-ui-bundle.js.LICENSE.txt").read_text()


@pytest.mark.parametrize("path", ["/docs/LICENSE", "/docs/README.md", "/docs/swagger-ui/swagger-ui.css"])
def test_nothing_else_of_the_folder_is_served(http: httpx2.Client, path: str) -> None:
    assert http.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect", "/docs/redoc.standalone.js", "/docs/docs.js"])
def test_nothing_else_is_there(http: httpx2.Client, path: str) -> None:
    assert http.get(path).status_code == 404


def test_a_key_given_on_the_page_fits_the_document(http: httpx2.Client) -> None:
    document = http.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert 'preauthorizeApiKey("key"' in http.get("/docs/page.js").text
    assert not any(path.startswith("/docs") for path in document["paths"])
