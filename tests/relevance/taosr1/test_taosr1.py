"""The whole course on the planted shop: orders, prefill, stages that go on after a kill, and what the fit reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.together import LIMIT_S, run_together

from aisle.core.env import Env
from aisle.nn.backbones.backbone import Sampling
from aisle.recipes.environment import memory_env
from aisle.relevance._judge.llm import Llm
from aisle.relevance._judge.reasoned import ReasonFirst
from aisle.relevance._pairs import Pairs, first_queries, split_by_query
from aisle.relevance._stages import Stages
from aisle.relevance.taosr1 import TaoSr1
from aisle.relevance.taosr1.course import TaoCourse
from aisle.relevance.taosr1.tuned import examples_of, label_place, rationales_of, written_answers
from aisle.simulate.known import two_tastes
from aisle.testing.case import fitted_case
from aisle.training.distributed import ALONE
from aisle.training.settings import TrainSettings


@pytest.fixture(scope="module")
def view():
    return two_tastes()


@pytest.fixture(scope="module")
def env(view) -> Env:
    return memory_env(view.items)


def course(view, env, **settings) -> TaoCourse:
    return TaoCourse.of(TaoSr1.tiny().model_copy(update=settings), view, env, ALONE)


class TestLabelFirst:
    def test_what_follows_the_label_does_not_change_its_chances(self, view, env):
        """Bit for bit: the first token sees the prompt alone, so the answer's reasoning cannot reach it."""
        llm = course(view, env).llm
        prompt = llm.prompts_of(pairs_of_two(llm), view.items)[0]
        label = llm.label_ids[:1]
        endings = [np.concatenate([label, tokens]) for tokens in (llm.label_ids[1:3], llm.label_ids[2:4])]
        logp = [llm.backbone.logp(_packed([prompt], [[ending]]))[0, 0] for ending in endings]
        assert torch.equal(*logp)

    def test_prefill_gives_the_first_step_of_decoding(self, view, env):
        llm = course(view, env).llm
        pairs = pairs_of_two(llm)
        prompts = llm.prompts_of(pairs, view.items)
        with torch.inference_mode():
            first = llm.backbone.decoding(prompts, 1, 4).first()[:, torch.from_numpy(llm.label_ids)].softmax(1)
        np.testing.assert_allclose(llm.chances_of_pairs(pairs, view.items), first.numpy(), atol=1e-6)


class TestReasonFirst:
    def test_the_label_is_read_behind_the_reasoning(self, view, env):
        llm = course(view, env, order="reason_first").llm
        assert isinstance(llm, ReasonFirst)
        pairs = pairs_of_two(llm)
        prompts = llm.prompts_of(pairs, view.items)
        answers = llm.backbone.sample(prompts, 1, Sampling(max_new=6, temperature=0.0)).lists()
        behind = [np.concatenate([p, llm._reasoning(a)]) for p, a in zip(prompts, answers, strict=True)]
        with torch.inference_mode():
            wanted = llm.backbone.decoding(behind, 1, 1).first()[:, torch.from_numpy(llm.label_ids)].softmax(1)
        np.testing.assert_allclose(llm.chances_of_pairs(pairs, view.items), wanted.numpy(), atol=1e-5)

    def test_the_label_is_the_last_grade(self, view, env):
        llm = course(view, env, order="reason_first").llm
        (answer,) = llm.answers_of([f"{llm.grammar.labels[0]} {llm.grammar.labels[2]}"])
        assert label_place(llm, answer) == 1


class TestExamples:
    def test_without_a_rationale_a_label_first_judge_learns_the_label_alone(self, view, env):
        taken = course(view, env)
        pairs = pairs_of_two(taken.llm)
        answers = written_answers(taken.llm, pairs, [None, None])
        assert [a.tolist() for a in answers] == [[taken.llm.label_ids[label]] for label in pairs.label]
        first = course(view, env, order="reason_first").llm
        assert written_answers(first, pairs, [None, None]) == [None, None]

    def test_who_waits_for_rationales_sees_how_far_they_are(self, view, env):
        taken, seen = course(view, env), []
        written = rationales_of(
            taken.writer, first_queries(taken.tuning, 6), lambda task, done, total: seen.append((done, total))
        )
        assert any(rationale is not None for rationale in written)
        assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]

    def test_class_and_label_weights(self, view, env):
        taken = course(view, env)
        pairs = pairs_of_two(taken.llm)
        rationales = taken.writer.write("lamp", pairs.row, pairs.label)
        weight_C = np.array([2.0, 1.0, 1.0, 0.5])
        made = examples_of(taken.llm, pairs, view.items, rationales, label_weight=3.0, weight_C=weight_C)
        assert made.weights is not None
        for label, weights in zip(pairs.label, made.weights, strict=True):
            assert weights[0] == 3 * weight_C[label]
            assert (weights[1:] == weight_C[label]).all()

    def test_a_small_vocabulary_holds_the_words_of_the_five_steps(self, view, env):
        taken = course(view, env, form="steps", vocabulary=1000)
        pairs = pairs_of_two(taken.llm)
        answers = written_answers(taken.llm, pairs, taken.writer.write("lamp", pairs.row, pairs.label))
        unknown = taken.llm.words.id("<unknown>")
        assert all(len(a) > 20 and unknown not in a for a in answers)
        text = taken.llm.words.decode(answers)[0]
        assert taken.llm.grammar.read(text).complete


def pairs_of_two(llm: Llm) -> Pairs:
    return Pairs(llm.scale, ["lamp"], np.zeros(2, np.int64), np.array([0, 1], np.int32), np.array([3, 0]))


