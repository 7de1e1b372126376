"""What the demo zoo's tests share: the classification takes two seconds to read."""

import pytest

from examples.demo_zoo.diagnoses import Classification, read_classification


@pytest.fixture(scope="session")
def known() -> Classification:
    """All diagnoses; read once."""
    pytest.importorskip("simple_icd_10_cm", reason="the demo zoo's packages are not installed (extra 'demo')")
    return read_classification()
