"""Leaving a model as it was: buffers of every kind, and attributes that are not what they seem."""

from __future__ import annotations

import torch
from fixtures.networks import chain, conv
from test_network import everything, small
from torch import nn

from nbviz.undisturbed import undisturbed


def test_buffers_of_every_kind_are_as_before_and_only_what_changed_is_written():
    model = small()
    buffers = {
        "halves": torch.ones(3).half(),
        "flags": torch.tensor([True, False]),
        "count": torch.tensor(3),
        "large": torch.randn(70_000),
        "hole": torch.tensor([1.0, torch.nan]),
        "empty": torch.zeros(0),
        "waves": torch.ones(2) * 1j,
        "turned": torch.randn(4, 6).T,
        "plain": torch.randn(5),
    }
    for name, buffer in buffers.items():
        model.register_buffer(name, buffer)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    plain = buffers["plain"]._version
    with undisturbed(model):
        for name, buffer in model.named_buffers():
            if name != "plain":
                buffer.fill_(0)
    assert buffers["plain"]._version == plain
    with undisturbed(model):
        buffers["halves"].data, buffers["count"].data = torch.zeros(7), torch.zeros(2, 2)
    for name, buffer in model.named_buffers():
        assert buffer.dtype == before[name].dtype
        torch.testing.assert_close(buffer, before[name], rtol=0, atol=0, equal_nan=True)


class Asked(nn.Module):
    """Answers for its training flag itself."""

    training = property(lambda self: self.__dict__["mode"], lambda self, mode: self.change(mode))

    def change(self, mode):
        self.__dict__["mode"] = mode


def test_attributes_come_back_by_name_and_flags_that_are_no_attributes_too():
    model = chain(conv(), Asked()).train()
    model[0].first, model[0].second, model.entries = object(), object(), [1000, {1}]
    before = everything(model)
    second, entries = model[0].second, list(model.entries)
    with undisturbed(model):
        assert not model[1].training
        model[0].third = model[0].second  # the same objects in the same order
        del model[0].second
        model.entries[0] = int("1000")
    assert model[0].second is second
    assert all(a is b for a, b in zip(model.entries, entries, strict=True))
    assert everything(model) == before