def _packed(prompts, branches):
    from aisle.nn.backbones.packed import pack

    return pack(prompts, branches)


class TestPairs:
    def pairs(self) -> Pairs:
        scale = fitted_case("relevance.taosr1").stage.llm.scale
        query = np.repeat(np.arange(5), [3, 1, 4, 1, 5])
        return Pairs(scale, list("abcde"), query, np.arange(14, dtype=np.int32), np.zeros(14, np.int64))

    def test_a_share_is_apart_by_query(self):
        rest, share = split_by_query(self.pairs(), 0.4, seed=3)
        assert len(np.unique(share.query)) == 2
        assert not set(rest.query) & set(share.query)
        assert len(rest) + len(share) == 14

    def test_the_first_queries_come_whole(self):
        assert np.unique(first_queries(self.pairs(), 8).query).tolist() == [0, 1, 2]
        assert np.unique(first_queries(self.pairs(), 1).query).tolist() == [0]


class TestFit:
    def test_every_stage_reports(self):
        report = fitted_case("relevance.taosr1").stage.report
        assert list(report) == ["tuned", "corrected", "reinforced"]
        assert report["corrected"]["pass@1"] <= report["corrected"]["pass@2"]
        assert report["corrected"]["self_correction"] + report["corrected"]["oracle"] > 0
        mix = np.array(report["reinforced"]["pool"])
        assert len(set(mix[mix > 0])) == 1, "a balanced pool"
        assert all("macro_f1" in stage and "curve" in stage for stage in report.values())

    @pytest.mark.parametrize("oracle", [True, False])
    def test_without_the_writer_only_own_answers_are_preferred(self, view, env, oracle):
        correction = TaoSr1.tiny().correction.model_copy(update={"oracle": oracle})
        report = course(view, env, correction=correction).correct(None)
        assert report["self_correction"] > 0
        assert (report["oracle"] > 0) == oracle

    def test_a_stage_that_does_not_help_is_taken_back(self, view, env):
        taken = course(view, env)
        taken.tune = lambda folder: {"macro_f1": 0.5}  # type: ignore[method-assign]
        before = {name: tensor.clone() for name, tensor in taken.llm.backbone.state_dict().items()}

        def spoil(macro_f1: float) -> dict[str, float]:
            with torch.no_grad():
                taken.llm.backbone.tokens.weight.add_(1.0)
            return {"macro_f1": macro_f1}

        taken.correct = lambda folder: spoil(0.4)  # type: ignore[method-assign]
        taken.reinforce = lambda folder: spoil(0.6)  # type: ignore[method-assign]
        report = taken.taken().report
        assert ["taken_back" in report[stage] for stage in ("tuned", "corrected", "reinforced")] == [False, True, False]
        moved = taken.llm.backbone.state_dict()["tokens.weight"] - before["tokens.weight"]
        torch.testing.assert_close(moved, torch.ones_like(moved), atol=1e-5, rtol=0)

    def test_killed_between_stages_it_goes_on_and_ends_the_same(self, view, env, tmp_path):
        quick = {"reinforcement": TaoSr1.tiny().reinforcement.model_copy(update={"steps": 0})}
        method = TaoSr1.tiny().model_copy(update=quick)
        whole = method.fit(view, env)
        kept = replace(env, scratch=tmp_path)

        def killed(stages: Stages, folder) -> None:
            raise KeyboardInterrupt

        broken = TaoCourse.of(method, view, kept, ALONE)
        broken.correct = lambda folder: killed(broken.stages, folder)  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            broken.taken()
        (home,) = tmp_path.glob("relevance.taosr1-*")
        assert (home / "tuned.json").exists()
        resumed = TaoCourse.of(method, view, kept, ALONE)
        resumed.tune = lambda folder: killed(resumed.stages, folder)  # type: ignore[method-assign]
        stage = resumed.taken()
        assert not home.exists()
        for name, tensor in whole.llm.backbone.state_dict().items():
            assert torch.equal(tensor, stage.llm.backbone.state_dict()[name])

    def test_a_step_noise_of_1_gives_verdicts_that_seldom_lead_to_the_label(self, view, env):
        method = TaoSr1.tiny()
        noisy = method.model_copy(update={"rationales": method.rationales.model_copy(update={"step_noise": 1.0})})
        taken = TaoCourse.of(noisy, view, env, ALONE)
        written = taken.writer.write("lamp", np.arange(10), np.full(10, 3))
        assert all(taken.writer.table.label(r.category, r.attribute) != 3 for r in written)

    def test_label_only_leaves_dpo_out(self, view, env):
        quick = TrainSettings(max_steps=2, lr=1e-3, watch="macro_f1", better="higher")
        stage = TaoSr1.tiny().model_copy(update={"order": "label_only", "train": quick}).fit(view, env)
        assert "corrected" not in stage.report
        assert stage.llm.grammar.marks == stage.llm.grammar.labels


def fit_together(folder: str) -> list[float]:
    """The whole course among the processes that were started: the weights' sum and the number of pairs DPO learned from."""
    view = two_tastes()
    stage = TaoSr1.tiny().fit(view, Env(engine=None, scratch=Path(folder)))
    weights = sum(float(t.double().abs().sum()) for t in stage.llm.backbone.state_dict().values())
    report = stage.report["corrected"]
    return [weights, report["self_correction"] + report["oracle"]]


@pytest.mark.timeout(LIMIT_S)
def test_two_processes_fit_one_judge(tmp_path):
    first, second = run_together(fit_together, str(tmp_path))
    assert first == second
    assert first[1] > 0
    assert not list(tmp_path.iterdir())
