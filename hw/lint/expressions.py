"""C++ expressions read from their source text.

libclang shows little of an expression that depends on a template parameter: neither its operators nor the functions it
calls.  The text of an expression says the same in a template as anywhere else, so rules that follow values read it here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

TOKEN = re.compile(
    r"""(?P<blank>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<number>0[xX][0-9a-fA-F']+[uUlL]*|0[bB][01']+[uUlL]*|\d[\d']*(?:\.\d*)?(?:[eE][-+]?\d+)?[uUlLfF]*)
      | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign>::|->|<<=|>>=|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]])""",
    re.VERBOSE | re.DOTALL,
)
PRECEDENCE = {
    **dict.fromkeys(("*", "/", "%"), 12), **dict.fromkeys(("+", "-"), 11), **dict.fromkeys(("<<", ">>"), 10),
    **dict.fromkeys(("<", "<=", ">", ">="), 9), **dict.fromkeys(("==", "!="), 8), "&": 7, "^": 6, "|": 5, "&&": 4, "||": 3,
}  # fmt: skip
ASSIGNMENTS = frozenset(("=", "+=", "-=", "*=", "/=", "%=", "<<=", ">>=", "&=", "|=", "^="))
TYPE_WORDS = frozenset(("unsigned", "signed", "int", "long", "short", "char", "bool", "const", "size_t"))
INSIDE_TEMPLATE = frozenset((",", "::", "*", "+", "-", "/", "&", "(", ")", "."))


@dataclass(frozen=True)
class Expression:
    """One node: ``kind`` is number, name, string, unary, postfix, binary, assign, conditional, call, index, member or list.

    ``text`` is the operator, the name or the literal; a call's first argument is what is called.
    """

    kind: str
    text: str
    arguments: tuple[Expression, ...] = ()

    def walk(self) -> Iterator[Expression]:
        """Yield this node and all below it."""
        yield self
        for argument in self.arguments:
            yield from argument.walk()


class _UnreadableError(Exception):
    """The text is no expression that this reader knows."""


@lru_cache(maxsize=8192)
def read(text: str) -> Expression | None:
    """Return the tree of an expression, or None where the text is no expression that is understood."""
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            return None
        position = match.end()
        if match.lastgroup != "blank":
            tokens.append((str(match.lastgroup), match.group()))
    reader = _Reader(tokens)
    try:
        result = reader.list_of()
    except _UnreadableError:
        return None
    return result if reader.at >= len(tokens) or reader.sign(";") else None


def integer(text: str) -> int | None:
    """Return the value of an integer literal."""
    digits = text.replace("'", "").rstrip("uUlL")
    try:
        return int(digits, 8) if re.fullmatch(r"0\d+", digits) else int(digits, 0)
    except ValueError:
        return None


class _Reader:
    """Recursive descent with precedence climbing."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place][1] if place < len(self.tokens) else ""

    def kind(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def sign(self, *signs: str) -> str:
        """Take the next token if it is one of ``signs``."""
        word = self.peek()
        if word and word in signs and self.kind() == "sign":
            self.at += 1
            return word
        return ""

    def need(self, sign: str) -> None:
        if not self.sign(sign):
            raise _UnreadableError

    def list_of(self) -> Expression:
        first = self.assignment()
        parts = [first]
        while self.sign(","):
            parts.append(self.assignment())
        return first if len(parts) == 1 else Expression("list", ",", tuple(parts))

    def assignment(self) -> Expression:
        left = self.binary(0)
        if self.sign("?"):
            chosen = self.assignment()
            self.need(":")
            return Expression("conditional", "?", (left, chosen, self.assignment()))
        if self.kind() == "sign" and self.peek() in ASSIGNMENTS:
            operator = self.peek()
            self.at += 1
            return Expression("assign", operator, (left, self.assignment()))
        return left

    def binary(self, least: int) -> Expression:
        left = self.unary()
        while self.kind() == "sign" and PRECEDENCE.get(self.peek(), -1) > least:
            operator = self.peek()
            self.at += 1
            left = Expression("binary", operator, (left, self.binary(PRECEDENCE[operator])))
        return left

    def unary(self) -> Expression:
        operator = self.sign("-", "+", "!", "~", "*", "&", "++", "--")
        if operator:
            return Expression("unary", operator, (self.unary(),))
        if self.peek() == "(" and self._is_cast():
            while not self.sign(")"):
                self.at += 1
            return Expression("call", "", (Expression("name", "unsigned"), self.unary()))
        return self.postfix(self.primary())

    def _is_cast(self) -> bool:
        ahead = 1
        while self.peek(ahead) in TYPE_WORDS:
            ahead += 1
        return ahead > 1 and self.peek(ahead) == ")"

    def primary(self) -> Expression:
        kind, word = self.kind(), self.peek()
        if kind == "number" or kind == "string":
            self.at += 1
            return Expression(kind, word)
        if self.sign("("):
            inner = self.list_of()
            self.need(")")
            return inner
        if self.sign("{"):
            return Expression("list", "{", self.several("}"))
        if kind == "word" or word == "::":
            return Expression("name", self.name())
        raise _UnreadableError

    def name(self) -> str:
        """Take a name with its scopes and template arguments; blanks and ``typename`` are dropped."""
        words: list[str] = []
        while self.peek() in ("typename", "const", "template"):
            self.at += 1
        self.sign("::")
        while True:
            if self.kind() != "word":
                raise _UnreadableError
            word = self.peek()
            self.at += 1
            while word in TYPE_WORDS and self.peek() in TYPE_WORDS:
                word = self.peek()
                self.at += 1
            words.append(word)
            end = self._template_end()
            if end:
                words.append("".join(text for _, text in self.tokens[self.at : end]))
                self.at = end
            if not self.sign("::"):
                return "".join(words)
            words.append("::")
            if self.peek() == "template":
                self.at += 1

    def _template_end(self) -> int:
        """Return where the template arguments that start here end, 0 if none do."""
        if self.peek() != "<":
            return 0
        depth, place = 0, self.at
        while place < len(self.tokens):
            kind, word = self.tokens[place]
            depth += {"<": 1, ">": -1, ">>": -2}.get(word, 0)
            if depth <= 0:
                after = self.tokens[place + 1][1] if place + 1 < len(self.tokens) else ""
                return place + 1 if depth == 0 and after in ("(", "::", "{", "") else 0
            if kind == "sign" and word not in INSIDE_TEMPLATE and word not in ("<", ">", ">>"):
                return 0
            place += 1
        return 0

    def postfix(self, base: Expression) -> Expression:
        while True:
            if self.sign("("):
                base = Expression("call", "", (base, *self.several(")")))
            elif self.peek() == "{" and base.kind == "name":
                self.at += 1
                base = Expression("call", "", (base, *self.several("}")))
            elif self.sign("["):
                inner = self.list_of()
                self.need("]")
                base = Expression("index", "", (base, inner))
            elif self.sign(".", "->"):
                base = Expression("member", self.name(), (base,))
            elif self.kind() == "sign" and self.peek() in ("++", "--"):
                base = Expression("postfix", self.peek(), (base,))
                self.at += 1
            else:
                return base

    def several(self, close: str) -> tuple[Expression, ...]:
        parts: list[Expression] = []
        while not self.sign(close):
            parts.append(self.assignment())
            if not self.sign(",") and self.peek() != close:
                raise _UnreadableError
        return tuple(parts)
