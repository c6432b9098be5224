"""Hidden tokens: which are chosen, what is learned from them, and what another arm takes over."""

import math
from pathlib import Path
from typing import Any

import novum
import pytest
import torch
from novum import (
    Batch,
    ConfigError,
    DataError,
    Examples,
    MismatchError,
    Prediction,
    Recipe,
    Seed,
    Signature,
    Split,
    Text,
    Undefined,
    Weights,
)
from novum.config import parse
from novum.seeds import installed
from novum_text.classification import TextClassification
from novum_text.masked_texts import MaskedTexts
from novum_text.masked_tokens import Hidden, MaskedTokens
from novum_text.masked_transformer import MaskedTransformer
from novum_text.masking import Masking, noise
from novum_text.tokens import Tokens
from novum_text.transformer import Transformer

from .conftest import task
from .training import no_model

SIGNATURE = Signature(Text(), Hidden())
TINY: dict[str, Any] = {"layers": 1, "width": 16, "heads": 2, "max_length": 32, "vocabulary": 300}
TEXTS = [
    f"{first} and {second} went to the {place}" for first in "abcdef" for second in "xyz" for place in ("sea", "zoo")
]
MASKING = Masking(mask=4, special=(0, 1, 2, 3, 4), size=1000, share=0.15)


def model(**options: Any) -> MaskedTransformer:
    return MaskedTransformer(MaskedTransformer.Config(**(TINY | options)))


def source(texts: list[str]) -> Examples:
    return Examples(texts, None, [str(at) for at in range(len(texts))], seed=Seed(0), batch_size=4)


