"""The chat teacher against a server on this machine: what is sent, what is kept, busy servers, refusals."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

from aisle.core.errors import AisleError, SettingError
from aisle.relevance._scale import scale_of
from aisle.relevance._writers.chat import Chat, ChatTeacher
from aisle.relevance._writers.rules import RuleStore
from aisle.simulate.known import two_tastes

SCALE = scale_of([1, 2, 3, 4])
GOOD = {
    "query": "asks for a <lamp>", "item": "is a lamp", "category": "match", "category_why": "both are lamps",
    "attribute": "all", "attribute_why": "nothing else was asked", "grade": "excellent", "grade_why": "all fits",
}  # fmt: skip


class Endpoint:
    """Answers from a list of (status, content), the last one for ever; keeps what it was asked.

    Beside a status: ``half`` sends the half of its bytes, ``slow`` a byte each 30 ms.  ``retry``: what Retry-After says.
    """

    retry = "0"

    def __init__(self, answers: list[tuple[Any, Any]]) -> None:
        self.answers, self.asked, self.headers = answers, [], []  # type: ignore[var-annotated]
        self.pause = threading.Event()
        lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    endpoint.asked.append((self.path, body))
                    endpoint.headers.append(dict(self.headers))
                    status, said = endpoint.answers.pop(0) if len(endpoint.answers) > 1 else endpoint.answers[0]
                text = said if isinstance(said, str) else json.dumps(said)
                fine = status in (200, "half", "slow")
                reply = json.dumps({"choices": [{"message": {"content": text}}]} if fine else {}).encode()
                self.send_response(200 if fine else status)
                self.send_header("Retry-After", endpoint.retry)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                if status == "slow":
                    with suppress(OSError):
                        for byte in reply:
                            self.wfile.write(bytes([byte]))
                            endpoint.pause.wait(0.03)
                else:
                    self.wfile.write(reply[: len(reply) // 2] if status == "half" else reply)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"


@pytest.fixture
def endpoint(monkeypatch) -> Iterator[Endpoint]:
    monkeypatch.setattr("aisle.relevance._writers.chat.FIRST_PAUSE_S", 0.01)
    made = Endpoint([(200, GOOD)])
    yield made
    made.pause.set()
    made.server.shutdown()
    made.server.server_close()


def teacher(endpoint: Endpoint, home=None, **settings) -> ChatTeacher:
    chat = Chat(url=endpoint.url, model="judge", **settings)
    return ChatTeacher(chat, two_tastes().items, SCALE, RuleStore(), home=home)


def test_what_is_sent_is_displayed_text_rules_grades_and_the_label(endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    (rationale,) = teacher(endpoint).write("lamp without brass", [0], np.array([3]))
    assert rationale is not None
    assert (rationale.label, rationale.category, rationale.attribute, rationale.verdict) == (3, 2, 2, 3)
    assert rationale.words[0] == "asks for a lamp", "angle brackets are the grammar's"
    (path, body), (headers,) = endpoint.asked[0], endpoint.headers
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    text = body["messages"][0]["content"]
    assert "lamp without brass" in text
    assert "People graded this pair: excellent" in text
    assert "negation" in text
    assert all(meaning in text for meaning in SCALE.meanings)


def test_only_what_leads_to_the_label_is_kept(endpoint):
    endpoint.answers = [
        (200, GOOD | {"grade": "related"}),
        (200, GOOD | {"attribute": "conflict"}),
        (200, "I would rather not."),
        (200, f"Sure:\n```json\n{json.dumps(GOOD)}\n```"),
    ]
    found = teacher(endpoint, parallel=1).write("lamp", [0, 2, 4, 6], np.full(4, 3))
    assert [r is not None for r in found] == [False, False, False, True]


def test_a_question_is_put_once_even_after_a_kill(endpoint, tmp_path):
    first = teacher(endpoint, tmp_path).write("lamp", [0, 2], np.array([3, 3]))
    (kept,) = tmp_path.glob("chat-*.jsonl")
    with kept.open("a") as file:
        file.write('{"question": "cut o')
    again = teacher(endpoint, tmp_path).write("lamp", [0, 2], np.array([3, 3]))
    assert first == again
    assert len(endpoint.asked) == 2
    teacher(endpoint, tmp_path).write("lamp", [4], np.array([3]))
    assert len(endpoint.asked) == 3
    assert teacher(endpoint, tmp_path).write("lamp", [4], np.array([3])) == first[:1]
    assert len(endpoint.asked) == 3


def test_a_busy_server_is_asked_again_and_a_refusal_is_told(endpoint):
    endpoint.answers = [(503, ""), (429, ""), (200, GOOD)]
    assert teacher(endpoint, parallel=1).write("lamp", [0], np.array([3])) != [None]
    endpoint.answers = [(401, "")]
    with pytest.raises(AisleError, match="OPENAI_API_KEY"):
        teacher(endpoint).write("lamp", [0], np.array([3]))
    endpoint.answers = [(503, "")]
    with pytest.raises(AisleError, match="no answer in 2 tries"):
        teacher(endpoint, tries=2).write("lamp", [0], np.array([3]))


@pytest.mark.parametrize("trouble", [429, 500, "half"])
@pytest.mark.parametrize("retry", ["0", "-3"])
def test_trouble_that_passes_is_waited_for(endpoint, trouble, retry):
    endpoint.answers, endpoint.retry = [(trouble, GOOD), (200, GOOD)], retry
    assert teacher(endpoint, parallel=1).write("lamp", [0], np.array([3])) != [None]


@pytest.mark.parametrize(("trouble", "said"), [(429, "HTTP 429"), ("half", "IncompleteRead"), ("slow", "not whole")])
def test_trouble_that_stays_is_told_with_what_was_tried(endpoint, trouble, said):
    endpoint.answers = [(trouble, GOOD)]
    patient = teacher(endpoint, tries=2, timeout_s=0.1 if trouble == "slow" else 5.0)
    with pytest.raises(AisleError, match=f"no answer in 2 tries .*{said}.*fit again"):
        patient.write("lamp", [0], np.array([3]))


def test_after_a_refusal_the_rest_is_not_asked(endpoint):
    endpoint.answers = [(401, "")]
    with pytest.raises(AisleError, match="refuses"):
        teacher(endpoint, parallel=1).write("lamp", list(range(0, 12, 2)), np.full(6, 3))
    assert len(endpoint.asked) < 6


@pytest.mark.parametrize("said", ['{"query": "asks for a la', "[" * 3000, '{"a":' * 3000, '["excellent"]', "null"])
def test_half_an_object_is_no_rationale(endpoint, said):
    endpoint.answers = [(200, said)]
    assert teacher(endpoint).write("lamp", [0], np.array([3])) == [None]


def test_without_an_address_the_remedy_is_named():
    with pytest.raises(SettingError, match=r"rationales\.chat\.url"):
        ChatTeacher(Chat(model="m"), two_tastes().items, SCALE, RuleStore())
