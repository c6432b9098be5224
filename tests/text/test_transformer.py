import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from novum import Classes, ConfigError, DataError, Examples, Recipe, Seed, Signature, Split, Text, Weights
from novum.config import parse
from novum.seeds import installed
from novum_text.tokens import Tokens
from novum_text.transformer import Transformer

from .conftest import CHINESE, task
from .training import accuracy, encoded, no_model, train

SIGNATURE = Signature(Text(), Classes(("no", "yes", "maybe")))
TINY: dict[str, Any] = {"layers": 1, "width": 32, "heads": 2, "max_length": 32, "vocabulary": 1000}


def source(texts: list[str]) -> Examples:
    return Examples(texts, [0] * len(texts), [str(at) for at in range(len(texts))], seed=Seed(0), batch_size=4)


def model(**options: Any) -> Transformer:
    return Transformer(Transformer.Config(**options))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder that `save_pretrained` wrote: a tiny BERT of two classes with 34 positions, and its tokenizer."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    folder = tmp_path_factory.mktemp("checkpoint")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "##s"]
    with installed(Seed(0)):
        net = BertForSequenceClassification(
            BertConfig(
                vocab_size=len(tokens),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=34,
            )
        )
    net.save_pretrained(folder)
    BertTokenizer(vocab={token: at for at, token in enumerate(tokens)}).save_pretrained(folder)
    return str(folder)


# ------------------------------------------------------------------------------------------------- from nothing


def test_a_tiny_one_learns_from_nothing_what_chance_cannot() -> None:
    docs, tiny = task(classes=["_pydecimal", "email", "asyncio"]), model(**TINY)
    chance = docs.observe()["train.majority"].value

    net, preparation = train(docs, tiny, Seed(0), budget="3 epochs", learning_rate=4e-3)

    assert isinstance(chance, float)
    assert accuracy(docs, tiny, net, preparation, Split.DEV) > chance + 0.15


def test_a_chinese_sample_is_learned_character_by_character(write: Any) -> None:
    one, tiny = task(data=write("a.tsv", CHINESE)), model(**TINY)

    net, preparation = train(one, tiny, Seed(0), budget="8 epochs", batch_size=8, learning_rate=4e-3)

    assert isinstance(preparation, Tokens)
    assert len(preparation.encode(["今天下雨"])[0]) == 6
    assert accuracy(one, tiny, net, preparation, Split.TEST) == 1.0


def test_the_tokenizer_survives_dump_and_load() -> None:
    preparation = model(**TINY).prepare(SIGNATURE, source(["some words here", "今天的天气", "more words"]))

    again = Tokens.load(preparation.dump())

    probe = ["some more", "天气 here", "never ☂ seen", ""]
    assert again.encode(probe) == preparation.encode(probe)
    assert (again.size, again.padding, again.max_length) == (preparation.size, preparation.padding, 32)
    assert again.dump() == preparation.dump()


def test_the_tokenizer_is_the_same_in_every_process() -> None:
    code = (
        "import sys; from novum import Examples, Recipe, Seed, Split;"
        "from novum_text.classification import TextClassification as Task; from novum_text.tokens import Tokens;"
        "docs = Task(Task.Config(classes=('typing', 'http', 'xml'))).source(Split.TRAIN, Seed(0), Recipe());"
        "import hashlib; print(hashlib.sha256(Tokens.fit(docs, 2000, 64).dump()['tokenizer.json']).hexdigest())"
    )
    docs = task(classes=["typing", "http", "xml"]).source(Split.TRAIN, Seed(7), Recipe())
    here = hashlib.sha256(Tokens.fit(docs, 2000, 64).dump()["tokenizer.json"]).hexdigest()

    there = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(3)}

    assert there == {here + "\n"}


def test_texts_are_cut_at_the_longest_and_padded_to_the_longest_of_their_batch() -> None:
    preparation = model(**TINY).prepare(SIGNATURE, source(["word other"]))

    long, short = preparation.encode(["word " * 100, "word"])
    table = preparation.collate([long, short])

    assert (len(long), len(short)) == (32, 3)
    assert table["input_ids"].shape == table["attention_mask"].shape == (2, 32)
    assert table["attention_mask"].sum(-1).tolist() == [32, 3]
    assert table["input_ids"][1, 3:].tolist() == [preparation.padding] * 29


def test_padding_changes_no_answer() -> None:
    tiny = model(**TINY)
    preparation = tiny.prepare(SIGNATURE, source(["word other"]))
    net = tiny.build(SIGNATURE, preparation, Seed(0), None).eval()
    short, long = preparation.encode(["word", "other word " * 10])

    alone = tiny.act(net, preparation.collate([short]), explore=False).probabilities
    together = tiny.act(net, preparation.collate([short, long]), explore=False).probabilities

    assert alone is not None and together is not None
    torch.testing.assert_close(alone[0], together[0], rtol=1e-5, atol=1e-6)


def test_the_same_seed_builds_the_same_network_and_another_seed_another() -> None:
    tiny = model(**TINY)
    preparation = tiny.prepare(SIGNATURE, source(["word"]))

    def heads(seed: int) -> Any:
        with installed(Seed(seed)):
            return tiny.build(SIGNATURE, preparation, Seed(seed), None).state_dict()["classifier.weight"]

    assert torch.equal(heads(1), heads(1))
    assert not torch.equal(heads(1), heads(2))


