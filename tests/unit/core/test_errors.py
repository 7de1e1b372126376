"""What an error says can always be written down."""

from service.core.errors import InvalidRequest


def test_halves_of_surrogate_pairs_are_told_as_escapes() -> None:
    error = InvalidRequest("the name 'caf\u00e9 \ud800' is not known")
    assert error.detail == "the name 'caf\u00e9 \\ud800' is not known"
    assert str(error) == error.detail
    assert error.problem().model_dump_json()
