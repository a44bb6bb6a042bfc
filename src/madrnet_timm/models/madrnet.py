"""MADRNet: any timm backbone B, reversible interaction R, bilinear pooling P and classifier C (eq. 1).

Paper: Yang, Sun, Huang, Zhang, Zhang, "Morphology-Aware Dual-path Reversible Network for Sperm Classification".

``MADRNet(x) = C(P(R^(n)(B(x))))``. Importing this module registers ``madrnet_<architecture>`` for every architecture
that the installed timm lists.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timm.layers import get_norm_layer
from timm.models import (
    DefaultCfg,
    PretrainedCfg,
    build_model_with_cfg,
    generate_default_cfgs,
    get_pretrained_cfg,
    group_parameters,
    is_model,
    list_models,
    model_entrypoint,
    register_model,
)
from timm.optim import auto_group_layers
from torch import nn

from .._compat import feature_take_indices
from ..errors import InputError
from .backbone import create_backbone, remove_idle
from .bilinear import BilinearPool
from .interaction import ReversibleInteraction
from .pretrained import Published, published_models, weights_file, weights_loaded
from .reversible import MEMORY_MODES

__all__ = ["MAX_BILINEAR_DIM", "MAX_DEPTH", "MAX_EMBED_DIM", "MADRNet"]

MAX_DEPTH = 64
"""Most executions of R; the paper tries 1 to 6."""
MAX_BILINEAR_DIM = 1024
"""Largest width of P's branches, whose square a layer takes; the paper's is 64."""
MAX_EMBED_DIM = 8192
"""Largest width of the embedding; the paper's is 128."""

_PREFIX = "madrnet_"
_WEIGHTS = "model.safetensors"


