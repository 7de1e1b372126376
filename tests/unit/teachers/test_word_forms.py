"""Names that differ in number, case or hyphens get one form, and one vector; other names keep theirs."""

import numpy as np
import pytest

from worker.label_encoder import load_encoder
from worker.word_forms import common_form

BOTH = [
    "shirts/Shirt", "coats/coat", "dresses/DRESS", "boxes/box", "buses/bus", "watches/watch", "foxes/fox",
    "horses/horse", "shoes/shoe", "cherries/cherry", "movies/movie", "butterflies/butterfly", "knives/knife",
    "wolves/wolf", "leaves/leaf", "gloves/glove", "mice/mouse", "geese/goose", "children/child", "women/woman",
    "firemen/fireman", "teeth/tooth", "tomatoes/tomato", "potatoes/potato", "houses/house", "lenses/lens",
    "gases/gas", "viruses/virus", "blouses/blouse", "causes/cause", "roses/rose", "purses/purse", "prizes/prize",
    "matches/match", "brushes/brush", "waltzes/waltz", "heroes/hero", "olives/olive", "archives/archive",
    "vases/vase", "axes/axe", "trousers/Trouser", "sandals/Sandal", "sneakers/Sneaker", "scissors/scissor",
    "pullovers/Pullover", "jeans/jean", "sunglasses/sunglass", "orchids/orchid", "skyscrapers/skyscraper",
    "T-shirts/t_shirt", "ankle_boots/Ankle-boot", "cardPayments/card_payment", "exchange_rates/ExchangeRate",
    "pin-codes/PIN_code", "cash_withdrawals/cash-withdrawal", "campuses/campus", "excuses/excuse",
]  # fmt: skip
NOT_PLURAL = [
    "news", "series", "glass", "bus", "status", "analysis", "tennis", "physics", "GPS", "lens", "species",
    "chess", "Paris", "atlas", "bias",
]  # fmt: skip


def test_a_word_takes_the_number_that_the_vocabulary_has() -> None:
    def known(word: str) -> bool:
        return word in {"trousers", "shirt", "shirts", "box", "sandals", "cherry"}

    assert common_form("Trouser", known) == "trousers"
    assert common_form("trousers", known) == "trousers"
    assert common_form("Shirts", known) == "shirt"
    assert common_form("boxes", known) == "box"
    assert common_form("Sandal", known) == common_form("SANDALS", known) == "sandals"
    assert common_form("cherries", known) == "cherry"
    # Neither is known: the singular.
    assert common_form("pullovers", known) == common_form("pullover", known) == "pullover"


@pytest.mark.parametrize("word", NOT_PLURAL)
def test_words_in_s_that_are_no_plurals_stay(word: str) -> None:
    assert common_form(word, lambda _: True) == word.casefold()


def test_other_languages_and_the_words_before_the_last_stay() -> None:
    assert common_form("sports car", lambda _: True) == "sports car"
    assert common_form("do you have pets", lambda _: True) == "do you have pets"
    assert common_form("Haus", lambda _: False) == "haus"
    assert common_form("猫 犬", lambda _: True) == "猫 犬"
    assert common_form("кошки", lambda _: True) == "кошки"
    assert common_form("", lambda _: True) == ""


@pytest.mark.parametrize("encoder", ["minilm", "wordllama"])
def test_plural_and_singular_have_one_vector(encoder: str) -> None:
    loaded = load_encoder(encoder)
    plural, singular = zip(*(pair.split("/") for pair in BOTH), strict=True)
    found = (loaded.encode(list(plural)) * loaded.encode(list(singular))).sum(axis=1)
    apart = [pair for pair, cosine in zip(BOTH, found.tolist(), strict=True) if cosine < 0.9999]
    assert apart == []


def test_different_things_stay_apart() -> None:
    names = ["trousers", "bag", "wardrobe", "trout", "new", "news", "glass", "glasses", "mar", "Mars", "len", "lens"]
    rows = load_encoder("minilm").encode(names)
    cosines = rows @ rows.T - np.eye(len(names))
    assert cosines.max() < 0.95
