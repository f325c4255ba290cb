"""LREF's own: what a selection keeps, what each kind of reasoning is given, and which way de-biasing moves."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.core.requests import Requests
from aisle.funnel.plan import Plan
from aisle.relevance._judge.llm import Llm
from aisle.relevance._pairs import Pairs, training_pairs
from aisle.relevance._tiers import confusion, optimism
from aisle.relevance._verdicts import RuleTable
from aisle.relevance._writers.rules import RuleStore
from aisle.relevance._writers.tagger import Tagger
from aisle.relevance._writers.teacher import Teacher
from aisle.relevance.lref import Explaining, Lref
from aisle.relevance.lref.course import LrefCourse
from aisle.relevance.lref.debiasing import Beams, beams_of, bias, preferences
from aisle.relevance.lref.reading import plain_chances, reader_of
from aisle.relevance.lref.selection import (
    Selection,
    at_random,
    believed,
    confusable_labels,
    evenly_by_traffic,
    kept,
    select,
    thirds,
    traffic_of,
    trusted,
)
from aisle.relevance.lref.tasks import EXPLAIN, MARKS, TOO_HIGH, TOO_LOW, Tasks, brand_of, wrong_labels
from aisle.relevance.lref.written import aspects_in_words
from aisle.retrieval.bm25 import Bm25
from aisle.testing.case import planted
from aisle.training.distributed import ALONE
from aisle.training.loop import train
from aisle.training.preference import PreferenceLoss, preference_batches
from aisle.training.settings import TrainSettings
from aisle.training.supervised import example_batches, supervised_loss

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "relevance"))

from selection import ETA, Noisy, Silent, noisy

# -- selection ---------------------------------------------------------------------------------------------------------


class TestSelection:
    def chosen(self, world: Noisy, **settings) -> Array:
        how = Selection(sample=0.25, **settings)
        return select(world.pairs, how, world.learn, Silent(), world.traffic, 0).keep

    def test_three_filters_keep_fewer_mistakes_and_more_of_the_tail_and_im_alone_keeps_more_mistakes(self):
        world = noisy()
        wrong = world.pairs.label != world.true
        assert wrong.mean() == pytest.approx(ETA, abs=0.02)
        alone, all_three = self.chosen(world, filters=("im",)), self.chosen(world)
        assert wrong[alone].mean() > 1.5 * ETA
        assert wrong[all_three].mean() < ETA
        assert world.is_tail[all_three].mean() > world.is_tail.mean()
        assert 0 < all_three.mean() < 0.3

    def test_the_other_reading_of_the_mislabelled_filter_keeps_the_mistakes(self):
        world = noisy()
        wrong = world.pairs.label != world.true
        differs, agrees = (
            self.chosen(world, filters=("im", "ms"), mislabelled=reading) for reading in ("differs", "agrees")
        )
        assert not (differs & agrees).any()
        assert wrong[agrees].mean() > 0.8
        assert wrong[differs].mean() < 0.5 * wrong[differs | agrees].mean()

    def test_helpers_that_say_the_same_keep_nothing_and_one_that_never_agrees_removes_nothing(self):
        label = np.array([0, 1, 2, 3])
        said = np.array([0, 2, 2, 1])
        assert not kept({"im": said, "ci": said}, label).any()
        both = kept({"im": said, "ci": label}, label)
        assert np.array_equal(both, kept({"im": said, "ci": label, "ms": (label + 1) % 4}, label))

    def test_a_trusted_label_is_one_that_ci_gives_and_ms_does_not(self):
        label = np.array([0, 1, 2, 3])
        said = {"im": label, "ci": np.array([0, 1, 2, 0]), "ms": np.array([1, 1, 3, 2])}
        assert trusted(said, label).tolist() == [True, False, True, False]
        assert trusted({"im": said["im"]}, label).all()
        world = noisy()
        found = select(world.pairs, Selection(sample=0.25), world.learn, Silent(), world.traffic, 0)
        wrong = world.pairs.label != world.true
        assert (found.trusted | ~found.keep).all()  # what is kept is trusted
        assert found.trusted.mean() > 0.5
        assert wrong[found.trusted].mean() < 0.3 * ETA

    def test_confident_learning_disbelieves_mistakes(self):
        world = noisy()
        keep = self.chosen(world, by="confident")
        wrong = world.pairs.label != world.true
        assert wrong[keep].mean() < 0.5 * ETA
        assert believed(np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]]), np.array([0, 1, 1])).tolist() == [
            True,
            True,
            False,
        ]

    def test_by_chance_and_all(self):
        world = noisy()
        assert self.chosen(world, by="random", share=0.1).sum() == round(0.1 * len(world.pairs))
        assert self.chosen(world, by="all").all()

    def test_a_pair_is_judged_by_helpers_that_saw_none_of_its_query(self):
        world = noisy()
        seen: list[tuple[set[int], set[int]]] = []

        def learn(task: str, lesson: Pairs, judged: Pairs) -> Array:
            seen.append((set(lesson.query.tolist()), set(judged.query.tolist())))
            return world.learn(task, lesson, judged)

        select(world.pairs, Selection(folds=3), learn, Silent(), world.traffic, 0)
        assert len(seen) == 9
        assert all(not (learned & judged) for learned, judged in seen)

    def test_too_few_queries_are_refused(self):
        world = noisy()
        few = world.pairs.take(np.arange(5))
        with pytest.raises(SettingError, match="set selection"):
            select(few, Selection(), world.learn, Silent(), world.traffic, 0)


class TestSamples:
    def test_thirds_of_the_queries(self):
        assert thirds(np.array([1.0, 100.0, 50.0, 51.0, 60.0, 40.0])).tolist() == [2, 0, 1, 1, 0, 2]
        assert thirds(np.zeros(3)).tolist() == [0, 1, 2]
        assert len(thirds(np.zeros(0))) == 0

    def test_ci_learns_equally_from_head_middle_and_tail_and_im_as_annotated(self):
        world = noisy()
        part = evenly_by_traffic(world.pairs, world.traffic, 0.3, 0)
        used = np.unique(world.pairs.query)
        counts = np.bincount(thirds(world.traffic[used])[part.query])
        assert counts.max() <= 1.2 * counts.min()
        plain = at_random(world.pairs, 0.3, 0)
        assert abs(world.is_tail[plain.row].mean() - world.is_tail.mean()) < 0.03
        assert world.is_tail[part.row].mean() > world.is_tail[plain.row].mean()

    def test_a_confusable_label_is_never_the_own_one(self):
        world = noisy()
        said = confusable_labels(world.pairs, Silent())
        assert (said != world.pairs.label).all()
        assert (said[world.pairs.label == 3] == 2).all()

    def test_traffic_is_counted_in_the_log(self):
        shop = planted()
        pairs, _ = training_pairs(shop)
        traffic = dict(zip(pairs.queries, traffic_of(shop, pairs), strict=True))
        searches = shop.events
        lamp = searches.queries.index("lamp")
        pages = len(np.unique(searches["request"][searches["query"] == lamp]))
        assert traffic["lamp"] == pages > 0
        assert traffic["desk lamp"] == 0


# -- reasoning ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llm(shop, env) -> Llm:
    pairs, _ = training_pairs(shop)
    return Llm.made(Lref.tiny(), pairs.scale, shop.items, pairs.queries, env, marks=MARKS, texts=RuleStore().rules)


def tasks_of(llm: Llm, shop, form: str = "short", noise: float = 0.0) -> Tasks:
    tagger = Tagger(shop.items)
    return Tasks(llm, shop.items, Teacher(tagger, llm.scale, step_noise=noise), tagger, RuleStore(), 0)


class TestTasks:
    def test_each_kind_has_an_input_of_its_own(self, llm, shop):
        pairs, _ = training_pairs(shop)
        part, tasks = pairs.take(np.arange(0, len(pairs), 7)), tasks_of(llm, shop)
        rationales = tasks.rationales(part)
        read = {
            task: llm.words.decode(tasks.lesson(task, part, rationales).examples.prompts[:5])
            for task in ("plain", "ee", "ra", "dr")
        }
        for task, prompts in read.items():
            for prompt in prompts:
                assert ("<rule:>" in prompt) == (task == "ra")
                assert ("<judged:>" in prompt) == (task == "dr")
                assert (EXPLAIN in prompt) == (task != "plain")

    def test_the_label_comes_last_and_is_the_human_one(self, llm, shop):
        pairs, _ = training_pairs(shop)
        part, tasks = pairs.take(np.arange(0, len(pairs), 5)), tasks_of(llm, shop)
        rationales = tasks.rationales(part)
        for task in ("plain", "ee", "ra", "dr"):
            lesson = tasks.lesson(task, part, rationales)
            for answer, place in zip(lesson.examples.answers, lesson.places, strict=True):
                assert answer[-1] == llm.words.end_id
                assert answer[-2] == llm.label_ids[part.label[place]]

    def test_reflection_is_never_shown_the_right_label_and_says_which_way_it_errs(self, llm, shop):
        pairs, _ = training_pairs(shop)
        tasks = tasks_of(llm, shop)
        lesson = tasks.lesson("dr", pairs, tasks.rationales(pairs))
        gold = pairs.label[lesson.places]
        assert (lesson.wrong != gold).all()
        assert set(np.unique(wrong_labels(pairs, 1))) == {0, 1, 2, 3}
        high, low = llm.words.id(TOO_HIGH), llm.words.id(TOO_LOW)
        first = np.array([answer[0] for answer in lesson.examples.answers])
        assert np.array_equal(first, np.where(lesson.wrong > gold, high, low))

    def test_by_rule_the_label_follows_from_the_verdicts_however_noisy_the_writer(self, llm, shop):
        pairs, _ = training_pairs(shop)
        tasks = tasks_of(llm, shop, noise=0.4)
        lesson = tasks.lesson("ra", pairs, tasks.rationales(pairs))
        assert 0.2 * len(pairs) < len(lesson.places) < len(pairs)
        table, texts = RuleTable(4), llm.words.decode(lesson.examples.answers)
        for text, place in zip(texts, lesson.places, strict=True):
            said = llm.grammar.read(text)
            assert table.label(said.category, said.attribute) == pairs.label[place]

    def test_five_steps_in_words(self, shop, env):
        pairs, _ = training_pairs(shop)
        method = Lref.tiny().model_copy(update={"form": "steps"})
        longer = Llm.made(method, pairs.scale, shop.items, pairs.queries, env, marks=MARKS)
        tasks = tasks_of(longer, shop)
        part = pairs.take(np.arange(3))
        for task in ("ee", "ra", "dr"):
            short = tasks_of_llm_lengths(tasks.lesson(task, part, tasks.rationales(part)).examples.answers)
            assert min(short) > 6

    def test_brands(self, shop):
        tagger = Tagger(shop.items)
        alder, birch = (tagger.said([shop.items.text("brand").index(brand)])[0] for brand in ("Alder", "Birch"))
        asked = tagger.asked("alder lamp")
        assert (brand_of(asked, alder), brand_of(asked, birch)) == ("asked", "other")
        assert brand_of(tagger.asked("lamp"), birch) == "asked"

    def test_for_a_person(self):
        text = "<brand:other> <category:match> <attribute:conflict> <keywords:some> <mismatch>"
        assert (
            aspects_in_words(text)
            == ": another brand than asked, the kind of product asked for, against something that was asked"
        )
        assert aspects_in_words("<excellent>") == ""


def tasks_of_llm_lengths(answers) -> list[int]:
    return [len(answer) for answer in answers]


# -- de-biasing --------------------------------------------------------------------------------------------------------


class TestDebiasing:
    def test_beams_of_labels_are_the_grades_in_the_order_of_their_chances(self, llm, shop):
        pairs, _ = training_pairs(shop)
        part = pairs.take(np.arange(8))
        beams = beams_of(llm, llm.prompts_of(part, shop.items), 5, 2, only_labels=True)
        chance = llm.chances_of_pairs(part, shop.items)
        assert np.array_equal(beams.label, np.argsort(-chance, axis=1, kind="stable"))

    def test_pairs_come_of_wrong_first_beams_and_mostly_of_over_rated_ones(self):
        gold = np.array([0] * 9 + [3] * 6 + [1] * 3)
        first = np.array([2] * 9 + [1] * 6 + [1] * 3)
        label = np.stack([first, np.where(first == gold, 0, gold)], 1)
        answers = [[np.array([a]), np.array([b])] for a, b in label]
        made, counts = preferences([np.array([7])] * 18, Beams(answers, label), gold, other_share=0.25, seed=0)
        assert counts == {"over": 9, "under": 3, "held": 0}
        for chosen, rejected in zip(made.chosen, made.rejected, strict=True):
            assert chosen[0][0] in (0, 3)
            assert rejected[0][0] in (2, 1)
        _, turned = preferences(
            [np.array([7])] * 18, Beams(answers, label), gold, other_share=0.25, seed=0, optimist=False
        )
        assert turned == {"over": 2, "under": 6, "held": 0}

    def test_a_beam_without_a_grade_and_a_right_first_beam_make_no_pair(self):
        label = np.array([[-1, 2], [1, 2], [3, -1]])
        answers = [[np.array([5]), np.array([6])]] * 3
        made, counts = preferences(
            [np.array([7])] * 3, Beams(answers, label), np.array([2, 1, 0]), other_share=0.5, seed=0
        )
        assert len(made) == 0
        assert counts == {"over": 0, "under": 0, "held": 0}

    def test_right_first_beams_are_preferred_to_their_seconds(self):
        gold = np.array([0, 0, 1, 1, 2, 2, 3])
        label = np.array([[1, 0], [2, 1], [1, 2], [1, 0], [2, 3], [2, -1], [3, 1]])
        answers = [[np.array([a]), np.array([b])] for a, b in label]
        prompts = [np.array([n]) for n in range(len(gold))]
        made, counts = preferences(prompts, Beams(answers, label), gold, other_share=0.0, held=3.0, seed=0)
        assert counts == {"over": 1, "under": 0, "held": 3}  # the second prompt's right grade is on no beam
        found = [(int(p[0]), int(c[0][0]), int(r[0][0])) for p, c, r in zip(
            made.prompts, made.chosen, made.rejected, strict=True)]  # fmt: skip
        assert found[0] == (0, 0, 1)
        for prompt, better, worse in found[1:]:
            assert prompt in (2, 3, 4, 6)
            assert (better, worse) == (gold[prompt], label[prompt, 1])

    def test_the_report_counts_both_ways(self):
        beams = Beams([], np.array([[3, 0], [1, 0], [2, 2], [0, 1]]))
        found = bias(np.array([0, 0, 2, 3]), beams.label[:, 0], 4, beams)
        assert (found.too_high, found.too_low, found.index) == (0.5, 0.25, 0.25)
        assert found.second == pytest.approx(2 / 3)

    def test_dpo_starts_at_log_2_and_takes_optimism_back(self, shop, env):
        """A judge taught grades that are mostly one too high, then de-biased on people's own."""
        pairs, _ = training_pairs(shop)
        pairs = pairs.take(np.flatnonzero(np.array(pairs.texts) == "lamp"))
        random = np.random.default_rng(0)
        raised = np.where(random.random(len(pairs)) < 0.7, np.minimum(pairs.label + 1, 3), pairs.label)
        judge = Llm.made(Lref.tiny(), pairs.scale, shop.items, pairs.queries, env, marks=MARKS)
        lesson = tasks_of(judge, shop).plain(Pairs(pairs.scale, pairs.queries, pairs.query, pairs.row, raised))
        learn = TrainSettings(epochs=30, lr=1e-2, schedule="constant")
        train(judge.backbone, example_batches(lesson.examples, 20), supervised_loss, learn)
        prompts = judge.prompts_of(pairs, shop.items)
        before = confusion(pairs.label, plain_chances(judge, pairs, shop.items).argmax(1), 4)
        assert optimism(before) > 0.1
        beams = beams_of(judge, prompts, 5, 2, only_labels=True)
        assert bias(pairs.label, beams.label[:, 0], 4, beams).second > 0.5
        made, _ = preferences(prompts, beams, pairs.label, other_share=0.25, seed=0)
        loss, margins = PreferenceLoss(beta=0.5, nll=0.1), []

        def noted(module, batch):
            losses, figures = loss(module, batch)
            margins.append((float(losses["preference"].detach()), figures["margin"]))
            return losses, figures

        batches = preference_batches(made, 10, reference=judge.backbone.frozen())
        train(judge.backbone, batches, noted, TrainSettings(epochs=6, lr=2e-3, schedule="constant"))
        assert margins[0][0] == pytest.approx(log(2), abs=1e-5)
        assert margins[-1][1] > margins[0][1] + 0.1
        after = confusion(pairs.label, plain_chances(judge, pairs, shop.items).argmax(1), 4)
        assert abs(optimism(after)) < optimism(before)
        less_high = np.triu(before, 1).sum() - np.triu(after, 1).sum()
        assert less_high > np.tril(after, -1).sum() - np.tril(before, -1).sum()


