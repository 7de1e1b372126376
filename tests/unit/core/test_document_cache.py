"""Documents of ended jobs are kept for a while, within a limit."""

import pytest

from service.core.jobs import document_cache
from service.core.jobs.document_cache import DocumentCache


def test_what_was_put_is_given_until_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(document_cache.time, "monotonic", lambda: now)
    kept = DocumentCache(seconds=60)
    kept.put("a", b"document")
    now = 159.9
    assert kept.get("a") == b"document"
    now = 160.1
    assert kept.get("a") is None
    assert kept.get("b") is None


def test_the_least_recently_used_goes_first() -> None:
    kept = DocumentCache(limit=100)
    for name in "abcd":
        kept.put(name, name.encode() * 25)
    assert kept.get("a") is not None
    kept.put("e", b"e" * 25)
    assert kept.get("b") is None
    assert [name for name in "acde" if kept.get(name)] == ["a", "c", "d", "e"]


def test_a_large_document_is_not_kept_and_a_new_one_replaces_the_old() -> None:
    kept = DocumentCache(limit=100)
    kept.put("large", b"x" * 26)
    assert kept.get("large") is None
    for _ in range(10):
        kept.put("same", b"x" * 25)
    kept.put("other", b"y" * 25)
    assert kept.get("same") == b"x" * 25
    assert kept.get("other") == b"y" * 25


def test_a_tag_is_kept_beside_its_document() -> None:
    kept = DocumentCache()
    assert kept.tag("a") == ""
    kept.put("a", b"document", '"tag"')
    assert kept.tag("a") == '"tag"'
    kept.put("a", b"other")
    assert kept.tag("a") == ""
