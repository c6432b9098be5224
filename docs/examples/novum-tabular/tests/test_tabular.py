"""What the contracts cannot know: the numbers that are meant."""

import novum
import numpy as np
import pytest
import torch
from novum_tabular.binned import Binned, Bins
from novum_tabular.tabular import Brier, Tabular

SIGNATURE = novum.Signature(novum.Vector((2,)), novum.Classes(("no", "yes")))


def part(data, split):
    return Tabular(Tabular.Config(data=data)).source(split, novum.Seed(0), novum.Recipe())


def scored(targets, answer):
    rows = novum.Examples(np.zeros((len(targets), 2)), targets, list("abcd"), seed=novum.Seed(0), batch_size=2)
    return Brier(Brier.Config()).score(lambda inputs, ids: answer, rows, SIGNATURE)


@pytest.mark.parametrize(
    ("data", "sizes"), [("breast_cancer", (343, 113, 113)), ("iris", (90, 30, 30)), ("wine_data", (106, 36, 36))]
)
def test_a_fifth_of_each_table_is_dev_and_a_fifth_is_test(data, sizes):
    found = tuple(part(data, split).size for split in novum.Split)

    assert found == sizes


def test_the_two_irises_with_the_same_numbers_are_in_one_split():
    parts = [set(part("iris", split).ids) for split in novum.Split]

    assert any({"iris-101", "iris-142"} <= ids for ids in parts)


def test_a_number_is_encoded_as_the_share_of_each_bin_below_it():
    bins = Bins(np.array([[0.0, 1.0, 3.0], [5.0, 5.0, 7.0]]))

    encoded = bins.encode(np.array([[2.0, 6.0], [-1.0, 9.0]]))

    assert encoded.tolist() == [[1.0, 0.5, 0.0, 0.5], [0.0, 0.0, 0.0, 1.0]]


def test_the_brier_score_is_the_squared_distance_from_the_truth():
    answer = novum.Prediction(
        torch.tensor([0, 1, 0, 1]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 1.0]])
    )

    scores = scored(np.array([0, 1, 1, 0]), answer)

    assert scores.units["brier"] == [0.0, 0.0, 0.5, 2.0]
    assert scores.metrics["brier"] == 0.625


def test_the_brier_score_of_a_model_without_probabilities_is_undefined():
    scores = scored(np.array([0, 1, 1, 0]), novum.Prediction(torch.tensor([0, 1, 0, 1])))

    assert isinstance(scores.metrics["brier"], novum.Undefined)


@pytest.mark.parametrize(("data", "bar"), [("breast_cancer", 0.1), ("iris", 0.25), ("wine_data", 0.1)])
def test_it_learns(data, bar, tmp_path):
    with novum.Study(tmp_path, executor="inline", debug=True) as study:
        run = study.train(novum.arm(novum.task(Tabular, data=data), novum.model(Binned)))

    assert run.metrics["brier"] < bar