class MADRNet(nn.Module):
    """Morphology-aware dual-path reversible network around a timm backbone.

    Args:
        backbone: timm architecture of B, with or without a pretrained tag.
        in_chans: Channels of the image.
        num_classes: Classes; 0 leaves the classifier out, and `forward` gives the embedding.
        global_pool: ``"bilinear"`` (P, eqs. 7-10), ``"avg"`` (global average pooling in P's place: the plain head of
            the ablation, Table IV) or ``""`` (no head at all: the map; only with ``num_classes=0``).
        depth: Executions n of R, at most `MAX_DEPTH`; 0 leaves R out.
        share_coupling: F and G of R shared by all executions.
        memory: What R keeps for the backward pass: ``"plain"`` all activations, ``"checkpoint"`` the input of each
            execution, ``"reversible"`` its output alone. `set_memory` changes it.
        norm_layer: Norm layer of R, a name known to timm or a callable: BatchNorm2d (default), GroupNorm, LayerNorm2d.
        bilinear_dim: Width D of P's branches; 0 means ``global_pool="avg"``.
        embed_dim: Width of the embedding, the input of the classifier.
        acrosome: Acrosome mask in every dual attention (AAC of Table V).
        drop_rate: Dropout between embedding and classifier.
        proj_drop_rate: Dropout after F of R.
        pretrained_backbone: Load timm's weights into B. To be told from timm's ``pretrained``, which means the
            weights of the whole MADRNet.
        backbone_args: Passed to the backbone's constructor: ``drop_path_rate``, ``img_size``, ...
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "bilinear",
        depth: int = 3,
        share_coupling: bool = True,
        memory: str = "plain",
        norm_layer: str | Callable[..., nn.Module] = "batchnorm2d",
        bilinear_dim: int = 64,
        embed_dim: int = 128,
        acrosome: bool = True,
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.1,
        pretrained_backbone: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **backbone_args: Any,
    ) -> None:
        super().__init__()
        if not 0 <= depth <= MAX_DEPTH:
            raise ValueError(f"depth={depth}: expected 0 (no reversible interaction) to {MAX_DEPTH}")
        if not 0 <= bilinear_dim <= MAX_BILINEAR_DIM:
            raise ValueError(f"bilinear_dim={bilinear_dim}: expected 0 (global_pool='avg') to {MAX_BILINEAR_DIM}")
        if not 1 <= embed_dim <= MAX_EMBED_DIM:
            raise ValueError(f"embed_dim={embed_dim}: expected 1 to {MAX_EMBED_DIM}")
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.depth = depth
        self.grad_checkpointing = False
        self.embedding_training = False
        self.pruned_to: int | None = None  # level of the backbone that the model ends with
        self.pruned_norm = False
        self.input_check: Callable[[torch.Tensor, bool], None] | None = None  # of weights that know their images
        dd: dict[str, Any] = {"device": device, "dtype": dtype}

        self.backbone, self.to_map, (self.num_features, *pool_size), self.img_size = create_backbone(
            backbone, in_chans, pretrained_backbone, **backbone_args, **dd
        )
        self.pool_size = tuple(pool_size)
        norm = get_norm_layer(norm_layer)
        r_args = (self.num_features, depth, share_coupling, norm, proj_drop_rate, acrosome, memory)
        self.reversible = ReversibleInteraction(*r_args, **dd) if depth else nn.Identity()
        self.feature_info = _feature_info(self.backbone, self.num_features)

        self.bilinear_dim = bilinear_dim
        self.acrosome = acrosome
        self.embed_dim = embed_dim
        self.head_drop = nn.Dropout(drop_rate)
        self._reset_head(num_classes, "avg" if global_pool == "bilinear" and not bilinear_dim else global_pool, **dd)

    def _reset_head(self, num_classes: int, global_pool: str, **dd: Any) -> None:
        if global_pool not in ("bilinear", "avg", ""):
            raise ValueError(f"global_pool={global_pool!r}: expected 'bilinear', 'avg' or ''")
        if global_pool == "" and num_classes > 0:
            raise ValueError(f"global_pool='' gives a map and needs num_classes=0, not {num_classes}")
        if global_pool == "bilinear" and not self.bilinear_dim:
            raise ValueError("global_pool='bilinear' needs bilinear_dim > 0")
        if getattr(self, "global_pool", None) != global_pool:
            self.global_pool = global_pool
            self.pool: nn.Module = nn.Identity()
            self.embedding: nn.Module = nn.Identity()
            in_features = self.num_features
            if global_pool == "bilinear":
                self.pool = BilinearPool(self.num_features, self.bilinear_dim, acrosome=self.acrosome, **dd)
                in_features = self.pool.num_features
            elif global_pool == "avg":
                self.pool = _AvgPool()
            if global_pool:
                self.embedding = nn.Sequential(
                    nn.Linear(in_features, self.embed_dim, **dd), nn.BatchNorm1d(self.embed_dim, **dd)
                )
            self.head_hidden_size = self.embed_dim if global_pool else self.num_features
        self.num_classes = num_classes
        self.classifier = nn.Linear(self.embed_dim, num_classes, **dd) if num_classes > 0 else nn.Identity()

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Names of the backbone's parameters that timm keeps out of weight decay."""
        names = self.backbone.no_weight_decay() if hasattr(self.backbone, "no_weight_decay") else ()
        return {f"backbone.{name}" for name in names}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Layer groups for layer-wise decay, by name: the backbone's own, then R, P and the embedding with C."""
        if hasattr(self.backbone, "group_matcher"):
            groups = group_parameters(self.backbone, self.backbone.group_matcher(coarse), reverse=True)
        else:
            groups = auto_group_layers(self.backbone)
        own = {"reversible": 1, "pool": 2, "embedding": 3, "classifier": 3}
        last = max(groups.values())

        def group_of(name: str) -> int:
            part, _, rest = name.partition(".")
            return groups[rest] if part == "backbone" else last + own[part]

        return group_of

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the backbone's activations in the backward pass instead of keeping them."""
        self.backbone.set_grad_checkpointing(enable)
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def set_memory(self, memory: str) -> None:
        """Choose what R keeps for the backward pass; see the constructor's ``memory``."""
        if memory not in MEMORY_MODES:
            raise ValueError(f"memory={memory!r}: expected one of {', '.join(MEMORY_MODES)}")
        if isinstance(self.reversible, ReversibleInteraction):
            self.reversible.memory = memory

    @torch.jit.ignore
    def set_embedding_training(self, enable: bool = True) -> None:
        """Let `forward` in train mode return ``(logits, embedding)``, which the hybrid loss needs."""
        self.embedding_training = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier; P and the embedding only where ``global_pool`` changes.

        ``global_pool=None`` keeps the pooling; a model without one gets its default back where there are classes.
        """
        pool = self.global_pool if global_pool is None else global_pool
        if global_pool is None and num_classes > 0:
            pool = pool or ("bilinear" if self.bilinear_dim else "avg")
        param = next(self.parameters())
        self._reset_head(num_classes, pool, device=param.device, dtype=param.dtype)
        for module in (self.pool, self.embedding, self.classifier):
            module.train(self.training)

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """Maps of the backbone's levels and, as the last level, of R.

        Args:
            x: Images, ``(batch, in_chans, height, width)``.
            indices: Levels: the last n if an int, the levels listed, all if None.
            norm: Apply the backbone's last norm to its maps.
            stop_early: Stop after the last level asked for; only with ``intermediates_only``.
            output_fmt: Only ``"NCHW"``.
            intermediates_only: Leave the final map out.

        Returns:
            The maps, or ``(final map, maps)``.

        Raises:
            ValueError: Another ``output_fmt``, or ``stop_early`` without ``intermediates_only``.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt={output_fmt!r}: expected 'NCHW'")
        if stop_early and not intermediates_only:
            raise ValueError("stop_early=True leaves the final map unfinished and needs intermediates_only=True")
        levels = len(self.feature_info)
        take, _ = feature_take_indices(levels, indices)
        backbone_levels = levels - 1 if self.pruned_to is None else levels
        backbone_take = [i for i in take if i < backbone_levels]
        args: dict[str, Any] = {"norm": norm, "output_fmt": "NCHW"}
        if self.pruned_to is not None or (intermediates_only and backbone_take == take):
            args |= {"stop_early": stop_early or self.pruned_to is not None, "intermediates_only": True}
            maps = self.backbone.forward_intermediates(x, indices=backbone_take, **args)
            return maps if intermediates_only else (self.forward_features(x), maps)
        features, maps = self.backbone.forward_intermediates(x, indices=backbone_take or [levels - 2], **args)
        features = self.reversible(self.to_map(features, x.shape[-2], x.shape[-1]))
        maps = [*(maps if backbone_take else []), *([features] if levels - 1 in take else [])]
        return maps if intermediates_only else (features, maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what is not needed for the levels ``indices``; the model then ends with the last of them.

        A model that ends below R gives that level as its map, with the backbone's last norm unless it is dropped, too;
        TorchScript does not take it.

        Args:
            indices: As in `forward_intermediates`.
            prune_norm: Drop the backbone's last norm where R goes; R needs it.
            prune_head: Drop P and C; they go anyway where R goes.

        Returns:
            The levels as absolute indices.
        """
        levels = len(self.feature_info)
        take, last = feature_take_indices(levels, indices)
        if last < levels - 1 or self.pruned_to is not None:
            self.pruned_to, self.pruned_norm = last, not prune_norm
            args: dict[str, Any] = {"indices": take, "stop_early": True, "intermediates_only": True}

            def maps(backbone: Any, x: torch.Tensor) -> list[torch.Tensor]:
                out = backbone.forward_intermediates(x, norm=False, **args)
                if self.pruned_norm:
                    try:
                        out = out + backbone.forward_intermediates(x, norm=True, **args)
                    except AssertionError:  # a family without norms for its levels
                        self.pruned_norm = False
                return out

            shapes = remove_idle(self.backbone, (self.in_chans, *self.img_size), maps)
            self.pool_size = tuple(shapes[take.index(last)][2:])
            self.reversible = self.to_map = nn.Identity()
            self.feature_info = self.feature_info[: last + 1]
            self.num_features = self.feature_info[last]["num_chs"]
            prune_head = True
        if prune_head:
            self.reset_classifier(0, "")
        return take

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """``R(B(x))``: images to the map ``(batch, num_features, h, w)``."""
        if not torch.jit.is_scripting():
            self._check_input(x)
        if self.pruned_to is not None:
            return self._forward_level(x)
        return self.reversible(self.to_map(self.backbone(x), x.shape[-2], x.shape[-1]))

    @torch.jit.unused
    def _check_input(self, x: torch.Tensor) -> None:
        if self.input_check is not None:
            self.input_check(x, self.training)

    @torch.jit.unused
    def _forward_level(self, x: torch.Tensor) -> torch.Tensor:
        args: dict[str, Any] = {"norm": self.pruned_norm, "stop_early": True, "intermediates_only": True}
        return self.backbone.forward_intermediates(x, indices=[self.pruned_to], **args)[0]

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """``C(P(x))``: a map to logits, or with ``pre_logits`` to the embedding ``(batch, head_hidden_size)``."""
        x = self.embedding(self.pool(x))
        return x if pre_logits else self.classifier(self.head_drop(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forward_features(x)
        if self.embedding_training and self.training and not torch.jit.is_scripting():
            embedding = self.forward_head(x, pre_logits=True)
            return self.classifier(self.head_drop(embedding)), embedding  # type: ignore[return-value]
        return self.forward_head(x)


class _AvgPool(nn.Module):
    """Global average pooling, ``(batch, C, h, w)`` to ``(batch, C)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def _feature_info(backbone: nn.Module, num_features: int) -> list[dict[str, Any]]:
    """The backbone's levels and, after them, the map of R."""
    info = getattr(backbone, "feature_info", None)
    if not info:
        return []
    levels = [dict(level, module=f"backbone.{level['module']}") for level in info]
    return [*levels, {"num_chs": num_features, "reduction": levels[-1]["reduction"], "module": "reversible"}]


def _first_conv(cfg: PretrainedCfg) -> str | tuple[str, ...] | None:
    if isinstance(cfg.first_conv, list | tuple):
        return tuple(f"backbone.{name}" for name in cfg.first_conv)
    return f"backbone.{cfg.first_conv}" if cfg.first_conv else None


def _cfg(architecture: str) -> PretrainedCfg:
    """Configuration of ``madrnet_<architecture>`` without weights: the input of the backbone's default weights."""
    module = sys.modules[model_entrypoint(architecture).__module__]
    default = getattr(module, "default_cfgs", {}).get(architecture)
    # the module's own table, where there is one: get_pretrained_cfg copies deeply, which takes 0.2 s over all names
    if isinstance(default, DefaultCfg):
        cfg = default.cfgs[default.tags[0]]
    else:
        cfg = get_pretrained_cfg(architecture) or PretrainedCfg()
    return PretrainedCfg(
        input_size=cfg.input_size,
        test_input_size=cfg.test_input_size,
        min_input_size=cfg.min_input_size,
        fixed_input_size=cfg.fixed_input_size,
        interpolation=cfg.interpolation,
        crop_pct=cfg.crop_pct,
        test_crop_pct=cfg.test_crop_pct,
        crop_mode=cfg.crop_mode,
        mean=cfg.mean,
        std=cfg.std,
        pool_size=cfg.pool_size,
        test_pool_size=cfg.test_pool_size,
        first_conv=_first_conv(cfg),
        classifier="classifier",
    )


_backbones = [name for name in list_models() if not name.startswith(_PREFIX)]
_plain = {_PREFIX + name: _cfg(name) for name in _backbones}


def _published_cfg(entry: Published) -> PretrainedCfg:
    """Configuration of a name with weights; where they lie is found out when they are asked for."""
    found = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.cfg.items()}
    plain = _plain[entry.architecture]
    if plain.pool_size is not None:
        found["pool_size"] = _pool_size_at(found["input_size"][1:], plain.pool_size, plain.input_size[1:])
    return replace(plain, hf_hub_id=f"{entry.repository}@{entry.revision}", **found)


