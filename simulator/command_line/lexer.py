"""Shell text -> words, assignments and operators. Structure only: what variables stand for is found later."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..errors import InputError

#: Characters of a text that is read at all; a launch script has a few thousand.
MOST_TEXT: Final = 400_000

_ASSIGNS: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_OPERATORS: Final = ("&&", "||", ";;", "\n", ";", "&", "|", "(", ")")
_VARIABLE: Final = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])")
_REDIRECTS: Final = re.compile(r"[0-9]*(?:&>>?|>>|>&|<&|>\||<>|>|<(?!<))")
_HERE: Final = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of a word: literal text, or (``is_variable``) something to expand, as it is written."""

    text: str
    quoted: bool = False
    is_variable: bool = False


@dataclass(frozen=True, kw_only=True)
class Word:
    """Stretches that stand together."""

    parts: tuple[Part, ...]
    line: int


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """``NAME=word``, ``NAME+=word`` or ``NAME=( words )``."""

    name: str
    words: tuple[Word, ...]
    appends: bool
    is_array: bool
    line: int


@dataclass(frozen=True, kw_only=True)
class Operator:
    """What ends a command."""

    text: str
    line: int


Token = Word | Assignment | Operator


def lex(text: str, *, name: str) -> tuple[Token, ...]:
    """The tokens of a shell text.

    Raises
    ------
    InputError
        For a text too long, or a quote or bracket that is opened and never closed.
    """
    if len(text) > MOST_TEXT:
        raise InputError(f"{name}: is {len(text)} characters long; a command has at most {MOST_TEXT}.")
    return tuple(_Lexer(text.replace("\r\n", "\n"), name).tokens())


