"""Reading shell text without running any of it: words, variables, arrays, the simple conditions of launch scripts.

What is understood: comments, continued lines, quotes, ``NAME=value``, ``NAME=( ... )``, ``NAME+=``, ``$NAME``,
``${NAME:-default}``, ``${NAME[@]}``, whole-number ``$(( ))``, ``if`` with comparisons of known values, ``for`` (its
first value). Nothing is executed, no file is opened and no variable of this process is read: what the text does not
define stays as it is written, so that messages can name it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..errors import InputError
from .conditions import tested
from .lexer import Assignment, Operator, Part, Token, Word, lex
from .sums import whole_number

#: Longest value a variable may expand to, and most words of one command; real ones stay far below.
MOST_CHARACTERS: Final = 100_000
MOST_WORDS: Final = 20_000
_DEPTH: Final = 8
_DEEPEST: Final = 50

_DECLARES: Final = ("export", "declare", "local", "readonly", "typeset")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACED: Final = re.compile(
    r"(?P<name>[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?])(?P<all>\[[@*]\])?(?:(?P<how>:?[-=+?])(?P<word>.*))?", re.S
)


@dataclass(frozen=True, kw_only=True)
class Command:
    """One simple command: its words after expansion, what stood before it as ``NAME=value``, where it begins."""

    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    line: int


@dataclass(frozen=True, kw_only=True)
class Script:
    """The commands of a text in order, what its ``#SBATCH`` lines say, and what was not followed."""

    commands: tuple[Command, ...]
    directives: tuple[str, ...]
    variables: dict[str, str]
    notes: tuple[str, ...]


def read_script(text: str, *, name: str, variables: dict[str, str] | None = None) -> Script:
    """The commands of a shell text.

    Raises
    ------
    InputError
        For a quote or bracket that is opened and never closed, or text that expands without end.
    """
    reader = _Reader(name=name)
    reader.values.update({key: [value] for key, value in (variables or {}).items()})
    commands = tuple(reader.run(lex(text, name=name)))
    directives = [line.split()[1:] for line in text.split("\n") if line.startswith("#SBATCH ")]
    known = {key: " ".join(value) for key, value in reader.values.items()}
    return Script(
        commands=commands,
        directives=tuple(word for words in directives for word in words),
        variables=known,
        notes=tuple(dict.fromkeys(reader.notes)),
    )


@dataclass
class _Branch:
    """An open ``if``, loop or ``case``: whether its lines are read now, and whether a branch was taken already."""

    word: str
    reads: bool
    taken: bool


