"""What timm's train.py calls, in its order and with its arguments, after ``--device-modules madrnet_timm``."""

import argparse
import importlib
import math

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.layers import convert_sync_batchnorm
from timm.loss import LabelSmoothingCrossEntropy
from timm.models import load_checkpoint, model_parameters, resume_checkpoint, safe_model_name
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from timm.task import ClassificationTask, FeatureDistillationTask, LogitDistillationTask
from timm.utils import CheckpointSaver, ModelEmaV3, accuracy, dispatch_clip_grad

from madrnet_timm.data.synthetic import draw_head

CLASSES = ("Normal", "Tapered")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as timm's `ImageFolder` reads it: train and validation, one folder per class."""
    root = tmp_path_factory.mktemp("heads")
    for split, count in (("train", 12), ("validation", 6)):
        for label, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                head = draw_head(name, 1000 * label + 100 * len(split) + index, size=64)
                Image.fromarray(head.image).save(root / split / name / f"{index}.png")
    return root


def arguments(**changes):
    """Defaults of train.py that its calls read."""
    values = {
        "opt": "adamw", "lr": 3e-3, "weight_decay": 0.05, "momentum": 0.9, "opt_eps": None, "opt_betas": None,
        "layer_decay": 0.8, "layer_decay_min_scale": 0.0, "layer_decay_no_opt_scale": None, "opt_foreach": None,
        "sched": "cosine", "epochs": 4, "decay_epochs": 90, "decay_milestones": [90], "cooldown_epochs": 0,
        "patience_epochs": 10, "decay_rate": 0.1, "min_lr": 0.0, "warmup_lr": 1e-5, "warmup_epochs": 1,
        "warmup_prefix": False, "lr_noise": None, "lr_noise_pct": 0.67, "lr_noise_std": 1.0, "seed": 42,
        "lr_cycle_mul": 1.0, "lr_cycle_decay": 0.5, "lr_cycle_limit": 1, "lr_k_decay": 1.0,
        "sched_on_updates": False, "eval_metric": "top1", "img_size": None, "input_size": (3, 64, 64),
        "mean": None, "std": None, "interpolation": "", "crop_pct": 1.0,
    }  # fmt: skip
    return argparse.Namespace(**values | changes)


@pytest.mark.parametrize("name", ["madrnet_test_resnet", "madrnet_test_vit"])
def test_trains_saves_resumes_and_validates(name, folder, tmp_path):
    importlib.import_module("madrnet_timm")
    args = arguments(model=name)
    kwargs = {} if "resnet" in name else {"img_size": 64}
    common = dict(
        pretrained=False, in_chans=3, num_classes=len(CLASSES), drop_rate=0.0, drop_path_rate=None,
        drop_block_rate=None, global_pool=None, bn_momentum=None, bn_eps=None, scriptable=False, **kwargs,
    )  # fmt: skip
    model = timm.create_model(name, checkpoint_path="", **common)
    assert safe_model_name(name) == name
    model.set_grad_checkpointing(enable=True)
    config = resolve_data_config(vars(args), model=model, verbose=False)
    assert config["input_size"] == (3, 64, 64)
    model.to(memory_format=torch.channels_last)

    optimizer = create_optimizer_v2(model, **optimizer_kwargs(cfg=args))
    scales = {group.get("lr_scale") for group in optimizer.param_groups}
    assert len(scales) > 2, "layer decay"
    ema = ModelEmaV3(model, decay=0.5)
    loaders = {
        split: create_loader(
            create_dataset("", root=str(folder), split=split, is_training=split == "train", batch_size=8),
            input_size=config["input_size"], batch_size=8, is_training=split == "train", use_prefetcher=False,
            mean=config["mean"], std=config["std"], interpolation=config["interpolation"], num_workers=0,
            no_aug=True, crop_pct=config["crop_pct"], device=torch.device("cpu"), persistent_workers=False,
        )
        for split in ("train", "validation")
    }  # fmt: skip
    scheduler, epochs = create_scheduler_v2(optimizer, **scheduler_kwargs(args), updates_per_epoch=3)
    saver = CheckpointSaver(
        model=model, optimizer=optimizer, args=args, model_ema=ema, checkpoint_dir=tmp_path, recovery_dir=tmp_path
    )
    criterion, losses = LabelSmoothingCrossEntropy(0.1), []
    for epoch in range(epochs):
        model.train()
        for x, target in loaders["train"]:
            loss = criterion(model(x.contiguous(memory_format=torch.channels_last)), target)
            loss.backward()
            dispatch_clip_grad(model_parameters(model, exclude_head=False), 1.0, mode="norm")
            optimizer.step()
            optimizer.zero_grad()
            ema.update(model)
            losses.append(float(loss.detach()))
        scheduler.step(epoch + 1, float(losses[-1]))
        saver.save_checkpoint(epoch, metric=-losses[-1])
    assert all(map(math.isfinite, losses))
    assert sum(losses[-3:]) < sum(losses[:3])

    model.eval()
    with torch.no_grad():
        batches = [(model(x), target) for x, target in loaders["validation"]]
    top1 = sum(float(accuracy(logits, target)[0]) * len(target) / 100 for logits, target in batches)
    assert top1 == sum(int((logits.argmax(1) == target).sum()) for logits, target in batches)
    assert sum(len(target) for _, target in batches) == 12

    saved = str(tmp_path / "last.pth.tar")
    again = timm.create_model(name, **common)
    optimizer_again = create_optimizer_v2(again, **optimizer_kwargs(cfg=args))
    assert resume_checkpoint(again, saved, optimizer=optimizer_again, log_info=False) == epochs
    x = next(iter(loaders["validation"]))[0]
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(x), model(x))
        load_checkpoint(again, saved, use_ema=True)
        torch.testing.assert_close(again(x), ema.module.eval()(x))