class _Lexer:
    """A place in a text that only moves forward."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.at, self.line = 0, 1
        self.documents: list[str] = []  # opened on this line by <<WORD

    def tokens(self, *, until: str = "") -> list[Token]:
        """Everything up to the end, or up to the bracket ``until``, which is taken."""
        found: list[Token] = []
        opened = self.line
        while self._skip_blanks():
            operator = next((op for op in _OPERATORS if self.text.startswith(op, self.at)), "")
            if until and operator == until:
                self.at += 1
                return found
            if operator:
                found.append(Operator(text=operator, line=self.line))
                self._move(len(operator))
                if operator == "\n" and self.documents:
                    self._skip_data()
            elif here := _HERE.match(self.text, self.at):
                self._skip_document(here)
            elif redirect := _REDIRECTS.match(self.text, self.at):
                self._move(len(redirect[0]))
                if self._skip_blanks() and self.text[self.at] != "\n":
                    self.word()
            else:
                before = self.at
                # Inside brackets a word like A=b is an element, not an assignment.
                found.append(self.word() if until else self._item())
                if self.at == before:  # a sign that begins nothing, as << without a word
                    self._move(1)
        if until:
            raise InputError(f"{self.name}:{opened}: a bracket '(' is opened and never closed.")
        return found

    def _item(self) -> Word | Assignment:
        line = self.line
        match = _ASSIGNS.match(self.text, self.at)
        if match is None:
            return self.word()
        self.at = match.end()
        if self.text[self.at : self.at + 1] == "(":
            self.at += 1
            inner = self.tokens(until=")")
            words = tuple(token for token in inner if isinstance(token, Word))
            return Assignment(name=match[1], words=words, appends=bool(match[2]), is_array=True, line=line)
        return Assignment(name=match[1], words=(self.word(),), appends=bool(match[2]), is_array=False, line=line)

    def word(self) -> Word:
        """Stretches up to a blank or an operator; an empty word where there is none."""
        parts: list[Part] = []
        line, plain = self.line, ""
        while self.at < len(self.text):
            here = self.text[self.at]
            if here.isspace() or here in ";&|()<>":
                break
            if here == "\\":
                plain += self.text[self.at + 1 : self.at + 2].replace("\n", "")
                self._move(2)
                continue
            if here in "'\"" or self.text.startswith("$'", self.at):
                parts += [Part(text=plain)] if plain else []
                plain = ""
                parts += self._quoted()
            elif here in "$`":
                parts += [Part(text=plain)] if plain else []
                plain = ""
                parts.append(self._variable(quoted=False))
            else:
                plain += here
                self.at += 1
        parts += [Part(text=plain)] if plain else []
        return Word(parts=tuple(parts), line=line)

    def _quoted(self) -> list[Part]:
        opened = self.line
        if self.text[self.at] != '"':
            start = self.at + (2 if self.text[self.at] == "$" else 1)
            end = self.text.find("'", start)
            if end < 0:
                raise InputError(f"{self.name}:{opened}: a quote ' is opened and never closed.")
            self._move(end + 1 - self.at)
            return [Part(text=self.text[start:end], quoted=True)]
        self.at += 1
        parts: list[Part] = []
        plain = ""
        while self.at < len(self.text):
            here = self.text[self.at]
            if here == '"':
                self.at += 1
                return [*parts, Part(text=plain, quoted=True)] if plain or not parts else parts
            if here == "\\" and self.text[self.at + 1 : self.at + 2] in ("$", "`", '"', "\\", "\n"):
                plain += self.text[self.at + 1].replace("\n", "")
                self._move(2)
            elif here in "$`":
                parts += [Part(text=plain, quoted=True)] if plain else []
                plain = ""
                parts.append(self._variable(quoted=True))
            else:
                plain += here
                self._move(1)
        raise InputError(f'{self.name}:{opened}: a quote " is opened and never closed.')

    def _variable(self, *, quoted: bool) -> Part:
        """``$NAME``, ``${...}``, ``$((...))``, ``$(...)`` or text between backquotes, as it is written."""
        text, start = self.text, self.at
        end = -1
        if text.startswith("$((", start):
            end = text.find("))", start)
            end += 2 if end >= 0 else 0
        elif text.startswith(("${", "$("), start):
            end = self._closing(start + 1)
        elif text[start] == "`":
            end = text.find("`", start + 1) + 1 or -1
        elif match := _VARIABLE.match(text, start):
            end = match.end()
        else:  # a dollar sign that stands for itself
            self.at += 1
            return Part(text="$", quoted=True)
        if end < 0:
            raise InputError(f"{self.name}:{self.line}: {text[start : start + 2]!a} is opened and never closed.")
        self._move(end - start)
        return Part(text=text[start:end], quoted=quoted, is_variable=True)

    def _closing(self, start: int) -> int:
        """Just behind the bracket that closes the one at ``start``; -1 where there is none."""
        opens = self.text[start]
        closes = {"{": "}", "(": ")"}[opens]
        depth, quote = 0, ""
        for place in range(start, len(self.text)):
            here = self.text[place]
            if quote:
                quote = "" if here == quote else quote
            elif here in "'\"":
                quote = here
            elif here == opens:
                depth += 1
            elif here == closes:
                depth -= 1
                if not depth:
                    return place + 1
        return -1

    def _skip_blanks(self) -> bool:
        """Past blanks, comments and continued lines; whether anything is left."""
        while self.at < len(self.text):
            here = self.text[self.at]
            if here == "\\" and self.text[self.at + 1 : self.at + 2] == "\n":
                self._move(2)
            elif here == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif here != "\n" and here.isspace():
                self.at += 1
            elif self.text.startswith("\\", self.at) and self.text[self.at + 1 : self.at + 2] in ("", " ", "\t"):
                # A backslash with a blank behind it, where a continued line was meant.
                self.at += 1
            else:
                return True
        return False

    def _skip_document(self, here: re.Match[str]) -> None:
        """Note ``<<WORD``: the lines behind this one up to WORD are data."""
        self._move(len(here[0]))
        self.documents.append(here[2])

    def _skip_data(self) -> None:
        """Past the data of the documents that the line just ended has opened; at the end of a line."""
        for word in self.documents:
            end = re.compile(rf"^[ \t]*{re.escape(word)}[ \t]*$", re.M).search(self.text, self.at)
            if end is None:
                raise InputError(f"{self.name}:{self.line - 1}: '<<{word}' is opened and never closed.")
            self._move(end.end() - self.at)
        self.documents.clear()

    def _move(self, count: int) -> None:
        self.line += self.text.count("\n", self.at, self.at + count)
        self.at += count
