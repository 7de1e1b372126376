"""An ingestion of bytes, as an upload goes through it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from preceptor.contract.base import now
from preceptor.contract.ids import digest_id
from preceptor.contract.probes import Probe
from service.core.errors import PreceptorError
from service.core.settings import Settings
from service.ingest import IngestedProbe, ingest

Take = Callable[..., IngestedProbe]


@pytest.fixture
def defaults(tmp_path: Path) -> Settings:
    """The default limits."""
    return Settings(data=tmp_path)


@pytest.fixture
def take(tmp_path: Path, defaults: Settings) -> Take:
    """Ingest some bytes: `take(data, "x.npz", max_probe_items=5)`. What comes out is a valid `Probe`."""

    def run(data: bytes, filename: str | None = None, labels: list[str] | None = None, **changed: Any) -> IngestedProbe:
        source, target = tmp_path / "source", tmp_path / "probe.parquet"
        source.write_bytes(data)
        target.unlink(missing_ok=True)
        format = changed.pop("format", None)
        settings = defaults.model_copy(update=changed)
        try:
            found = ingest(source, filename=filename, format=format, labels=labels, settings=settings, target=target)
        except PreceptorError:
            assert not target.exists()
            raise
        Probe.model_validate({**found.description, "id": digest_id("prb", found.digest), "created_at": now()})
        assert found.description["size"] == target.stat().st_size
        return found

    return run


@pytest.fixture
def refused(take: Take) -> Callable[..., PreceptorError]:
    """The error that an upload brings about."""

    def run(*args: Any, **changed: Any) -> PreceptorError:
        with pytest.raises(PreceptorError) as caught:
            take(*args, **changed)
        return caught.value

    return run
