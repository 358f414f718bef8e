"""The same weights have the same hash, others another one."""

from __future__ import annotations

import copy
import hashlib
import subprocess
import sys

import pytest
import torch
from torch import nn

from nbviz.weights_hash import weights_hash


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def test_it_is_taken_of_names_dtypes_shapes_and_bytes():
    weight = torch.tensor([[1.5, -2.0]])
    linear = nn.Linear(2, 1, bias=False)
    linear.weight = nn.Parameter(weight)
    kind = b"torch.float32 (1, 2)"
    head = b"6:weight=%d:%s\n" % (len(kind), kind)
    assert weights_hash(linear) == hashlib.sha256(head + weight.numpy().tobytes()).hexdigest()


def test_a_copy_another_process_and_the_mode_make_no_difference():
    here = model()
    expected = weights_hash(here)
    assert weights_hash(copy.deepcopy(here).train()) == expected
    assert weights_hash(here.requires_grad_(requires_grad=False).eval()) == expected
    code = (
        "from tests.test_weights_hash import model; from nbviz.weights_hash import weights_hash;"
        "print(weights_hash(model()))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == expected


def rounded(net):
    return net.half()


def reshaped(net):
    net[2].weight = nn.Parameter(net[2].weight.detach().reshape(4, 2))
    return net


def renamed(net):
    return nn.Sequential(*list(net.children())[:2], nn.Identity(), net[2])


def one_bit(net):
    net[0].weight.data.view(torch.int32)[3, 2, 1, 0] ^= 1
    return net


def statistics(net):
    net[1].running_var[2] += 1
    return net


def counted(net):
    net[1].num_batches_tracked += 1
    return net


@pytest.mark.parametrize("change", [rounded, reshaped, renamed, one_bit, statistics, counted])
def test_every_change_shows(change):
    assert weights_hash(change(model())) != weights_hash(model())


def test_minus_zero_and_nan_are_bytes_as_others():
    hashes = set()
    for value in (0.0, -0.0, float("nan"), float("inf")):
        net = model()
        net[2].bias.data[0] = value
        hashes.add(weights_hash(net))
    assert len(hashes) == 4


def test_the_layout_in_memory_makes_no_difference():
    net = model()
    expected = weights_hash(net)
    assert weights_hash(net.to(memory_format=torch.channels_last)) == expected
    net[2].weight.data = net[2].weight.data.T.contiguous().T
    assert weights_hash(net) == expected


class Odd(nn.Module):
    def __init__(self, extra) -> None:
        super().__init__()
        self.register_buffer("none", torch.zeros(0, 3))
        self.register_buffer("waves", torch.tensor([1 + 2j]).conj())
        self.register_buffer("few", torch.eye(3).to_sparse())
        self.register_buffer("short", torch.tensor([1.5], dtype=torch.bfloat16))
        self.register_buffer("flag", torch.tensor(True))
        self.extra = extra

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state


def test_whatever_a_state_dict_holds_is_taken():
    one = {"a": [torch.ones(2), 1], "b": ("x", None)}
    assert weights_hash(Odd(one)) == weights_hash(Odd(copy.deepcopy(one)))
    assert weights_hash(Odd(one)) != weights_hash(Odd({**one, "b": ("y", None)}))
    assert weights_hash(Odd(one)) != weights_hash(Odd({**one, "a": [torch.zeros(2), 1]}))
    assert weights_hash(Odd(object())) == weights_hash(Odd(object()))


def test_weights_without_values_are_refused():
    with pytest.raises(ValueError, match=r"'weight' lies on the meta device; load the weights"):
        weights_hash(nn.Linear(2, 2, bias=False, device="meta"))