# -- the whole ---------------------------------------------------------------------------------------------------------


class TestFit:
    def test_every_stage_leaves_its_figures(self, shop, env):
        stage = Lref.tiny().fit(shop, env)
        report = stage.report
        assert report["selected"]["all_used"]
        assert list(report) == ["selected", "tuned", "explained", "debiased"]
        assert {"im_agrees", "ci_agrees", "ms_agrees", "kept", "by_grade", "believed"} <= report["selected"].keys()
        assert {"ee", "ra", "dr", "macro_f1"} <= report["explained"].keys()
        assert {"too_high", "too_low", "index", "second"} <= report["debiased"]["before"].keys()

    @pytest.mark.parametrize(("start", "stages"), [("all", ["started", "tuned"]), ("nothing", ["tuned"])])
    def test_a_few_selected_pairs_follow_all_of_them(self, shop, env, start, stages):
        method = Lref.tiny().with_setting("debiasing.on=false").with_setting("explaining.tasks=[]")
        method = method.with_setting("selection.by=random").with_setting("selection.share=0.5")
        report = method.with_setting(f"selection.start={start}").fit(shop, env).report
        assert list(report) == ["selected", *stages]
        pairs, _ = training_pairs(shop)
        assert [report[stage]["pairs"] for stage in stages] == [len(pairs), round(0.5 * len(pairs))][-len(stages) :]

    def test_killed_between_helpers_it_asks_only_those_that_have_not_answered_and_ends_the_same(
        self, shop, env, tmp_path
    ):
        method = Lref.tiny().with_setting("debiasing.on=false").with_setting("explaining.tasks=[]")
        whole, taught, kept = method.fit(shop, env), [], replace(env, scratch=tmp_path)

        def course(most: int) -> LrefCourse:
            made = LrefCourse.of(method, shop, kept, ALONE)
            train_as_before = made.train

            def counted(name: str, *how) -> None:
                if len(taught) == most:
                    raise KeyboardInterrupt
                taught.append(name)
                train_as_before(name, *how)

            made.train = counted  # type: ignore[method-assign]
            return made

        with pytest.raises(KeyboardInterrupt):
            course(4).taken()
        llm, _, _ = course(99).taken()
        helpers = [f"helper {name} {fold}" for name in ("im", "ci", "ms") for fold in (1, 2)]
        assert taught == [*helpers, "tuned"]
        assert not list(tmp_path.iterdir())
        same = zip(whole.llm.backbone.parameters(), llm.backbone.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in same)

    def test_a_stage_that_costs_too_much_is_taken_back(self, shop, env, monkeypatch):
        from aisle.relevance.lref import course

        method = Lref.tiny().with_setting("selection.by=all").with_setting("explaining.tasks=[]")
        monkeypatch.setattr(course, "LOST", -1.0)  # whatever it brings is not enough
        back = method.fit(shop, env)
        off = method.with_setting("debiasing.on=false").fit(shop, env)
        assert back.report["debiased"]["taken_back"]
        assert "taken_back" not in back.report["tuned"]  # before it there was nothing
        assert back.report["debiased"]["macro_f1"] == back.report["tuned"]["macro_f1"]
        same = zip(back.llm.backbone.parameters(), off.llm.backbone.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in same)

    @pytest.mark.parametrize(("against", "whole"), [("bias", "under"), ("optimism", "over")])
    def test_a_judge_that_rates_too_low_is_turned_up_unless_optimism_alone_is_fought(self, shop, env, against, whole):
        """Both kinds of mistakes are there; the setting says which of them is used whole."""
        method = Lref.tiny().with_setting(f"debiasing.against={against}").with_setting("debiasing.other_share=0")
        course = LrefCourse.of(method, shop, env, ALONE)
        pairs = course.pairs
        moved = np.random.default_rng(0).choice([-1, 0, 1], len(pairs), p=[0.6, 0.2, 0.2])
        lesson = course.tasks.plain(
            Pairs(pairs.scale, pairs.queries, pairs.query, pairs.row, np.clip(pairs.label + moved, 0, 3))
        )
        learn = TrainSettings(epochs=30, lr=1e-2, schedule="constant")
        course.train("moved", [lesson], learn, None)
        found = course.debias(pairs, None)
        assert found["before"]["index"] < 0
        assert found[whole] > 0
        assert found["over"] + found["under"] == found[whole]

    def test_the_grade_can_be_read_behind_the_reasoning(self, shop, env):
        method = Lref.tiny().model_copy(update={"decide": "reason", "explaining": Explaining(tasks=("ee",))})
        method = method.with_setting("selection.by=all").with_setting("debiasing.most=16")
        stage = method.fit(shop, env)
        pairs, _ = training_pairs(shop)
        part = pairs.take(np.arange(6))
        chance = stage.reader.chances_of_pairs(part, shop.items)
        assert np.allclose(chance.sum(1), 1, atol=1e-5)
        again = method.restore(stage.state(), env)
        assert type(again.llm) is reader_of("reason")
        assert np.abs(again.reader.chances_of_pairs(part, shop.items) - chance).max() < 1e-6
        requests = Requests.make(["desk lamp"])
        assert torch.is_tensor(next(iter(stage.llm.backbone.parameters())))
        assert len(stage.score(requests, stage_lists())["tier"]) == 3


def stage_lists():
    from aisle.core.lists import ItemLists

    return ItemLists(np.arange(3), np.array([0, 3]))


def test_settings_of_the_time_when_only_optimism_was_known_are_brought_up_to_date():
    old = {"relevance": {"method": "relevance.lref", "settings": {"debiasing": {"under_share": 0.4}}}}
    method = Plan.from_json({"retrieval": {"bm25": "retrieval.bm25"}, **old}).relevance
    assert (method.debiasing.other_share, method.debiasing.against) == (0.4, "optimism")
    plan = Plan(retrieval={"bm25": Bm25()}, relevance=Lref())
    assert Plan.from_json(plan.to_json()) == plan