def test_starts_from_a_file_of_other_classes(tmp_path):
    """``--pretrained --pretrained-path``: all but the classifier comes from the file."""
    source = timm.create_model("madrnet_test_resnet", num_classes=4)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    overlay = {"file": str(tmp_path / "model.safetensors"), "num_classes": -1}
    model = timm.create_model("madrnet_test_resnet", pretrained=True, num_classes=3, pretrained_cfg_overlay=overlay)
    assert model.get_classifier().out_features == 3
    weights, expected = model.state_dict(), source.state_dict()
    assert weights.keys() == expected.keys()
    same = {name for name in weights if torch.equal(weights[name], expected[name])}
    assert weights.keys() - same == {f"classifier.{name}" for name, _ in model.get_classifier().named_parameters()}


def test_tasks():
    """Of `timm.task`: a MADRNet as the model, the student and the teacher."""
    torch.manual_seed(0)
    x, target = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 0])
    criterion = torch.nn.CrossEntropyLoss()
    model = timm.create_model("madrnet_test_resnet", num_classes=3)
    result = ClassificationTask(model, criterion)(x, target)
    torch.testing.assert_close(result["loss"], criterion(result["output"], target))

    teacher = timm.create_model("madrnet_test_efficientnet", num_classes=3)
    task = LogitDistillationTask(model, teacher, criterion, temperature=2.0).train()
    result = task(x, target)
    with torch.no_grad():  # the teacher's own mean and std
        old, new = model.pretrained_cfg, teacher.pretrained_cfg
        mean, std = (torch.tensor([old[k], new[k]]).view(2, 1, 3, 1, 1) for k in ("mean", "std"))
        followed = (teacher.eval()((x * std[0] + mean[0] - mean[1]) / std[1]) / 2).softmax(1)
        difference = followed.log() - (result["output"] / 2).log_softmax(1)
    torch.testing.assert_close(result["kd_loss"].detach(), 4 * (followed * difference).sum(1).mean())
    torch.testing.assert_close(result["loss"], result["task_loss"] + result["kd_loss"])

    task = FeatureDistillationTask(model, teacher, criterion).train()
    optimizer = create_optimizer_v2(task.get_trainable_module(), opt="adamw", lr=1e-3, layer_decay=0.8)
    assert len({group["lr_scale"] for group in optimizer.param_groups}) > 2
    task(x, target)["loss"].backward()
    assert all(p.grad is not None for p in task.get_trainable_module().parameters())


def test_agc_leaves_the_classifier_alone():
    """``--clip-mode agc`` takes the last two parameters for the head."""
    model = timm.create_model("madrnet_test_resnet", num_classes=2)
    left_out = set(model.parameters()) - set(model_parameters(model, exclude_head=True))
    assert left_out == set(model.get_classifier().parameters())


def test_converted_batch_norms():
    """``--sync-bn`` keeps names and function. (``--split-bn`` makes every batch norm a 2d one, so that it can't be had
    with P's, as with timm's LeViT.)"""
    model = timm.create_model("madrnet_test_resnet", num_classes=2).eval()
    x = torch.randn(4, 3, 64, 64)
    expected = model(x).detach()
    keys = set(model.state_dict())
    synced = convert_sync_batchnorm(model)
    assert any(type(module).__name__.startswith("SyncBatchNorm") for module in synced.modules())
    assert set(synced.state_dict()) == keys
    with torch.no_grad():
        torch.testing.assert_close(synced.eval()(x), expected)
