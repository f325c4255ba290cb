from __future__ import annotations

from threading import Event, get_ident

import pytest

from aisle.funnel.beside import Beside


def test_work_is_done_beside_its_caller_and_by_the_caller_while_the_helper_is_busy():
    beside, go = Beside(processors=2), Event()
    waiting = beside.start(lambda: (go.wait(5), get_ident())[1])
    assert beside.start(get_ident)() == get_ident(), "the helper has something to do"
    go.set()
    assert waiting() != get_ident()
    assert beside.start(get_ident)() != get_ident(), "and is free again"


def test_on_one_processor_the_caller_does_it():
    assert Beside(processors=1).start(get_ident)() == get_ident()


@pytest.mark.parametrize("processors", [1, 2])
def test_what_work_raises_comes_when_its_answer_is_asked_for(processors):
    beside = Beside(processors=processors)
    answer = beside.start(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        answer()
    assert beside.start(lambda: 7)() == 7