def rows(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids between two ends, padded with 0, and their attention mask."""
    ids = torch.zeros(len(lengths), max(lengths) + 2, dtype=torch.int64)
    for row, length in enumerate(lengths):
        ids[row, : length + 2] = torch.tensor([2, *range(10 + row, 10 + row + length), 3])
    return ids, (ids != 0).long()


def batch(inputs: Any, count: int) -> Batch:
    return Batch(inputs, None, count, tuple(str(at) for at in range(count)))


def built(one: MaskedTransformer, texts: list[str] = TEXTS) -> tuple[torch.nn.Module, Tokens]:
    preparation = one.prepare(SIGNATURE, source(texts))
    with installed(Seed(0)):
        return one.build(SIGNATURE, preparation, Seed(0), None), preparation


# ------------------------------------------------------------------------------------------------ what is hidden


def test_of_every_text_fifteen_percent_are_named_and_at_least_one() -> None:
    ids, attention = rows(100, 40, 3, 1, 0)

    with installed(Seed(1)):
        masked = MASKING.drawn(ids, attention)

    assert masked.named.sum(1).tolist() == [15, 6, 1, 1, 0]
    assert all(len(set(places)) == len(places) for places in masked.places.tolist())
    assert not torch.isin(masked.targets[masked.named], torch.tensor(MASKING.special)).any()
    elsewhere = torch.ones_like(ids, dtype=torch.bool).scatter(1, masked.places, ~masked.named)
    assert torch.equal(masked.ids[elsewhere], ids[elsewhere])
    assert torch.equal(ids.gather(1, masked.places), masked.targets)


def test_training_hides_eighty_percent_replaces_ten_and_leaves_ten() -> None:
    ids, attention = rows(*[120] * 400)

    with installed(Seed(2)):
        masked = MASKING.drawn(ids, attention)

    shown, were = masked.ids.gather(1, masked.places)[masked.named], masked.targets[masked.named]
    shares = [float(each.float().mean()) for each in (shown == 4, (shown != 4) & (shown != were), shown == were)]
    assert len(were) == 400 * 18
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.015)


def test_what_training_hides_follows_from_the_stream_alone_and_differs_from_batch_to_batch() -> None:
    ids, attention = rows(40, 30)

    with installed(Seed(3)):
        first, second = MASKING.drawn(ids, attention), MASKING.drawn(ids, attention)
    with installed(Seed(3)):
        again = MASKING.drawn(ids, attention)

    assert torch.equal(first.ids, again.ids)
    assert not torch.equal(first.places, second.places)


def test_scoring_hides_the_same_tokens_of_a_text_whatever_its_company_and_all_of_them() -> None:
    ids, attention = rows(60, 20, 35)

    with installed(Seed(4)):
        before = torch.get_rng_state()
        together = MASKING.fixed(ids, attention)
        drew = not torch.equal(before, torch.get_rng_state())
    alone = MASKING.fixed(ids[1:2, :22], attention[1:2, :22])

    assert not drew
    assert together.places[1][together.named[1]].tolist() == alone.places[0][alone.named[0]].tolist()
    assert set(together.ids.gather(1, together.places)[together.named].tolist()) == {MASKING.mask}


def test_what_scoring_hides_is_spread_evenly_over_places_and_differs_between_texts() -> None:
    ids, attention = rows(*[50] * 500)

    values = noise(ids, attention)[:, 1:-1]

    assert float(values.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(values.std()) == pytest.approx(math.sqrt(1 / 12), abs=0.01)
    assert values.mean(0).sub(0.5).abs().max() < 0.06  # no place is favoured: four standard errors are 0.052
    assert len(torch.unique(values)) == values.numel()


# ------------------------------------------------------------------------------------------------ what is learned


def test_a_batch_in_pieces_has_the_loss_and_gradient_of_the_whole() -> None:
    one = model(dropout=0.0)
    net, preparation = built(one)
    texts = ["sea", *TEXTS[:5], "to the zoo and to the sea and to the zoo again"]  # of several lengths
    inputs = preparation.collate(preparation.encode(texts))

    with installed(Seed(5)):
        (loss,) = one.losses(net, batch(inputs, len(texts)))
    whole = loss.function(net, *loss.arguments)
    whole.backward()
    expected = {name: param.grad.clone() for name, param in net.named_parameters() if param.grad is not None}
    net.zero_grad()
    parts = []
    for at in (slice(0, 3), slice(3, 7)):
        piece = [each[at] for each in loss.arguments]
        value = loss.function(net, *piece) * (len(piece[0]) / len(texts))
        value.backward()
        parts.append(value.item())

    assert sum(parts) == pytest.approx(whole.item(), rel=1e-5)
    found = {name: param.grad for name, param in net.named_parameters() if param.grad is not None}
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)


def test_the_loss_is_the_mean_over_all_hidden_tokens() -> None:
    one = model(dropout=0.0)
    net, preparation = built(one)
    inputs = preparation.collate(preparation.encode(["sea", TEXTS[0], TEXTS[1] + " " + TEXTS[2]]))

    with installed(Seed(6)):
        (loss,) = one.losses(net, batch(inputs, 3))
    with installed(Seed(6)):
        masked = net.masking.drawn(inputs["input_ids"], inputs["attention_mask"])
    logits = net(input_ids=masked.ids, attention_mask=inputs["attention_mask"]).logits  # every token, by the library
    labels = torch.full_like(masked.ids, -100).scatter(
        1, masked.places, torch.where(masked.named, masked.targets, -100)
    )
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

    assert loss.function(net, *loss.arguments).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_tiny_one_learns_what_the_commonest_token_does_not_tell(study: Any) -> None:
    arm = novum.arm(
        novum.task("masked-language-modelling", classes=["_pydecimal"]),
        novum.model("masked-transformer", **(TINY | {"width": 32, "dropout": 0.0})),
        budget="25 epochs",
        learning_rate=5e-3,
        batch_size=16,
    )

    run = study.train(arm)

    first, last = run.curve[0]["metrics"], run.metrics
    assert last["cross_entropy"] < first["cross_entropy"] - 0.3
    assert last["perplexity"] == pytest.approx(math.exp(last["cross_entropy"]))
    with study.reading() as ledger:
        (row,) = ledger.trials()
        chance = ledger.scores([row["key"]], "dev")[row["key"]]["tables"]["tokens"]["hidden"]["chance"]
    assert last["accuracy"] > chance + 0.02


# ------------------------------------------------------------------------------------------- what is taken over


@pytest.mark.parametrize("texts", [["good words here"], TEXTS])
def test_a_classifier_takes_over_all_but_its_head(texts: list[str]) -> None:
    one = model()
    net, preparation = built(one, texts)
    child = Transformer(Transformer.Config(**TINY))
    weights = Weights({name: tensor.clone() for name, tensor in net.state_dict().items()})
    adopted = Tokens.load(preparation.dump())

    started = child.build(task().signature(), adopted, Seed(1), weights)

    assert set(weights.skipped) == {
        *(f"bert.pooler.dense.{part}" for part in ("weight", "bias")),
        *(f"classifier.{part}" for part in ("weight", "bias")),
    }
    assert all(torch.equal(started.state_dict()[name], net.state_dict()[name]) for name in weights.loaded)
    assert adopted.encode(texts) == preparation.encode(texts)
    assert (adopted.mask, adopted.special) == (preparation.mask, preparation.special)


def test_the_tokenizer_of_a_classifier_is_what_it_was_and_hides_nothing() -> None:
    plain, masks = (Tokens.fit(source(TEXTS), 300, 32, masks=masks) for masks in (False, True))

    assert (plain.mask, masks.mask) == (None, 4)
    assert (plain.special, masks.special) == ((0, 1, 2, 3), (0, 1, 2, 3, 4))
    assert b"mask" not in plain.dump()["tokens.json"]
    assert [token - (token > 3) for token in masks.encode(TEXTS[:1])[0]] == plain.encode(TEXTS[:1])[0]


def test_a_start_without_a_mask_token_is_refused() -> None:
    plain = Tokens.fit(source(TEXTS), 300, 32)

    with pytest.raises(DataError, match="the parent's tokenizer has no mask token"):
        model().build(SIGNATURE, plain, Seed(0), None)


def test_a_checkpoint_goes_on_learning_its_own_masked_tokens(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM, BertTokenizer

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film"]
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    with installed(Seed(0)):
        saved = BertForMaskedLM(BertConfig(vocab_size=len(tokens), max_position_embeddings=34, **size))
    saved.save_pretrained(tmp_path)
    BertTokenizer(vocab={token: at for at, token in enumerate(tokens)}).save_pretrained(tmp_path)
    one = MaskedTransformer(MaskedTransformer.Config(checkpoint=str(tmp_path)))

    net, preparation = built(one, ["unused"])

    assert (preparation.mask, preparation.special) == (4, (0, 1, 2, 3, 4))
    assert all(torch.equal(tensor, saved.state_dict()[name]) for name, tensor in net.state_dict().items())
    answer = one.act(net.eval(), preparation.collate(preparation.encode(["good film", "bad"])), explore=False)
    assert answer.value.shape == (2, 1)


def test_a_checkpoint_without_a_mask_token_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    words = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, marks["unk_token"]))
    PreTrainedTokenizerFast(tokenizer_object=words, **marks).save_pretrained(tmp_path)
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertForMaskedLM(BertConfig(vocab_size=2, max_position_embeddings=32, **size)).save_pretrained(tmp_path)

    with pytest.raises(DataError, match="has no mask token, so that no token can be hidden"):
        MaskedTransformer(MaskedTransformer.Config(checkpoint=str(tmp_path))).prepare(SIGNATURE, source(TEXTS))


# ------------------------------------------------------------------------------------------------ task and scores


def test_it_has_the_splits_of_the_classification_of_the_same_data_and_no_targets() -> None:
    options: dict[str, Any] = {"classes": ("http", "xml", "typing")}
    masked, named = MaskedTexts(MaskedTexts.Config(**options)), TextClassification(TextClassification.Config(**options))

    for split in Split:
        mine, theirs = (each.source(split, Seed(0), Recipe()) for each in (masked, named))
        assert mine.hashes() == theirs.hashes()
        assert mine.next(no_model).targets is None


def test_a_file_needs_no_column_of_labels(tmp_path: Path) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("text\n" + "".join(f"{text}\n" for text in TEXTS))
    one = MaskedTexts(MaskedTexts.Config(data=str(file), label=""))

    sizes = [one.source(split, Seed(0), Recipe()).size for split in Split]

    assert sum(sizes) == len(TEXTS) and min(sizes) > 0
    with pytest.raises(DataError, match="there is no column 'label'"):
        MaskedTexts(MaskedTexts.Config(data=str(file))).source(Split.TRAIN, Seed(0), Recipe())
    with pytest.raises(ConfigError, match="label"):
        parse(TextClassification.Config, {"data": str(file), "label": ""}, "task")


def test_chance_is_the_share_of_the_commonest_word(tmp_path: Path) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("text\n" + "".join(f"the cat saw the {thing}\n" for thing in range(50)))

    seen = MaskedTexts(MaskedTexts.Config(data=str(file), label="")).observe()

    assert seen.scale is not None and seen.scale.chance == pytest.approx(2 / 5)
    assert "'the'" in seen["train.majority"].about


def answering(value: list[list[int]], targets: list[list[int]], logs: list[list[float]]) -> Any:
    def act(inputs: Any, ids: Any = (), explore: bool = False) -> Prediction:
        extras = {"targets": torch.tensor(targets), "log_probabilities": torch.tensor(logs)}
        return Prediction(torch.tensor(value), extras=extras)

    return act


def test_scores_are_over_tokens_and_their_parts_are_kept_by_text() -> None:
    act = answering([[7, 8, 9], [7, -1, -1]], [[7, 7, 9], [7, -1, -1]], [[-1.0, -2.0, -0.5], [-0.5, 0.0, 0.0]])

    scores = MaskedTokens(MaskedTokens.Config()).score(act, source(["one two three", "four"]), SIGNATURE)

    assert scores.metrics == {
        "accuracy": 3 / 4,
        "cross_entropy": pytest.approx(1.0),
        "perplexity": pytest.approx(math.e),
    }
    assert scores.units == {"id": ["0", "1"], "tokens": [3, 1], "right": [2, 1], "surprise": [3.5, 0.5]}
    assert scores.tables["tokens"]["hidden"] == {"count": 4.0, "chance": 3 / 4}


def test_a_split_without_any_token_has_no_score_and_says_why() -> None:
    scores = MaskedTokens(MaskedTokens.Config()).score(answering([[-1]], [[-1]], [[0.0]]), source([""]), SIGNATURE)

    assert all(isinstance(value, Undefined) for value in scores.metrics.values())


def test_answers_of_a_model_that_names_no_tokens_are_refused() -> None:
    def act(inputs: Any, ids: Any = (), explore: bool = False) -> Prediction:
        return Prediction(torch.zeros(len(inputs), dtype=torch.int64))

    with pytest.raises(MismatchError, match="such as 'masked-transformer'"):
        MaskedTokens(MaskedTokens.Config()).score(act, source(["a"]), SIGNATURE)