def test_it_starts_from_the_weights_of_another() -> None:
    tiny = model(**TINY)
    preparation = tiny.prepare(SIGNATURE, source(["word"]))
    parent = tiny.build(SIGNATURE, preparation, Seed(0), None).state_dict()
    start = Weights(parent)

    child = tiny.build(SIGNATURE, preparation, Seed(0), start).state_dict()

    assert all(torch.equal(child[name], parent[name]) for name in parent)
    assert not start.skipped


def test_the_loss_is_the_mean_cross_entropy_of_its_batch() -> None:
    tiny = model(**TINY, dropout=0.0)
    examples = source(["a b", "b c d", "c"])
    preparation = tiny.prepare(SIGNATURE, examples)
    net = tiny.build(SIGNATURE, preparation, Seed(0), None)
    batch = encoded(examples.next(no_model), preparation)

    (loss,) = tiny.losses(net, batch)

    chosen = tiny.act(net, batch.inputs, explore=True).probabilities
    assert chosen is not None
    expected = -chosen.gather(1, batch.targets[:, None]).log().mean()
    torch.testing.assert_close(loss.function(net, *loss.arguments), expected)


# ------------------------------------------------------------------------------------------------- checkpoints


def test_a_local_checkpoint_brings_its_tokenizer_and_its_weights(checkpoint: str) -> None:
    from safetensors.torch import load_file

    small = model(checkpoint=checkpoint)
    preparation = small.prepare(SIGNATURE, source(["unused"]))

    net: Any = small.build(SIGNATURE, preparation, Seed(0), None)

    stored = load_file(Path(checkpoint, "model.safetensors"))
    kept = net.state_dict()
    assert preparation.encode(["good films"]) == [[2, 5, 7, 8, 3]]
    assert preparation.max_length == 32
    assert all(torch.equal(kept[name], stored[name]) for name in stored if not name.startswith("classifier"))
    assert kept["classifier.weight"].shape == (3, 16)
    assert net.config.id2label == {0: "no", 1: "yes", 2: "maybe"}


def test_a_local_checkpoint_learns(checkpoint: str, write: Any) -> None:
    small = model(checkpoint=checkpoint)
    files = {split: write(f"{split}.csv", [("good film", "yes"), ("bad film", "no")] * 8) for split in Split}
    one = task(data=files)

    net, preparation = train(one, small, Seed(0), budget="30 epochs", learning_rate=1e-2)

    assert accuracy(one, small, net, preparation, Split.TEST) == 1.0


def test_the_new_head_of_a_checkpoint_follows_the_seed(checkpoint: str) -> None:
    small = model(checkpoint=checkpoint)
    preparation = small.prepare(SIGNATURE, source(["unused"]))

    def head(seed: int) -> Any:
        with installed(Seed(seed)):
            return small.build(SIGNATURE, preparation, Seed(seed), None).state_dict()["classifier.weight"]

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))


def test_loading_leaves_the_settings_of_transformers_alone_and_prints_nothing(
    checkpoint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    small = model(checkpoint=checkpoint)
    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())

    small.build(SIGNATURE, small.prepare(SIGNATURE, source(["unused"])), Seed(0), None)

    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_without_safetensors_is_refused(checkpoint: str, tmp_path: Path) -> None:
    for file in Path(checkpoint).iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    small = model(checkpoint=str(tmp_path))
    preparation = small.prepare(SIGNATURE, source(["unused"]))

    with pytest.raises(DataError, match="could not be loaded"):
        small.build(SIGNATURE, preparation, Seed(0), None)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder '.*gone'.*save_pretrained"):
        model(checkpoint=str(tmp_path / "gone")).prepare(SIGNATURE, source(["unused"]))


def test_an_unreachable_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(DataError, match=r"'novum-tests/none' could not be loaded.*give the folder.*HF_HUB_OFFLINE=1"):
        model(checkpoint="novum-tests/none").prepare(SIGNATURE, source(["unused"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 30}, "no multiple of heads"),
        ({"revision": "main"}, "needs a checkpoint"),
        ({"chekpoint": "x"}, "did you mean 'checkpoint'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(Transformer.Config, options, "model 'transformer'")


def test_checkpoints_and_small_networks_have_recipes_of_their_own() -> None:
    small, large = (model(checkpoint=name).recipe(SIGNATURE) for name in ("", "some/checkpoint"))

    assert large.learning_rate == 5e-5 < small.learning_rate
    assert (large.batch_size, large.warmup, large.clip, large.schedule) == (16, 0.1, 1.0, "linear")


def test_fingerprint_of_a_local_checkpoint_changes_with_any_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    model = Transformer(Transformer.Config(checkpoint=str(tmp_path)))
    before = model.fingerprint()

    (tmp_path / "model.safetensors").write_bytes(b"weights")

    assert len(before) == 64
    assert model.fingerprint() != before
    assert Transformer(Transformer.Config()).fingerprint() == ""
