"""The chat teacher: rationales from any endpoint that speaks OpenAI's chat-completions protocol, hosted or on this machine.

Nothing is sent anywhere unless a user names an address.  What is sent: the query, what the item displays, the grades, the rules
that the query calls for and, with ``sees_label``, the human label.  Answers are kept in a file, so a fit that was killed asks
again only for what it had not yet been told.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, IncompleteRead
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from aisle.core.errors import AisleError, SettingError
from aisle.core.lists import Array
from aisle.core.method import Settings
from aisle.core.shop import Items
from aisle.relevance._item_texts import item_texts
from aisle.relevance._scale import Scale
from aisle.relevance._verdicts import ATTRIBUTE, CATEGORY, Rationale, RuleTable
from aisle.relevance._writers.rules import RuleStore

BUSY = (408, 409, 429, 500, 502, 503, 504)
"""Answers of a server after which the same question is put again."""

FIRST_PAUSE_S = 1.0
"""Before a question is put again; each further pause is twice as long."""

LONGEST_PAUSE_S = 60.0
"""What a server may ask for with Retry-After."""

PART = 1 << 16
"""Bytes of a reply that are read at once."""

NUM_RULES = 4


class Chat(Settings):
    """
    url          of the endpoint up to its version, such as http://localhost:8000/v1
    model        as the endpoint names it
    key          environment variable that holds the key; unset sends none
    parallel     questions in flight; a server of one's own answers few at once
    timeout_s    seconds until the whole answer to a question must be there
    tries        of one question, with growing pauses
    max_tokens   of an answer; five short sentences as JSON take about 200
    temperature  at which an answer is drawn; 0 the likeliest, so that asking again changes nothing
    """

    url: str = ""
    model: str = ""
    key: str = "OPENAI_API_KEY"
    parallel: int = Field(8, ge=1)
    timeout_s: float = Field(60.0, gt=0)
    tries: int = Field(4, ge=1)
    max_tokens: int = Field(400, ge=16)
    temperature: float = Field(0.0, ge=0)


class ChatTeacher:
    """A ``Writer``: asks for the five steps as JSON and keeps those whose verdicts lead to the label.

    home  folder of ``chat-<digest>.jsonl``, one answer a line; None keeps nothing

    Raises SettingError without an address or a model.
    """

    def __init__(
        self,
        chat: Chat,
        items: Items,
        scale: Scale,
        rules: RuleStore,
        *,
        sees_label: bool = True,
        home: Path | None = None,
    ) -> None:
        if not chat.url.startswith(("http://", "https://")) or not chat.model:
            raise SettingError(
                f"a chat teacher at {chat.url!r} with model {chat.model!r}; set rationales.chat.url, such as "
                "http://localhost:8000/v1, and rationales.chat.model"
            )
        self.chat, self.items, self.scale, self.rules = chat, items, scale, rules
        self.sees_label, self.table = sees_label, RuleTable(len(scale))
        self._answers = _Kept(None if home is None else home / f"chat-{_digest(chat.url, chat.model)}.jsonl")

    def write(self, query: str, rows: Sequence[int], labels: Array) -> list[Rationale | None]:
        """Raises AisleError where the endpoint refuses, or does not answer after all tries."""
        texts = item_texts(self.items, np.asarray(rows, np.int32))
        asked = [self._question(query, text, int(label)) for text, label in zip(texts, labels, strict=True)]
        with ThreadPoolExecutor(self.chat.parallel) as pool:
            futures = [pool.submit(self._told, question) for question in asked]
            try:
                told = [future.result() for future in futures]
            except BaseException:
                pool.shutdown(cancel_futures=True)  # an endpoint that is gone need not be asked the rest
                raise
        return [self._rationale(text, int(label)) for text, label in zip(told, labels, strict=True)]

    # -- asking --------------------------------------------------------------------------------------------------------

    def _question(self, query: str, item: str, label: int) -> str:
        scale = self.scale
        grades = "\n".join(f"- {name}: {meaning}" for name, meaning in zip(scale.names, scale.meanings, strict=True))
        rules = "\n".join(f"- {rule}" for rule in self.rules.find(query, NUM_RULES))
        known = f"People graded this pair: {scale.names[label]}. Explain that grade.\n" if self.sees_label else ""
        return (
            "You judge how well a product fits a shopper's search, in five short steps.\n"
            f"Grades, the worst first:\n{grades}\nRules that may apply:\n{rules}\n"
            f"Search: {query}\nProduct: {item}\n{known}"
            "Answer with one JSON object with these keys, each value one short sentence unless said otherwise:\n"
            '"query": what is asked for, with constraints and negations\n"item": what the product is\n'
            f'"category": one of {", ".join(CATEGORY)}\n"category_why"\n'
            f'"attribute": one of {", ".join(ATTRIBUTE)}\n"attribute_why"\n'
            f'"grade": one of {", ".join(scale.names)}\n"grade_why"\n'
        )

    def _told(self, question: str) -> str:
        kept = self._answers.get(question)
        if kept is not None:
            return kept
        answer = self._asked(question)
        self._answers.put(question, answer)
        return answer

    def _asked(self, question: str) -> str:
        """One answer.  A server that is busy or away is asked again after 1, 2, 4, ... seconds, or when it says."""
        url = f"{self.chat.url.rstrip('/')}/chat/completions"
        body = {
            "model": self.chat.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": self.chat.temperature,
            "max_tokens": self.chat.max_tokens,
            "response_format": {"type": "json_object"},
        }
        key = os.environ.get(self.chat.key, "")
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        why = ""
        for attempt in range(self.chat.tries):
            pause_s = FIRST_PAUSE_S * 2**attempt
            try:
                return _content(_fetched(request, self.chat.timeout_s), url)
            except urllib.error.HTTPError as error:
                why = f"HTTP {error.code} {error.reason}"
                pause_s = _seconds(error.headers.get("Retry-After"), pause_s)
                if error.code not in BUSY:
                    raise AisleError(
                        f"{url} refuses ({why}); check rationales.chat.model ({self.chat.model!r}) and the key in ${self.chat.key}"
                    ) from None
            except (OSError, ValueError, HTTPException) as error:
                why = str(error) or type(error).__name__
            if attempt + 1 < self.chat.tries:
                time.sleep(pause_s)
        raise AisleError(
            f"{url} gave no answer in {self.chat.tries} tries ({why}); see that it runs, then fit again: what it has told so far "
            "is kept"
        )

    # -- reading -------------------------------------------------------------------------------------------------------

    def _rationale(self, text: str, label: int) -> Rationale | None:
        """What an answer says, where it says it in full and all of it leads to the label."""
        said = _object(text)
        category, attribute = (
            _place(said.get(key), names) for key, names in (("category", CATEGORY), ("attribute", ATTRIBUTE))
        )
        grade = _place(said.get("grade"), self.scale.names)
        if category is None or attribute is None or grade != label or self.table.label(category, attribute) != label:
            return None
        query, item, category_why, attribute_why, why = (
            _line(said.get(key)) for key in ("query", "item", "category_why", "attribute_why", "grade_why")
        )
        return Rationale(label, category, attribute, label, (query, item, category_why, attribute_why, why))


class _Kept:
    """Answers by question, in memory and as lines of a file; a line that a kill cut off is passed over."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._answer: dict[str, str] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    found = json.loads(line)
                    self._answer[found["question"]] = found["answer"]
                except (ValueError, KeyError, TypeError):
                    continue

    def get(self, question: str) -> str | None:
        return self._answer.get(_digest(question))

    def put(self, question: str, answer: str) -> None:
        """One line in one write, so threads do not mix theirs."""
        self._answer[_digest(question)] = answer
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps({"question": _digest(question), "answer": answer}, ensure_ascii=False)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n" if file.tell() else f"{line}\n")


