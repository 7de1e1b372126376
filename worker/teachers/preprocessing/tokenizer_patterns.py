r"""Regular expressions that a tokenizer may have: those whose time is linear in the text.

The library's engine (Oniguruma) searches by backtracking. It gives up on one match after some millions of steps, and
begins again at the next character: a pattern made for it computes for hours over one text, and nothing stops it. So a
pattern is read here before the engine sees a text, and passes if

1. it has no repetition inside a repetition, except at the end of an alternative, where nothing can fail behind it: then
   one attempt to match takes polynomial time. `(a+)+b` and `(a|a)*b` end here;
2. in each alternative at most one repetition without a bound has something behind it that can fail: then an attempt
   takes linear time. `\s*\s*x` ends here;
3. attempts that fail after a long way do not follow each other: on runs of every kind of character that its repetitions
   distinguish, also of two in turn, the steps of a backtracking search grow linearly. `\s*[\r\n]+` alone fails at every
   space of a run; with `|\s+` behind it, as in Llama 3, the run is consumed at once.

The steps are counted, not timed: the same pattern passes on every machine.
"""

import itertools
import re
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tokenizers import Regex, normalizers

_LONGEST: Final = 4096
_DEEPEST: Final = 8
_MOST_REPEATED: Final = 999
_UNBOUNDED: Final = 64
"""Repetitions up to this count are a constant factor, not a way through the text."""
_MOST_PARTS: Final = 512
_RUN: Final = 16
"""Steps are counted on runs of 1, 2 and 3 times this length."""
_CURVED: Final = 120
"""Steps beyond a straight line through the first two; a search that is quadratic from one repetition has 256."""
_MOST_KINDS: Final = 12
_EVERYDAY: Final = "aAzZ09 \t\n\r.,!?'\"-_/(▁éß中のカ한яЯλअاกא١²½€©😀🇩\u0301\u200d\u3000\u00a0，。"


@dataclass(frozen=True)
class _One:
    """One character of a set, given by those of `_alphabet` that are in it."""

    members: frozenset[str]


@dataclass(frozen=True)
class _Choice:
    alternatives: tuple[tuple["_Part", ...], ...]
    atomic: bool = False


@dataclass(frozen=True)
class _Repeat:
    part: "_One | _Choice | _Repeat"
    least: int
    most: int | None
    kind: str
    """Greedy "", lazy "?" or possessive "+"."""

    @property
    def unbounded(self) -> bool:
        return self.most is None or self.most > _UNBOUNDED


@dataclass(frozen=True)
class _Look:
    """A condition on what follows, or on what stands before."""

    choice: _Choice
    ahead: bool
    negative: bool


@dataclass(frozen=True)
class _Edge:
    sign: str


_Part = _One | _Choice | _Repeat | _Look | _Edge


class _Unsafe(Exception):
    pass


@lru_cache(maxsize=256)
def is_linear(pattern: str) -> bool:
    """Whether searching a text for a pattern takes linear time, as far as can be shown.

    Parameters
    ----------
    pattern
        In Oniguruma's Ruby syntax.
    """
    try:
        tree = _Reader(pattern).read()
        _check_attempt(tree)
        return _grows_linearly(tree, pattern)
    except (_Unsafe, RecursionError):
        return False


# Reading


