"""Arguments that the architecture of a model folder may be given: those that shape a network, within bounds.

What reaches the network or the disk (``checkpoint_path``, ``pretrained_cfg``, ``cache_dir``, another model as backbone)
is not among them.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from timm.models import is_model

from ..errors import InputError
from ..models.madrnet import MAX_BILINEAR_DIM, MAX_DEPTH, MAX_EMBED_DIM
from ..models.reversible import MEMORY_MODES
from ..values import Values, is_number

__all__ = ["check_model_args", "is_architecture", "read_model_args"]

_Rule = tuple[str, Callable[[Any], bool]]
"""What is expected, in words, and whether a value is that."""


def _count(low: int, high: int) -> _Rule:
    return f"a whole number from {low} to {high}", lambda v: isinstance(v, int) and is_number(v, low, high)


def _counts(low: int, high: int) -> _Rule:
    """One number, or some."""

    def rule(value: Any) -> bool:
        if isinstance(value, list | tuple):
            return 0 < len(value) <= 8 and all(_count(low, high)[1](item) for item in value)
        return _count(low, high)[1](value)

    return f"a whole number from {low} to {high}, or a list of some", rule


def _number(low: float, high: float) -> _Rule:
    return f"a number from {low:g} to {high:g}", lambda v: is_number(v, low, high)


_FLAG: _Rule = ("true or false", lambda v: isinstance(v, bool))
_WORD: _Rule = (
    "the name of a layer or a kind",
    lambda v: isinstance(v, str) and re.fullmatch("[A-Za-z0-9_]{0,40}", v) is not None,
)
_WIDEST = 8192
_WIDTH, _SIZE, _KERNEL, _RATE = _count(1, _WIDEST), _counts(16, 2048), _counts(1, 64), _number(0, 0.99)


def is_architecture(name: str) -> bool:
    """Whether it is an architecture of timm's registry, with or without a tag; not a folder, not a repository."""
    return re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?", name) is not None and is_model(name.partition(".")[0])


_RULES: dict[str, _Rule] = {
    # of MADRNet
    "backbone": (
        "an architecture of timm without madrnet_",
        lambda v: isinstance(v, str) and is_architecture(v) and not v.startswith("madrnet_"),
    ),
    "depth": _count(0, MAX_DEPTH),
    "memory": (f"one of {', '.join(MEMORY_MODES)}", lambda v: isinstance(v, str) and v in MEMORY_MODES),
    "bilinear_dim": _count(0, MAX_BILINEAR_DIM),
    "embed_dim": _counts(1, MAX_EMBED_DIM),
    **dict.fromkeys(("share_coupling", "acrosome", "pretrained_backbone"), _FLAG),
    "share_norms": ("false: each execution of R has its own norms, sharing them is gone", lambda v: v is False),
    # of timm
    "num_classes": _count(0, 10_000),
    "in_chans": _count(3, 3),
    **dict.fromkeys(
        ("drop_rate", "drop_path_rate", "drop_block_rate", "proj_drop_rate", "attn_drop_rate", "pos_drop_rate",
         "patch_drop_rate"),
        _RATE,
    ),
    **dict.fromkeys(
        ("act_layer", "norm_layer", "aa_layer", "global_pool", "stem_type", "pos_embed", "pad_type", "weight_init",
         "attn_type", "pool_type", "head_fn", "rope_type"),
        _WORD,
    ),
    **dict.fromkeys(
        ("qkv_bias", "qk_norm", "class_token", "no_embed_class", "pre_norm", "final_norm", "fc_norm", "use_fc_norm",
         "dynamic_img_size", "dynamic_img_pad", "strict_img_size", "always_partition", "distilled", "conv_mlp",
         "conv_bias", "head_norm_first", "avg_down", "zero_init_last", "patch_norm", "pool_include_prefix",
         "use_abs_pos_emb", "use_rel_pos_bias", "use_rot_pos_emb", "aa_stem_only", "memory_efficient", "reparam",
         "use_conv", "use_grn", "input_3x3", "preact", "fix_stem"),
        _FLAG,
    ),
    "img_size": _SIZE,
    **dict.fromkeys(("patch_size", "window_size", "kernel_size", "stem_kernel_size", "down_kernel_size"), _KERNEL),
    **dict.fromkeys(("num_heads", "depths", "layers"), _counts(1, MAX_DEPTH)),
    **dict.fromkeys(("dims", "widths", "embed_dims", "channels"), _counts(1, _WIDEST)),
    **dict.fromkeys(("num_features", "head_hidden_size", "stem_width", "stem_size", "base_width", "growth_rate"),
                    _WIDTH),
    **dict.fromkeys(("cardinality", "groups", "reg_tokens", "block_reduce_first", "drop_block_size"), _count(0, 256)),
    "output_stride": ("8, 16 or 32", lambda v: isinstance(v, int) and v in (8, 16, 32)),
    **dict.fromkeys(
        ("mlp_ratio", "expand_ratio", "se_ratio", "attn_ratio", "bottle_ratio", "width_factor", "scale"),
        _number(0.01, 16),
    ),
    **dict.fromkeys(("init_values", "layer_scale_init_value", "ls_init_value", "norm_eps"), _number(0, 10)),
}  # fmt: skip


def check_model_args(args: Mapping[str, Any], where: str) -> None:
    """Refuse an argument that a model folder can't carry, or whose value is out of bounds.

    Args:
        args: By name.
        where: The file, or the option, that they come from.

    Raises:
        InputError: The message names the argument.
    """
    for name, value in args.items():
        if name not in _RULES:
            raise InputError(
                f"{where}: {name!r} is no argument that a model folder may carry; it shapes no network, or none that "
                "is known here"
            )
        expected, fits = _RULES[name]
        if value is not None and not fits(value):
            raise Values({name: value}, where).wrong(name, expected)


def read_model_args(values: Values) -> dict[str, Any]:
    """The arguments in a config.json; lists become tuples, and the backbone's own weights are never fetched.

    Raises:
        InputError: See `check_model_args`.
    """
    check_model_args(values.found, values.where)
    args = {k: tuple(v) if isinstance(v, list) else v for k, v in values.found.items() if v is not None}
    return {k: v for k, v in args.items() if k != "pretrained_backbone"}
