import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from novum import Batch, ConfigError, Model, Seed, Split, Weights
from novum.config import parse
from novum.seeds import installed
from novum_text.bag import Bag, Buckets

from .conftest import CHINESE, task
from .training import accuracy, encoded, train


def test_the_default_recipe_reaches_80_percent_on_the_standard_library() -> None:
    docs, model = task(), Bag(Bag.Config())

    net, preparation = train(docs, model, Seed(0))

    assert accuracy(docs, model, net, preparation, Split.DEV) >= 0.80
    assert accuracy(docs, model, net, preparation, Split.TEST) >= 0.80


def test_a_chinese_sample_is_learned(write: Callable[..., str]) -> None:
    one, model = task(data=write("a.tsv", CHINESE)), Bag(Bag.Config(buckets=1024, dimension=16))

    net, preparation = train(one, model, Seed(0), budget="40 epochs")

    assert accuracy(one, model, net, preparation, Split.TEST) == 1.0


def test_buckets_are_the_crc_of_words_and_edged_characters() -> None:
    encode = Buckets(1000, words=(1, 2), characters=(3, 3)).encode

    (found,) = encode(["Ab c"])

    grams = ["wab", "wc", "wab c", "c<ab", "cab>", "c<c>"]
    assert found.tolist() == sorted({1 + zlib.crc32(gram.encode()) % 999 for gram in grams})
    assert found.dtype == np.int32


def test_a_chinese_character_is_a_word() -> None:
    encode = Buckets(2**20, words=(1, 1), characters=(1, 0)).encode

    joined, apart, other = encode(["天气好", "好 气 天", "天气坏"])

    assert joined.tolist() == apart.tolist() != other.tolist()


def test_padding_changes_no_answer() -> None:
    preparation = Buckets(256, (1, 2), (3, 5))
    model = Bag(Bag.Config(buckets=256, dimension=8))
    net = model.build(task(classes=["email", "xml"]).signature(), preparation, Seed(0), None).eval()
    short, long = preparation.encode(["one", "one two three four five six"])

    alone = net(preparation.collate([short]))
    together = net(preparation.collate([short, long]))

    torch.testing.assert_close(alone[0], together[0], rtol=1e-6, atol=1e-7)


def test_a_blank_text_has_an_answer() -> None:
    preparation = Buckets(256, (1, 2), (3, 5))
    model = Bag(Bag.Config(buckets=256))
    net = model.build(task().signature(), preparation, Seed(0), None).eval()

    answer = model.act(net, preparation.collate(preparation.encode(["", " \n"])), explore=False)

    assert answer.value.shape == (2,)
    assert answer.probabilities is not None
    torch.testing.assert_close(answer.probabilities.sum(-1), torch.ones(2))


def test_the_preparation_survives_dump_and_load() -> None:
    preparation = Buckets(512, (1, 3), (2, 4))

    again = Buckets.load(preparation.dump())

    assert [row.tolist() for row in again.encode(["some text"])] == [
        row.tolist() for row in preparation.encode(["some text"])
    ]


def built(model: Model, seed: int, start: Weights | None = None) -> torch.nn.Module:
    with installed(Seed(seed)):
        return model.build(task().signature(), Buckets(64, (1, 2), (3, 5)), Seed(seed), start)


def test_the_same_seed_builds_the_same_network_and_another_seed_another() -> None:
    model = Bag(Bag.Config(buckets=64))

    first, again, other = (built(model, seed).state_dict()["0.weight"] for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_it_starts_from_the_weights_of_another() -> None:
    model = Bag(Bag.Config(buckets=64))
    parent = built(model, 1).state_dict()
    start = Weights(parent)

    child = built(model, 2, start).state_dict()

    assert all(torch.equal(child[name], parent[name]) for name in parent)
    assert start.loaded == ("0.weight", "2.bias", "2.weight")


def test_smoothing_mixes_the_target_with_all_classes() -> None:
    preparation = Buckets(64, (1, 2), (3, 5))
    batch = encoded(Batch(["a", "b"], np.array([0, 3]), 2), preparation)
    net = built(Bag(Bag.Config(buckets=64)), 0).eval()

    plain, smooth = (
        loss.function(net, *loss.arguments)
        for share in (0.0, 0.3)
        for loss in Bag(Bag.Config(buckets=64, label_smoothing=share)).losses(net, batch)
    )

    even = -net(batch.inputs).log_softmax(-1).mean()
    torch.testing.assert_close(smooth, 0.7 * plain + 0.3 * even)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": (3, 2)}, "shortest must not exceed the longest"),
        ({"words": (1, 0), "characters": (1, 0)}, "needs one of them"),
        ({"bucket": 3}, "did you mean 'buckets'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(Bag.Config, options, "model 'bag'")