@dataclass
class _Reader:
    name: str
    values: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    branches: list[_Branch] = field(default_factory=list)

    @property
    def reads(self) -> bool:
        return all(branch.reads for branch in self.branches)

    def run(self, tokens: Sequence[Token]) -> Iterator[Command]:
        """Commands between operators, with assignments made on the way."""
        simple: list[Word | Assignment] = []
        for token in (*tokens, Operator(text="\n", line=0)):
            if isinstance(token, Operator):
                if simple and (token.text in ("&&", "||")) and self._is_condition(simple):
                    simple.append(Word(parts=(Part(text=token.text),), line=token.line))
                    continue
                yield from self._simple(simple)
                simple = []
            else:
                simple.append(token)

    def _is_condition(self, simple: Sequence[Word | Assignment]) -> bool:
        first = simple[0]
        return isinstance(first, Word) and _literal(first) in ("if", "elif", "while", "until")

    def _simple(self, simple: list[Word | Assignment]) -> Iterator[Command]:
        while simple and isinstance(simple[0], Word) and (word := _literal(simple[0])) in _KEYWORDS:
            rest = self._keyword(word, simple)
            if rest is None:
                return
            simple = rest
        if not simple or not self.reads:
            return
        if isinstance(simple[0], Word) and _literal(simple[0]) in _DECLARES:
            simple = [item for item in simple[1:] if isinstance(item, Assignment)]
        environment: list[tuple[str, str]] = []
        while simple and isinstance(simple[0], Assignment):
            made = simple.pop(0)
            assert isinstance(made, Assignment)
            self._assign(made, environment if any(isinstance(item, Word) for item in simple) else None)
        words = [piece for item in simple for piece in self._words_of(item)]
        if len(words) > MOST_WORDS:
            raise InputError(f"{self.name}: a command of more than {MOST_WORDS} words.")
        if words:
            yield Command(words=tuple(words), environment=tuple(environment), line=simple[0].line)

    def _words_of(self, item: Word | Assignment) -> list[str]:
        if isinstance(item, Word):
            return self.expand(item)
        value = " ".join(piece for word in item.words for piece in self.expand(word))
        return [f"{item.name}={value}"]

    def _assign(self, made: Assignment, environment: list[tuple[str, str]] | None) -> None:
        if made.is_array:
            value = [piece for word in made.words for piece in self.expand(word)]
        else:
            value = ["".join(self.text_of(word) for word in made.words)]
        if made.appends:
            before = self.values.get(made.name, [])
            value = [*before, *value] if made.is_array else ["".join(before[:1]) + value[0]]
        if sum(map(len, value)) > MOST_CHARACTERS or len(value) > MOST_WORDS:
            raise InputError(f"{self.name}:{made.line}: {made.name} grows beyond {MOST_CHARACTERS} characters.")
        if environment is None:
            self.values[made.name] = value
        else:
            environment.append((made.name, " ".join(value)))

    # --- conditions ---------------------------------------------------------------------------------------------

    def _keyword(self, word: str, simple: list[Word | Assignment]) -> list[Word | Assignment] | None:
        """What follows a keyword on its line; None where the line is done."""
        line = simple[0].line
        if word in ("then", "do", "{", "}", "time", "!"):
            return simple[1:]
        if len(self.branches) > _DEEPEST:
            raise InputError(f"{self.name}:{line}: conditions and loops are nested more than {_DEEPEST} deep.")
        if word in ("if", "elif"):
            self._condition(word, [item for item in simple[1:] if isinstance(item, Word)], line)
            return None
        if word == "else":
            if self.branches and self.branches[-1].word == "if":
                top = self.branches[-1]
                top.reads, top.taken = not top.taken, True
            return simple[1:]
        if word in ("while", "until", "case", "select"):
            if self.reads:
                self.notes.append(f"line {line}: '{word}' is not followed; its lines are left out")
            self.branches.append(_Branch(word=word, reads=False, taken=False))
            return None
        if word == "for":
            self._loop([item for item in simple[1:] if isinstance(item, Word)], line)
            return None
        if self.branches:  # fi, done, esac
            self.branches.pop()
        return simple[1:]

    def _loop(self, words: list[Word], line: int) -> None:
        pieces = [piece for word in words for piece in self.expand(word)] if self.reads else []
        if len(pieces) > 2 and pieces[1] == "in":
            self.values[pieces[0]] = [pieces[2]]
            if len(pieces) > 3:
                self.notes.append(f"line {line}: a loop is read once, with {pieces[0]} = {pieces[2]}")
        self.branches.append(_Branch(word="for", reads=True, taken=True))

    def _condition(self, word: str, words: list[Word], line: int) -> None:
        if word == "if":
            self.branches.append(_Branch(word="if", reads=True, taken=False))
        elif not self.branches:
            return
        top = self.branches[-1]
        top.reads = True
        if top.taken or not self.reads:
            top.reads = False
            return
        found = self._holds([self.text_of(part) for part in words])
        if found is None:
            self.notes.append(f"line {line}: the condition of '{word}' is not known; its lines are left out")
        top.reads = top.taken = bool(found)

    def _holds(self, words: Sequence[str]) -> bool | None:
        """Whether ``[ a = b ] || [[ -n c ]]`` holds; None where a value is not known or the test is another."""
        result: bool | None = None
        join, test = "", []
        for word in (*words, "&&"):
            if word not in ("&&", "||"):
                test.append(word)
                continue
            if not (join == "||" and result) and not (join == "&&" and result is False):
                result = tested([piece for piece in test if piece not in ("[", "]", "[[", "]]")])
            if result is None:
                return None
            join, test = word, []
        return result

    # --- expansion ----------------------------------------------------------------------------------------------

    def text_of(self, word: Word) -> str:
        """A word as one text: nothing is split, elements of arrays are joined."""
        return self._limited("".join(" ".join(self._pieces(part)) for part in word.parts), word.line)

    def expand(self, word: Word) -> list[str]:
        """A word as the words it stands for: unquoted variables are split at blanks, arrays at their elements."""
        found: list[str] = [""]
        length = 0
        empty = not any(part.quoted or not part.is_variable for part in word.parts)
        for part in word.parts:
            pieces = self._pieces(part)
            if part.is_variable and not part.quoted:
                text = " ".join(pieces)
                if text[:1].isspace() and found[-1]:
                    found.append("")
                pieces = text.split()
                if pieces and text[-1:].isspace():
                    pieces.append("")
            if not pieces:
                continue
            found[-1] += pieces[0]
            found += pieces[1:]
            empty = False
            length += sum(map(len, pieces))
            if length > MOST_CHARACTERS:
                raise InputError(f"{self.name}:{word.line}: a word grows beyond {MOST_CHARACTERS} characters.")
        if empty or (found and not found[-1] and len(found) > 1):
            found.pop()
        return found

    def _limited(self, text: str, line: int) -> str:
        if len(text) > MOST_CHARACTERS:
            raise InputError(f"{self.name}:{line}: a word grows beyond {MOST_CHARACTERS} characters.")
        return text

    def _pieces(self, part: Part, depth: int = 0) -> list[str]:
        if not part.is_variable:
            return [part.text]
        text = part.text
        if text.startswith("$(("):
            value = whole_number(text[3:-2], {key: value[0] for key, value in self.values.items() if value})
            return [text if value is None else str(value)]
        if text.startswith(("$(", "`")):
            return [" ".join(text.split())]
        inner = text[2:-1] if text.startswith("${") else text[1:]
        match = _BRACED.fullmatch(inner)
        if match is None:
            return [text]
        held = self.values.get(match["name"])
        if match["how"]:
            return self._with_default(match, held, part, depth)
        if held is None:
            return [] if match["name"] in ("@", "*") else [text]
        if match["all"]:
            return list(held) if not (part.quoted and match["all"] == "[*]") else [" ".join(held)]
        return held[:1] or [""]

    def _with_default(self, match: re.Match[str], value: list[str] | None, part: Part, depth: int) -> list[str]:
        how = match["how"]
        is_set = value is not None and (":" not in how or any(value))
        if "?" in how or depth >= _DEPTH:
            return value or [part.text]
        if ("+" in how) == is_set:
            tokens = [
                token for token in lex(match["word"].replace("\n", " "), name=self.name) if isinstance(token, Word)
            ]
            pieces = [[p for inner in token.parts for p in self._pieces(inner, depth + 1)] for token in tokens]
            default = " ".join("".join(words) for words in pieces)
            if "=" in how:
                self.values[match["name"]] = [default]
            return [default]
        return [] if "+" in how else list(value or [])


_KEYWORDS: Final = (
    "if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac", "select", "{", "}",
    "time", "!",
)  # fmt: skip


def _literal(word: Word) -> str:
    """The text of a word without quotes and variables, else an empty one."""
    if len(word.parts) == 1 and not word.parts[0].quoted and not word.parts[0].is_variable:
        return word.parts[0].text
    return ""