def _fetched(request: urllib.request.Request, timeout_s: float) -> Any:
    """The JSON of a reply that is there whole within ``timeout_s``: a server that sends a letter a minute is too slow as well.

    Raises OSError, ValueError or HTTPException.
    """
    ends_s = time.monotonic() + timeout_s
    parts: list[bytes] = []
    with urllib.request.urlopen(request, timeout=timeout_s) as reply:
        while part := reply.read1(PART):
            parts.append(part)
            if time.monotonic() > ends_s:
                raise TimeoutError(f"the answer was not whole after {timeout_s:g} s")
        if reply.length:
            raise IncompleteRead(b"".join(parts), reply.length)
    return json.loads(b"".join(parts))


def _content(reply: Any, url: str) -> str:
    try:
        return str(reply["choices"][0]["message"]["content"] or "")
    except (KeyError, IndexError, TypeError):
        raise AisleError(
            f"{url} answered {str(reply)[:120]!r}, which is no chat completion; rationales.chat.url must lead to such an endpoint"
        ) from None


def _object(text: str) -> Mapping[str, Any]:
    """The JSON object in a text, which may stand in a sentence or a code block; empty where there is none."""
    start, stop = text.find("{"), text.rfind("}")
    try:
        found = json.loads(text[start : stop + 1])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _place(word: Any, names: Sequence[str]) -> int | None:
    text = str(word).strip().lower()
    return names.index(text) if text in names else None


def _line(value: Any) -> str:
    """As one line without angle brackets, which are the grammar's."""
    return " ".join(str(value or "").replace("<", " ").replace(">", " ").split())


def _seconds(text: str | None, otherwise: float) -> float:
    """What Retry-After says where it is a number of seconds."""
    try:
        wanted = float(text) if text else otherwise
    except ValueError:
        return otherwise
    return min(max(wanted, 0.0), LONGEST_PAUSE_S) if not isnan(wanted) else otherwise


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
