"""What the functions of torch are called, and which of them count as layers.

A function has many spellings (``torch.relu``, ``F.relu_``, ``x.relu()``); `operation_name` gives
the one that names of layers are made of, and the sets below are of such names.
"""

from __future__ import annotations

from typing import Any


def words(text: str) -> frozenset[str]:
    """The set of names in a long line of them."""
    return frozenset(text.split())


# Functions that only place elements, read properties or make constants: no layers.
STRUCTURAL = words(
    "view view_as reshape reshape_as flatten unflatten ravel permute transpose swapaxes "
    "swapdims t adjoint movedim moveaxis squeeze unsqueeze expand expand_as broadcast_to "
    "broadcast_tensors repeat repeat_interleave tile chunk split split_with_sizes tensor_split "
    "hsplit vsplit dsplit unbind getitem setitem get select narrow index_select gather take "
    "take_along_dim masked_select slice_scatter unfold as_strided roll flip fliplr flipud "
    "rot90 contiguous clone detach requires_grad to type type_as float half double bfloat16 cpu "
    "cuda copy fill zero pin_memory set resize pixel_shuffle pixel_unshuffle channel_shuffle "
    "native_channel_shuffle view_as_real view_as_complex real imag conj resolve_conj zeros ones "
    "full empty arange linspace logspace eye rand randn randint normal uniform tensor as_tensor "
    "scalar_tensor from_numpy meshgrid zeros_like ones_like full_like empty_like rand_like "
    "randn_like new_zeros new_ones new_full new_empty new_tensor deepcopy reduce_ex len iter "
    "contains hash repr format array bool int index data promote_types result_type diagonal "
    "diag_embed block_diag tril triu atleast_1d atleast_2d atleast_3d hann_window "
    "set_default_dtype is_tensor"
)

# Of these only the shape and type of the argument are used.
INDEPENDENT = words(
    "zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros "
    "new_ones new_full new_empty new_tensor"
)

_ALIASES = {"truediv": "div", "rdiv": "div", "rtruediv": "div", "floordiv": "floor_divide"}
_REFLECTED = {"radd": "add", "rsub": "sub", "rmul": "mul", "rmatmul": "matmul", "rpow": "pow"}


def operation_name(function: Any) -> str:
    """Give the plain name of a torch function: ``add`` for ``+``, ``+=``, ``Tensor.add_``.

    Examples
    --------
    >>> operation_name(torch.Tensor.__iadd__), operation_name(torch.nn.functional.relu_)
    ('add', 'relu')
    """
    name = str(getattr(function, "__name__", type(function).__name__))
    name = name.strip("_")
    if name.startswith("i") and name[1:] in {
        "add",
        "sub",
        "mul",
        "truediv",
        "div",
        "pow",
        "matmul",
    }:
        name = name[1:]
    name = _REFLECTED.get(name, name)
    return _ALIASES.get(name, name)