def _pool_size_at(size: Sequence[int], pool_size: Sequence[int], built_for: Sequence[int]) -> tuple[int, ...]:
    """Size of the map of images of one size, given that of images of another; an incomplete cell at the edge counts."""
    return tuple(-(-pool * wanted // built) for wanted, pool, built in zip(size, pool_size, built_for, strict=True))


def _cfgs() -> dict[str, PretrainedCfg]:
    """Of all names; an architecture with published weights has tagged names alone, one of them its default (``*``)."""
    published = [entry for entry in published_models().values() if entry.architecture in _plain]
    with_weights = {entry.architecture for entry in published}
    return {name: cfg for name, cfg in _plain.items() if name not in with_weights} | {
        f"{entry.name}{'*' if entry.default else ''}": _published_cfg(entry) for entry in published
    }


default_cfgs = generate_default_cfgs(_cfgs())


def _only_safetensors(variant: str, kwargs: dict[str, Any]) -> None:
    """Keep timm from taking pickled weights out of a folder or repository that holds no ``model.safetensors``.

    Raises:
        InputError: A folder without.
    """
    cfg = kwargs.get("pretrained_cfg")
    cfg = cfg.to_dict() if isinstance(cfg, PretrainedCfg) else cfg if isinstance(cfg, dict) else {}
    if cfg.get("source") == "hf-hub":
        overlay = dict(kwargs.get("pretrained_cfg_overlay") or {})
        kwargs["pretrained_cfg_overlay"] = {"hf_hub_filename": _WEIGHTS} | overlay
    elif cfg.get("source") == "local-dir" and not (Path(cfg["file"]) / _WEIGHTS).is_file():
        raise InputError(
            f"{cfg['file']}: {variant}: holds no {_WEIGHTS}; pickled weights are never opened, save the model again"
        )


def _create_madrnet(variant: str, pretrained: bool = False, **kwargs: Any) -> Any:
    if (kwargs.get("pretrained_model_args") or {}).get("pretrained_backbone"):
        kwargs["pretrained_backbone"] = False  # how the model in a config.json began; its own weights lie beside it
    if kwargs.pop("share_norms", False):  # in the config.json of older models
        raise ValueError(f"{variant}: share_norms=True is gone: each execution of R has its own norms")
    if pretrained and kwargs.get("pretrained_backbone"):
        raise ValueError(
            f"{variant}: pretrained=True loads the weights of the whole MADRNet and pretrained_backbone=True those of "
            "the backbone alone; choose one"
        )
    kwargs.setdefault("backbone", variant.removeprefix(_PREFIX))
    if pretrained and not isinstance(kwargs.get("pretrained_cfg"), dict | PretrainedCfg):  # not a folder, not hf-hub:
        tag = kwargs.get("pretrained_cfg") or default_cfgs[variant].tags[0]
        if f"{variant}.{tag}" in published_models():
            overlay = dict(kwargs.get("pretrained_cfg_overlay") or {})
            overlay.setdefault("file", str(weights_file(f"{variant}.{tag}")))
            kwargs["pretrained_cfg_overlay"] = overlay
    if pretrained:
        _only_safetensors(variant, kwargs)
    model: Any = build_model_with_cfg(
        MADRNet,
        variant,
        pretrained,
        feature_cfg={"feature_cls": "getter", "out_indices": 4},  # three levels of B and the map of R
        **kwargs,
    )
    if not kwargs.get("features_only"):  # known once it is built; that of a config.json may be of another size
        size = model.pretrained_cfg["input_size"][1:]
        model.pretrained_cfg["pool_size"] = _pool_size_at(size, model.pool_size, model.img_size)
    if pretrained:
        weights_loaded(model, kwargs.get("cache_dir"))
    return model


def _register(name: str) -> None:
    def fn(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _create_madrnet(name, pretrained, **kwargs)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"MADRNet around timm's {name.removeprefix(_PREFIX)}."
    globals()[name] = register_model(fn)


for _name in default_cfgs:
    if not (is_model(_name) and model_entrypoint(_name).__module__ == __name__):
        _register(_name)
