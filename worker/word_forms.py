"""One spelling for class names that differ in number, case or hyphens: "trousers", "Trouser"; "T-shirts", "t shirt".

An encoder reads a word that its vocabulary lacks in pieces: all-MiniLM has "trousers" and splits "trouser", so that
*Trouser* came out nearer to *Bag* than to *trousers*. So each word is read in the number that the encoder's own
vocabulary has: the singular if it has both. English only; words in other letters are left as they are.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final


def _words(text: str) -> list[str]:
    return text.split()


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in _words(text))


# By plural. Those in -ves, -oes and -ches are the ones that leave the rules in `_singular`.
_IRREGULAR: Final = _pairs(
    "children:child dice:die feet:foot geese:goose lice:louse men:man mice:mouse oxen:ox people:person teeth:tooth "
    "women:woman cacti:cactus criteria:criterion fungi:fungus larvae:larva phenomena:phenomenon analyses:analysis "
    "crises:crisis diagnoses:diagnosis theses:thesis quizzes:quiz vertices:vertex indices:index matrices:matrix "
    "appendices:appendix axes:axe calves:calf dwarves:dwarf elves:elf halves:half hooves:hoof knives:knife "
    "leaves:leaf lives:life loaves:loaf scarves:scarf shelves:shelf thieves:thief wharves:wharf wives:wife "
    "wolves:wolf canoes:canoe oboes:oboe shoes:shoe horseshoes:horseshoe toes:toe aches:ache avalanches:avalanche "
    "caches:cache headaches:headache moustaches:moustache mustaches:mustache niches:niche quiches:quiche "
    "toothaches:toothache atlases:atlas biases:bias aliases:alias canvases:canvas gases:gas irises:iris lenses:lens "
    "birdies:birdie brownies:brownie calories:calorie cookies:cookie genies:genie hoodies:hoodie movies:movie "
    "neckties:necktie pies:pie prairies:prairie rookies:rookie selfies:selfie smoothies:smoothie ties:tie "
    "zombies:zombie excuses:excuse refuses:refuse recluses:recluse"
)
# Words in s that are no plurals, or that mean another thing than the word without the s ("glasses").
_NO_PLURAL: Final = frozenset(
    _words(
        "alias always atlas besides bias canvas chaos christmas clothes cosmos does else gas glasses goes goods his "
        "iris kudos lens mars news pancreas perhaps plus series shorts species texas this thus tights us was yes"
    )
)
_NO_PLURAL_ENDING: Final = re.compile(r"\w*(ss|us|is|ics)")
# Things that are named in the plural, and whose singular, if it is used at all, means the same.
_PLURAL_ONLY: Final = {
    word.removesuffix("es" if word.endswith("glasses") else "s"): word
    for word in _words(
        "binoculars clippers goggles headphones jeans leggings overalls pajamas pants pincers pliers pyjamas scissors "
        "sunglasses trousers tweezers"
    )
}
_SHORTEST: Final = 4
_LONGEST: Final = 3
"""Words of a name; more are a phrase, whose meaning needs its number ("do you have pets")."""
_WORD: Final = re.compile(r"[A-Za-z]+")
_HYPHEN: Final = re.compile(r"(?<=\w)[-‐‑](?=\w)")


def common_form(text: str, known: Callable[[str], bool]) -> str:
    """A name in small letters, without hyphens, its words in the number that the encoder knows.

    Parameters
    ----------
    text
        A class name as plain words.
    known
        Whether a word (in small letters) is one token of the encoder.

    Returns
    -------
    str
        The same for names of up to three words that differ in case, hyphens and the number of their last word only.
        Words before the last, and those of longer texts, are changed only if the encoder does not know them ("sports
        car").
    """
    words = _HYPHEN.sub(" ", text)
    ends = [found.end() for found in _WORD.finditer(words)]
    last = ends[-1] if 0 < len(ends) <= _LONGEST else 0
    return _WORD.sub(lambda found: _word(found[0], known, last=found.end() == last), words).casefold()


def _word(word: str, known: Callable[[str], bool], *, last: bool) -> str:
    small = word.casefold()
    if word.isupper() and len(word) <= _SHORTEST:
        return small  # an abbreviation: "GPS"
    if known(small) and not last:
        return small
    singular = _singular(small)
    if singular in _PLURAL_ONLY:
        return _PLURAL_ONLY[singular]
    if known(singular):
        return singular
    return next((plural for plural in _plurals(singular) if known(plural)), singular)


def _singular(word: str) -> str:
    """The singular of a word by rule; the word itself if it is no plural."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("men") and len(word) > 5:
        return word[:-2] + "an"  # firemen
    if len(word) < _SHORTEST or not word.endswith("s") or word in _NO_PLURAL or _NO_PLURAL_ENDING.fullmatch(word):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    # Buses and viruses, but houses, causes, fuses.
    if re.search(r"(ss|x|zz|tz|ch|sh|o)es$|\w{2}[^aeou]uses$|^buses$", word):
        return word[:-2]
    return word[:-1]


def _plurals(word: str) -> Iterator[str]:
    """The plurals of which a word is the singular by the rules above."""
    irregular = (plural for plural, singular in _IRREGULAR.items() if singular == word)
    for plural in (*irregular, word + "s", word + "es", re.sub("y$", "ies", word), re.sub("man$", "men", word)):
        if plural != word and _singular(plural) == word:
            yield plural
