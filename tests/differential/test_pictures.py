"""The short form: a quarter of the architectures, few pictures."""

from tests.differential.pictures import architectures, run, sample_pictures, settings_of


def test_pixels_and_logits_are_those_of_transformers() -> None:
    rows = run(short=True)
    assert len(rows) == 5 * len(architectures()[::4])
    for row in rows:
        assert row["pixels"] < 1e-5, row
        assert row["logits"] < 1e-4, row
        assert row["holds"]
        assert row["spread"] > 1e-3, "the model tells no pictures apart"


def test_there_are_twelve_architectures_and_five_settings() -> None:
    assert len(architectures()) >= 12
    assert all(len(settings_of(architecture)) == 5 for architecture in architectures())


def test_pictures_are_the_same_every_time() -> None:
    assert sample_pictures(9) == sample_pictures(9)