class _Reader:
    def __init__(self, pattern: str) -> None:
        if not 0 < len(pattern) <= _LONGEST:
            raise _Unsafe
        self._text = pattern
        self._at = 0
        self._parts = 0
        self._groups: list[_Choice | None] = []
        self._alphabet = _alphabet(pattern)

    def read(self) -> _Choice:
        choice = self._choice("", 0)
        if self._at != len(self._text):
            raise _Unsafe
        try:
            Regex(self._text)
        except Exception:  # the library has no class of its own
            raise _Unsafe from None
        return choice

    def _choice(self, flags: str, depth: int, atomic: bool = False) -> _Choice:
        if depth > _DEEPEST:
            raise _Unsafe
        alternatives = [self._sequence(flags, depth)]
        while self._next("|"):
            alternatives.append(self._sequence(flags, depth))
        return _Choice(tuple(alternatives), atomic)

    def _next(self, sign: str) -> bool:
        found = self._text.startswith(sign, self._at)
        self._at += len(sign) if found else 0
        return found

    def _sequence(self, flags: str, depth: int) -> tuple[_Part, ...]:
        parts: list[_Part] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            self._parts += 1
            if self._parts > _MOST_PARTS:
                raise _Unsafe
            if set_flags := re.compile(r"\(\?([im]+)\)").match(self._text, self._at):
                self._at = set_flags.end()
                flags += set_flags[1]
                continue
            parts.append(self._repeated(self._part(flags, depth)))
        return tuple(parts)

    def _repeated(self, part: _Part) -> _Part:
        while found := re.compile(r"([*+?])([+?]?)|\{(\d{0,4})(,?)(\d{0,4})\}(\??)").match(self._text, self._at):
            if found[1]:
                least, most, kind = (found[1] == "+") * 1, (1 if found[1] == "?" else None), found[2]
            else:
                if not (found[3] or found[5]):
                    break  # a brace for itself
                least = int(found[3] or 0)
                most = int(found[5]) if found[5] else None if found[4] else least
                kind = found[6]
                if found[6] and not found[4]:
                    raise _Unsafe  # {n}? is read differently by different syntaxes
            if not isinstance(part, (_One, _Choice, _Repeat)) or max(least, most or 0) > _MOST_REPEATED:
                raise _Unsafe
            self._at = found.end()
            part = _Repeat(part, least, most, kind)
        return part

    def _part(self, flags: str, depth: int) -> _Part:
        sign = self._text[self._at]
        if sign == "(":
            return self._group(flags, depth)
        if sign == "[":
            return self._one(self._bracket(), flags)
        if sign == "\\":
            return self._escape(flags)
        if sign in "^$":
            self._at += 1
            return _Edge(sign)
        if sign in "*+?":
            raise _Unsafe
        self._at += 1
        return self._one("." if sign == "." else re.escape(sign) if sign in "]{}" else sign, flags)

    def _group(self, flags: str, depth: int) -> _Part:
        found = re.compile(r"\((?:\?(?:([im]*)(?:-([im]*))?:|(<?[=!])|(>)))?").match(self._text, self._at)
        if found is None or (self._text.startswith("(?", self._at) and found.end() == self._at + 1):
            raise _Unsafe
        self._at = found.end()
        capturing = found[0] == "("
        if capturing:
            self._groups.append(None)
        number = len(self._groups)
        inner = "".join(flag for flag in flags + (found[1] or "") if flag not in (found[2] or ""))
        choice = self._choice(inner, depth + 1, atomic=found[4] is not None)
        if not self._next(")"):
            raise _Unsafe
        if capturing:
            self._groups[number - 1] = choice
        if found[3]:
            return _Look(choice, ahead="<" not in found[3], negative="!" in found[3])
        return choice

    def _escape(self, flags: str) -> _Part:
        found = re.compile(
            r"\\(?:([AzZbBG])|([1-9])(?!\d)|[pP]\{\^?\w{1,40}\}|x\{[0-9A-Fa-f]{1,8}\}|x[0-9A-Fa-f]{2}|"
            r"u[0-9A-Fa-f]{4}|[sSdDwWhHnrtfvae]|[^\w\s]|[ ▁])"
        ).match(self._text, self._at)
        if found is None:
            raise _Unsafe
        self._at = found.end()
        if found[1]:
            return _Edge(found[1])
        if found[2]:
            # What the group has found: a single character, or nothing that could be bounded here.
            number = int(found[2])
            group = self._groups[number - 1] if number <= len(self._groups) else None
            if group is None or len(group.alternatives) != 1 or len(group.alternatives[0]) != 1:
                raise _Unsafe
            (same,) = group.alternatives[0]
            if not isinstance(same, _One):
                raise _Unsafe
            return same
        return self._one(found[0], flags)

    def _bracket(self) -> str:
        start, depth = self._at, 0
        while self._at < len(self._text):
            sign = self._text[self._at]
            self._at += 2 if sign == "\\" else 1
            depth += (sign == "[") - (sign == "]")
            if depth == 0:
                return self._text[start : self._at]
        raise _Unsafe

    def _one(self, text: str, flags: str) -> _One:
        return _One(_members(f"(?{flags}:{text})" if flags else text, self._alphabet))


@lru_cache(maxsize=1024)
def _members(text: str, alphabet: str) -> frozenset[str]:
    """Characters of the alphabet that a pattern for one character matches, by the engine itself."""
    try:
        removed = normalizers.Replace(Regex(text), "")
    except Exception:  # the library has no class of its own
        raise _Unsafe from None
    return frozenset(sign for sign in alphabet if removed.normalize_str(sign) == "")


@lru_cache(maxsize=1)
def _categories() -> str:
    """Two characters of each general category of Unicode."""
    found: dict[str, list[str]] = {}
    for code in itertools.chain(range(0xD800), range(0xE000, 0x20000)):
        signs = found.setdefault(unicodedata.category(chr(code)), [])
        if len(signs) < 2:
            signs.append(chr(code))
    return "".join(itertools.chain.from_iterable(found.values()))


