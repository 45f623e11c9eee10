"""The autoencoder: shapes, seeds, independence, and upsampling against its definition."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterimg.errors import UsageError

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from clusterimg.deep.autoencoder import Architecture, Autoencoder, Upsampled  # noqa: E402


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, architecture: Architecture, seed: int = 0) -> torch.Tensor:
    size = architecture.size
    return torch.rand(n, architecture.channels, size, size, generator=seeded(seed))


def small(**options: int) -> Architecture:
    return Architecture(**{"size": 32, "width": 4, "latent": 8, "depth": 3, **options})


@pytest.mark.parametrize("size", [32, 64, 96, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_range(size: int, channels: int) -> None:
    architecture = Architecture(size=size, channels=channels)
    network = Autoencoder(architecture)
    pictures = noise(2, architecture)
    with torch.no_grad():
        latents, reconstruction = network.encode(pictures), network(pictures)
        assert torch.equal(network.decode(latents), reconstruction)
    assert latents.shape == (2, architecture.latent)
    assert reconstruction.shape == pictures.shape
    assert 0 <= reconstruction.min() < reconstruction.max() <= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 24), st.integers(1, 9), st.sampled_from([1, 3]))
def test_any_dimensions_that_fit_are_built(
    depth: int, times: int, width: int, latent: int, channels: int
) -> None:
    size = max(8, times << depth)
    architecture = Architecture(size=size, channels=channels, width=width, latent=latent, depth=depth)
    network = Autoencoder(architecture)
    pictures = noise(1, architecture)
    with torch.no_grad():
        assert network.encode(pictures).shape == (1, latent)
        assert network(pictures).shape == pictures.shape


@pytest.mark.parametrize("n", [1, 3])
def test_upsampling_is_doubled_pixels_then_a_convolution(n: int) -> None:
    layer = Upsampled(5, 7)
    with torch.no_grad():
        layer.weight.normal_(generator=seeded(1))
        layer.bias.normal_(generator=seeded(2))
        values = torch.randn(n, 5, 6, 9, generator=seeded(3))
        doubled = functional.interpolate(values, scale_factor=2, mode="nearest")
        kernel = layer.weight.transpose(0, 1).flip(2, 3)
        expected = functional.conv2d(doubled, kernel, layer.bias, padding=1)
        torch.testing.assert_close(layer(values), expected)


def test_seed_decides_the_weights_and_torchs_own_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    first, second = (Autoencoder(small(), seeded(5)).state_dict() for _ in range(2))
    other, default = Autoencoder(small(), seeded(6)), Autoencoder(small())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    weight = "encoder.0.weight"
    assert not torch.equal(first[weight], other.state_dict()[weight])
    assert torch.equal(default.state_dict()[weight], Autoencoder(small(), seeded(0)).state_dict()[weight])


def test_initial_weights_keep_the_scale_of_values() -> None:
    network = Autoencoder(Architecture())
    with torch.no_grad():
        latents = network.encode(noise(8, network.architecture))
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())
    assert 0.2 < latents.std() < 5


@pytest.mark.parametrize("training", [True, False])
def test_what_becomes_of_a_picture_does_not_depend_on_the_others(training: bool) -> None:
    architecture = small()
    network = Autoencoder(architecture, seeded(1)).train(training)
    mine, others, more = (noise(4, architecture, seed) for seed in range(3))
    with torch.no_grad():
        one = network.encode(torch.cat([mine, others]))[:4]
        two = network.encode(torch.cat([mine, 0.1 * more]))[:4]
        alone = network.encode(mine[:1])
    assert torch.equal(one, two)
    torch.testing.assert_close(alone, one[:1], rtol=1e-4, atol=1e-5)


def test_memory_format_changes_nothing() -> None:
    architecture = small()
    pictures = noise(4, architecture)
    network = Autoencoder(architecture, seeded(1))
    with torch.no_grad():
        expected = network(pictures)
        network.to(memory_format=torch.channels_last)
        got = network(pictures.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_every_weight_gets_a_gradient() -> None:
    architecture = small()
    network = Autoencoder(architecture, seeded(1))
    pictures = noise(4, architecture)
    (network(pictures) - pictures).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_stages_double_up_to_a_most() -> None:
    assert Architecture().stages == (3, 16, 32, 64, 128)
    assert Architecture(depth=6).stages == (3, 16, 32, 64, 128, 128, 128)
    assert Architecture(width=200, channels=1).stages == (1, 200, 200, 200, 200)


def test_goes_through_a_plain_dict() -> None:
    architecture = Architecture(size=96, channels=1, width=8, latent=10, depth=5)
    assert Architecture(**dataclasses.asdict(architecture)) == architecture
    assert architecture.shape.n_bytes == 96 * 96


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 60}, "size must be divisible by 16 with depth 4, got 60: take 48 or 64"),
        ({"size": 8}, "divisible by 16 with depth 4, got 8: take 16"),
        ({"size": 1000, "depth": 4}, "take 992 or 1008"),
        ({"size": 4}, "size must be 8 to 1024 pixels, got 4"),
        ({"channels": 2}, "channels must be 1"),
        ({"width": 0}, "width must be 1 to 1024, got 0"),
        ({"latent": 5000}, "latent must be 1 to 4096, got 5000"),
        ({"depth": 0}, "depth must be 1 to 8, got 0"),
        ({"size": 1024, "depth": 2}, "take a greater depth"),
    ],
)
def test_what_cannot_be_built(options: dict[str, int], text: str) -> None:
    with pytest.raises(UsageError, match="^.*" + text.replace("(", r"\(")):
        Architecture(**options)


def test_sizes_that_are_offered_are_allowed() -> None:
    for size in range(8, 1025):
        try:
            Architecture(size=size, depth=5)
        except UsageError as error:
            offered = str(error).split("take ")[1].split(",")[0].split(" or ")
            for side in offered:
                Architecture(size=int(side), depth=5)
