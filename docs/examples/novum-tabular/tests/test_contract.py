"""What Novum asks of every plugin; a subclass and a fixture for each."""

import pytest
from novum.testing import EvaluatorContract, ModelContract, TaskContract
from novum_tabular.binned import Binned
from novum_tabular.tabular import Brier, Tabular


class TestTabular(TaskContract):
    model = "mlp"
    changed = {"data": "wine_data"}

    @pytest.fixture
    def plugin(self):
        return Tabular


class TestBinned(ModelContract):
    task = {"plugin": "tabular", "data": "wine_data"}

    @pytest.fixture
    def plugin(self):
        return Binned


class TestBrier(EvaluatorContract):
    task = {"plugin": "tabular", "data": "iris"}

    @pytest.fixture
    def plugin(self):
        return Brier