def _alphabet(pattern: str) -> str:
    """Characters that stand for all others: everyday ones, two of each category, and those of the pattern itself."""
    near = (code for sign in set(pattern) for code in (ord(sign) - 1, ord(sign), ord(sign) + 1))
    own = (chr(code) for code in near if 0 <= code <= sys.maxunicode and not 0xD800 <= code < 0xE000)
    return "".join(dict.fromkeys(itertools.chain(_EVERYDAY, _categories(), sorted(own))))


# One attempt


def _check_attempt(tree: _Choice) -> None:
    for alternative in tree.alternatives:
        _check_sequence(alternative, can_fail=False, top=True)


def _check_sequence(parts: tuple[_Part, ...], *, can_fail: bool, top: bool) -> int:
    """How many repetitions without a bound may be tried in all their lengths: at most one.

    Parameters
    ----------
    can_fail
        Whether something behind this sequence may fail, so that its repetitions are tried again.
    """
    tried = 0
    for position in range(len(parts) - 1, -1, -1):
        part = parts[position]
        tried += _check_part(part, can_fail=can_fail, top=top)
        if tried > 1:
            raise _Unsafe
        can_fail = can_fail or _may_fail(part)
    return tried


def _check_part(part: _Part, *, can_fail: bool, top: bool) -> int:
    if isinstance(part, (_One, _Edge)):
        return 0
    if isinstance(part, _Look):
        # Tried again for each length of what stands before it; inside it, nothing follows.
        inner = max(_check_sequence(parts, can_fail=False, top=False) for parts in part.choice.alternatives)
        return inner + _has_unbounded(part.choice)
    if isinstance(part, _Choice):
        return max(
            _check_sequence(parts, can_fail=can_fail and not part.atomic, top=top) for parts in part.alternatives
        )
    if isinstance(part.part, _One):
        return int(part.unbounded and can_fail and part.kind != "+")
    if part.most == 1 and isinstance(part.part, _Choice):
        return _check_part(part.part, can_fail=can_fail, top=top)
    # A repetition of more than one character.
    if can_fail or not top or not _is_single(part.part):
        raise _Unsafe
    return 0


def _is_single(part: "_One | _Choice | _Repeat") -> bool:
    """Whether a part is one character, once or more often."""
    if isinstance(part, _Repeat):
        return isinstance(part.part, _One) and part.least > 0
    if isinstance(part, _Choice):
        parts = part.alternatives[0]
        if len(part.alternatives) > 1 or len(parts) != 1:
            return False
        inner = next(iter(parts))
        return isinstance(inner, _One) or (isinstance(inner, _Repeat) and _is_single(inner))
    return True


def _may_fail(part: _Part) -> bool:
    if isinstance(part, _Repeat):
        return part.least > 0
    if isinstance(part, _Choice):
        return all(any(map(_may_fail, alternative)) for alternative in part.alternatives)
    return True


def _has_unbounded(choice: _Choice) -> bool:
    for part in itertools.chain.from_iterable(choice.alternatives):
        if isinstance(part, _Repeat) and part.unbounded:
            return True
        inner = part.part if isinstance(part, _Repeat) else part.choice if isinstance(part, _Look) else part
        if isinstance(inner, _Choice) and _has_unbounded(inner):
            return True
    return False


# All attempts


def _grows_linearly(tree: _Choice, pattern: str) -> bool:
    if not _has_unbounded(tree):
        return True
    kinds = _kinds(tree, _alphabet(pattern))
    if len(kinds) > _MOST_KINDS:
        return False
    units = [*kinds, *(first + second for first, second in itertools.combinations(kinds, 2))]
    for unit in units:
        for end in ["", *kinds]:
            short, middle, long = (
                _Search(tree, (unit * length)[:length] + end).steps() for length in (_RUN, 2 * _RUN, 3 * _RUN)
            )
            if long - 2 * middle + short > _CURVED:
                return False
    return True


def _kinds(tree: _Choice, alphabet: str) -> list[str]:
    """One character for each kind that the unbounded repetitions distinguish: the one that fewest other sets hold."""
    sets = list(dict.fromkeys(_sets(tree, repeated=True)))
    others = list(dict.fromkeys(_sets(tree, repeated=False)))
    held = sorted(alphabet, key=lambda sign: sum(sign in members for members in others))
    kinds: dict[tuple[bool, ...], str] = {}
    for sign in held:
        kinds.setdefault(tuple(sign in members for members in sets), sign)
    return list(kinds.values())


