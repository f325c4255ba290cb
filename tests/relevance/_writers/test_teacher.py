"""Tagger, teacher, rules, prompts and pairs on a shelf of six products."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aisle.core.errors import DataError
from aisle.core.lists import ItemLists
from aisle.core.shop import Judgments
from aisle.data.items import ItemTable
from aisle.data.schema import CATALOGUE
from aisle.relevance._item_texts import item_texts
from aisle.relevance._judge.prompts import Prompts
from aisle.relevance._pairs import Pairs, balanced, class_weights, pairs_of, variation
from aisle.relevance._scale import scale_of
from aisle.relevance._verdicts import ATTRIBUTE, CATEGORY
from aisle.relevance._writers.rules import RuleStore
from aisle.relevance._writers.tagger import Tagger, Wanted
from aisle.relevance._writers.teacher import Teacher

SCALE = scale_of([1, 2, 3, 4])
SHELF = [
    ("boot", "Leather hiking boot", "Alpo", "Shoes > Boots > Hiking Boots", "leather", 9000),
    ("rain", "Rubber boot", "Wetly", "Shoes > Boots > Rain Boots", "rubber", 3000),
    ("sandal", "Sandal of cork", "Alpo", "Shoes > Summer > Sandals", "cork", 4000),
    ("cheap", "Hiking boot", "Basso", "Shoes > Boots > Hiking Boots", "canvas", 2500),
    ("lamp", "Desk lamp", "Lumo", "Home > Lighting > Desk Lamps", "steel", 2000),
    ("silent", "Hiking boot", "Basso", "Shoes > Boots > Hiking Boots", None, 2600),
]


@pytest.fixture(scope="module")
def items() -> ItemTable:
    rows = [
        {
            "item_id": item_id, "title": title, "brand": brand, "category": [category], "price_cents": cents,
            "attributes": [] if material is None else [{"name": "material", "text": material, "number": None, "unit": None}],
        }
        for item_id, title, brand, category, material, cents in SHELF
    ]  # fmt: skip
    return ItemTable.from_table(pa.Table.from_pylist(rows, schema=CATALOGUE))


@pytest.fixture(scope="module")
def teacher(items) -> Teacher:
    return Teacher(Tagger(items), SCALE)


class TestTagger:
    def test_category_in_either_number_and_attributes(self, teacher):
        for query in ("leather hiking boots", "leather hiking boot"):
            asked = teacher.tagger.asked(query)
            assert asked.categories == ("Shoes > Boots > Hiking Boots",)
            assert asked.wanted == (Wanted("material", "leather"),)

    def test_negation_reaches_the_next_phrase_only(self, teacher):
        asked = teacher.tagger.asked("boots not leather rubber")
        assert asked.wanted == (Wanted("material", "leather", negated=True), Wanted("material", "rubber"))

    def test_cheaper_than_a_brand_is_not_of_that_brand(self, teacher):
        asked = teacher.tagger.asked("cheaper than Alpo hiking boots")
        assert asked.cheaper_than == "Alpo"
        assert asked.wanted == (Wanted("brand", "Alpo", negated=True),)
        assert teacher.tagger.usual_cents("Alpo", "Shoes > Boots > Hiking Boots") == 9000

    def test_a_price(self, teacher):
        assert teacher.tagger.asked("lamps under $25").most_cents == 2500

    def test_what_the_attribute_list_leaves_out_may_stand_in_the_title(self, items):
        table = pa.Table.from_pylist(
            [{"item_id": "x", "title": "Leather boot", "category": ["Shoes > Boots > Hiking Boots"]}], schema=CATALOGUE
        )
        more = items.upserted(table)
        assert Tagger(more).said([6])[0].values["material"] == ("leather",)


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    """The shelf again with weights: 1.5 kg, 1500 g, 900 g, and none."""
    weights = [(1.5, "kg"), (1500.0, "g"), (900.0, "g"), None, (1.5, "kg"), (1.5, "kg")]
    rows = []
    for (item_id, title, brand, category, _, cents), weight in zip(SHELF, weights, strict=True):
        measured = [] if weight is None else [{"name": "weight", "text": None, "number": weight[0], "unit": weight[1]}]
        rows.append({
            "item_id": item_id, "title": title, "brand": brand, "category": [category], "price_cents": cents,
            "attributes": measured,
        })  # fmt: skip
    return Tagger(ItemTable.from_table(pa.Table.from_pylist(rows, schema=CATALOGUE)))


class TestNumbers:
    def test_a_number_is_read_in_the_units_that_the_catalogue_uses(self, tagger):
        for query in ("boots 1500g", "boots 1.5 kg", "boots 1,5kg"):
            (measure,) = tagger.asked(query).measures
            assert measure.options == (("weight", pytest.approx(1.5)),)
        assert tagger.asked("lamps under $25").measures == ()
        assert tagger.asked("27 inch boots").measures == ()

    def test_it_is_compared_across_units_and_silence_is_unknown(self, tagger):
        teacher = Teacher(tagger, SCALE)
        readings = teacher.read("boots 1500 g", [0, 1, 2, 3])
        assert [r.attribute if r.attribute is None else ATTRIBUTE[r.attribute] for r in readings] == [
            "all", "all", "conflict", None
        ]  # fmt: skip
        (unwanted,) = teacher.read("boots not 900 g", [2])
        assert ATTRIBUTE[unwanted.attribute] == "conflict"

    def test_what_the_attribute_list_leaves_out_may_stand_in_the_title(self, tagger):
        assert tagger.said([3])[0].numbers == {}
        assert "900 g" in str(tagger.asked("900 g boots").measures[0])


class TestTeacher:
    @pytest.mark.parametrize(
        ("query", "item", "category", "attribute"),
        [
            ("leather hiking boots", "boot", "match", "all"),
            ("leather hiking boots", "cheap", "match", "conflict"),
            ("leather hiking boots", "rain", "near", "conflict"),
            ("hiking boots", "lamp", "mismatch", "all"),
            ("boots not leather", "boot", "match", "conflict"),
            ("boots not leather", "rain", "match", "all"),
            ("cheaper than alpo hiking boots", "cheap", "match", "all"),
            ("cheaper than alpo hiking boots", "boot", "match", "conflict"),
            ("hiking boots under $24", "cheap", "match", "partial"),
        ],
    )
    def test_its_own_reading(self, teacher, items, query, item, category, attribute):
        (reading,) = teacher.read(query, items.rows_of([item]).tolist())
        assert (CATEGORY[reading.category], ATTRIBUTE[reading.attribute]) == (category, attribute)

    def test_what_an_item_does_not_say_is_unknown(self, teacher, items):
        (reading,) = teacher.read("leather hiking boots", items.rows_of(["silent"]).tolist())
        assert reading.attribute is None

    def test_every_rationale_leads_to_its_label(self, teacher):
        for label in range(4):
            for rationale in teacher.write("leather hiking boots", range(6), np.full(6, label)):
                assert teacher.table.label(rationale.category, rationale.attribute) == label == rationale.verdict

    def test_the_verdict_quotes_the_rule_that_the_query_calls_for(self, teacher):
        (rationale,) = teacher.write("boots without leather", [1], np.array([3]))
        assert "negation" in rationale.words[4]

    def test_without_the_label_it_explains_only_what_it_sees(self, items):
        blind = Teacher(Tagger(items), SCALE, sees_label=False)
        rows = items.rows_of(["boot", "cheap"]).tolist()
        assert [r is not None for r in blind.write("leather hiking boots", rows, np.array([3, 3]))] == [True, False]

    def test_step_noise_disturbs_verdicts_and_never_labels(self, items):
        noisy = Teacher(Tagger(items), SCALE, step_noise=0.5)
        queries = ("leather hiking boots", "boots not leather", "desk lamps", "cork sandals", "rubber boots", "lamps")
        written = [r for query in queries for r in noisy.write(query, range(6), np.full(6, 3))]
        assert all(r.label == r.verdict == 3 for r in written)
        wrong = np.mean([noisy.table.label(r.category, r.attribute) != 3 for r in written])
        assert 0.4 < wrong < 0.95
        again = [r for query in queries for r in noisy.write(query, range(6), np.full(6, 3))]
        assert again == written


class TestRules:
    def test_the_rule_that_speaks_of_the_case_comes_first(self):
        store = RuleStore()
        assert store.find("boots without leather", 1)[0].startswith("negation")
        assert store.find("cheaper than a brand", 1)[0].startswith("alternative")
        assert store.find("zzz") == []

    def test_a_file_of_rules(self, tmp_path):
        (tmp_path / "rules.txt").write_text("# ours\n\nshoes: a half size up is related\n")
        assert RuleStore.read(tmp_path / "rules.txt").rules == ("shoes: a half size up is related",)
        (tmp_path / "empty.txt").write_text("# nothing\n")
        with pytest.raises(DataError, match="one a line"):
            RuleStore.read(tmp_path / "empty.txt")


class TestPrompts:
    def test_what_items_share_comes_first(self, items):
        prompts = Prompts(SCALE, ("1", "2", "3", "4"), "instructed")
        head = prompts.head("hiking boots", ["a rule"])
        assert "hiking boots" in head
        assert "a rule" in head
        assert all(meaning in head for meaning in SCALE.meanings)
        assert prompts.tail("Boot", judged="2").endswith("Grade:")
        assert "hiking" not in prompts.tail("Boot")

    def test_a_plain_prompt_says_every_word_once(self, items):
        assert Prompts(SCALE, ("1", "2", "3", "4")).items(items, np.array([0, 5])) == [
            "leather hiking boot boots alpo <price:> 90", "hiking boot boots basso <price:> 26"
        ]  # fmt: skip
        assert Prompts(SCALE, ("1", "2", "3", "4"), "instructed").items(items, np.array([0])) == item_texts(
            items, np.array([0])
        )

    def test_an_item_shows_title_category_brand_price_and_attributes(self, items):
        (text,) = item_texts(items, np.array([0]))
        assert text == "Leather hiking boot ; Shoes Boots Hiking Boots ; Alpo ; 90 ; material leather"


class TestPairs:
    def pairs(self) -> Pairs:
        lists = ItemLists(np.arange(6), np.array([0, 4, 6]), {"grade": np.array([4, 1, 1, 1, 2, 3])})
        return pairs_of(Judgments(["a", "b"], lists), SCALE)

    def test_columns(self):
        pairs = self.pairs()
        assert pairs.label.tolist() == [3, 0, 0, 0, 1, 2]
        assert pairs.texts == ["a"] * 4 + ["b"] * 2
        assert [(query, part.tolist()) for query, part in pairs.by_query()] == [("a", [0, 1, 2, 3]), ("b", [4, 5])]

    def test_a_balanced_pool_and_class_weights(self):
        pairs = self.pairs()
        pool = pairs.take(balanced(pairs, 1, seed=0))
        assert pool.counts().tolist() == [1, 1, 1, 1]
        assert variation(pool.counts()) == 0.0
        assert variation(pairs.counts()) > 0.5
        assert class_weights(pairs)[pairs.label].mean() == pytest.approx(1.0)
