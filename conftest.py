"""Names that examples in docstrings may use."""

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def names_in_examples(doctest_namespace):
    doctest_namespace |= {"np": np, "torch": torch, "nn": torch.nn}