def _sets(choice: _Choice, *, repeated: bool) -> list[frozenset[str]]:
    """The sets of characters in a pattern: those of unbounded repetitions, or the others."""
    sets: list[frozenset[str]] = []
    for part in itertools.chain.from_iterable(choice.alternatives):
        one = part.part if isinstance(part, _Repeat) else part
        if isinstance(one, _One):
            unbounded = isinstance(part, _Repeat) and part.unbounded
            sets.extend([one.members] if unbounded == repeated else [])
            continue
        inner = part.part if isinstance(part, _Repeat) else part.choice if isinstance(part, _Look) else part
        if isinstance(inner, _Repeat):
            inner = _Choice(((inner,),))
        if isinstance(inner, _Choice):
            sets.extend(_sets(inner, repeated=repeated))
    return sets


_Then = Callable[[int], bool]


class _Search:
    """A search by backtracking that counts its steps."""

    def __init__(self, tree: _Choice, text: str) -> None:
        self._tree = tree
        self._text = text
        self._steps = 0
        self._end = 0

    def steps(self) -> int:
        """Steps to find all matches."""
        start = 0
        while start <= len(self._text):
            self._end = start
            self._choice(self._tree, start, self._matched)
            start = max(self._end, start + 1)
        return self._steps

    def _matched(self, end: int) -> bool:
        self._end = end
        return True

    def _choice(self, choice: _Choice, at: int, then: _Then) -> bool:
        if choice.atomic:
            ends: list[int] = []
            found = any(
                self._sequence(parts, 0, at, lambda end: (ends.append(end), True)[1]) for parts in choice.alternatives
            )
            return found and then(ends[-1])
        return any(self._sequence(parts, 0, at, then) for parts in choice.alternatives)

    def _sequence(self, parts: tuple[_Part, ...], number: int, at: int, then: _Then) -> bool:
        self._steps += 1
        if number == len(parts):
            return then(at)
        part = parts[number]

        def rest(end: int) -> bool:
            return self._sequence(parts, number + 1, end, then)

        if isinstance(part, _One):
            return self._is(part, at) and rest(at + 1)
        if isinstance(part, _Choice):
            return self._choice(part, at, rest)
        if isinstance(part, _Look):
            return self._holds(part, at) != part.negative and rest(at)
        if isinstance(part, _Edge):
            return self._at_edge(part.sign, at) and rest(at)
        if isinstance(part.part, _One):
            return any(map(rest, self._ends(part, part.part, at)))
        return self._repeat(part, 0, at, rest)

    def _ends(self, repeat: _Repeat, one: _One, at: int) -> range:
        """Where a repetition of one character may end, in the order in which it is tried."""
        most = len(self._text) - at if repeat.most is None else min(repeat.most, len(self._text) - at)
        count = 0
        while count < most and self._text[at + count] in one.members:
            count += 1
        self._steps += count
        if count < repeat.least:
            return range(0)
        if repeat.kind == "+":
            return range(at + count, at + count + 1)
        ends = range(at + repeat.least, at + count + 1)
        return ends if repeat.kind == "?" else ends[::-1]

    def _repeat(self, repeat: _Repeat, count: int, at: int, then: _Then) -> bool:
        inner = repeat.part if isinstance(repeat.part, _Choice) else _Choice(((repeat.part,),))
        more = repeat.most is None or count < repeat.most
        again = more and self._choice(
            inner, at, lambda end: (end > at or count < repeat.least) and self._repeat(repeat, count + 1, end, then)
        )
        return again or (count >= repeat.least and then(at))

    def _is(self, one: _One, at: int) -> bool:
        return at < len(self._text) and self._text[at] in one.members

    def _holds(self, look: _Look, at: int) -> bool:
        if look.ahead:
            return self._choice(look.choice, at, lambda _: True)
        return any(
            self._sequence(parts, 0, at - len(parts), lambda end: end == at)
            for parts in look.choice.alternatives
            if len(parts) <= at
        )

    def _at_edge(self, sign: str, at: int) -> bool:
        before, after = self._text[:at][-1:], self._text[at : at + 1]
        if sign in ("^", "A"):
            return not before or (sign == "^" and before == "\n")
        if sign in ("$", "z", "Z"):
            return not after or (sign == "$" and after == "\n")
        if sign == "G":
            return True
        return (_is_word(before) != _is_word(after)) == (sign == "b")


def _is_word(sign: str) -> bool:
    return sign.isalnum() or sign == "_"
