"""NT-Xent against a plain loop, and views of pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterimg.errors import UsageError

torch = pytest.importorskip("torch")

from clusterimg.deep.autoencoder import Architecture, Autoencoder  # noqa: E402
from clusterimg.deep.contrastive import augmented, contrastive_loss  # noqa: E402


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(a: NDArray[np.float64], b: NDArray[np.float64], temperature: float) -> float:
    """Return NT-Xent as equation 1 of Chen et al. writes it, view by view."""
    views = [*a, *b]
    n, losses = len(a), []
    for i, view in enumerate(views):
        scores = {
            k: float(view @ other / np.linalg.norm(view) / np.linalg.norm(other)) / temperature
            for k, other in enumerate(views)
            if k != i
        }
        twin = i + n if i < n else i - n
        losses.append(-math.log(math.exp(scores[twin]) / sum(math.exp(s) for s in scores.values())))
    return sum(losses) / len(losses)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.floats(0.2, 3), st.integers(0, 99))
def test_equals_a_plain_loop(n: int, latent: int, temperature: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n, latent))
    got = contrastive_loss(torch.tensor(a), torch.tensor(b), temperature)
    assert float(got) == pytest.approx(plain(a, b, temperature), rel=1e-4, abs=1e-5)


def test_known_answers() -> None:
    eye = torch.eye(4)
    # the twin has cosine 1, six others 0
    assert float(contrastive_loss(eye, eye, 1.0)) == pytest.approx(math.log(math.e + 6) - 1)
    same = torch.ones(4, 3)
    assert float(contrastive_loss(same, same, 0.5)) == pytest.approx(math.log(7))
    one = torch.ones(1, 3)
    assert float(contrastive_loss(one, -one)) == 0.0  # nothing to tell it from


def test_mixing_up_twins_costs_and_a_lower_temperature_costs_more() -> None:
    eye = torch.eye(4)
    mixed = contrastive_loss(eye, eye.roll(1, 0), 0.5)
    assert mixed > contrastive_loss(eye, eye, 0.5)
    assert contrastive_loss(eye, eye.roll(1, 0), 0.1) > mixed


def test_scale_and_order_do_not_matter() -> None:
    a, b = torch.randn(2, 5, 3, generator=seeded(0))
    loss = contrastive_loss(a, b)
    torch.testing.assert_close(contrastive_loss(100 * a, 0.01 * b), loss)
    torch.testing.assert_close(contrastive_loss(b, a), loss)
    torch.testing.assert_close(contrastive_loss(a.flip(0), b.flip(0)), loss)


def test_half_precision_does_not_reach_the_scores() -> None:
    a, b = torch.randn(2, 8, 16, generator=seeded(0))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = contrastive_loss(a, b, 0.05)
    assert torch.equal(mixed, contrastive_loss(a, b, 0.05))


def test_gradients_reach_the_encoder_and_a_step_lowers_the_loss() -> None:
    network = Autoencoder(Architecture(size=16, width=4, latent=6, depth=2), seeded(0))
    pictures = torch.rand(8, 3, 16, 16, generator=seeded(1))
    one, two = augmented(pictures, seeded(2)), augmented(pictures, seeded(3))
    steps = torch.optim.Adam(network.encoder.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = contrastive_loss(network.encode(one), network.encode(two))
        steps.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.encoder.parameters())
        steps.step()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("shapes", "temperature", "text"),
    [
        (((2, 3), (2, 3)), 0.0, "temperature must be greater than 0, got 0.0"),
        (((2, 3), (2, 3)), float("nan"), "temperature"),
        (((2, 3), (2, 3)), float("inf"), "temperature"),
        (((2, 3), (3, 3)), 0.5, "must have the same shape"),
        (((3,), (3,)), 0.5, "must have the same shape"),
    ],
)
def test_refusals(shapes: tuple[tuple[int, ...], ...], temperature: float, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        contrastive_loss(torch.zeros(shapes[0]), torch.zeros(shapes[1]), temperature)


@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_pictures_and_repeat_by_seed(channels: int) -> None:
    pictures = torch.rand(6, channels, 24, 24, generator=seeded(0), requires_grad=True)
    kept, state = pictures.detach().clone(), torch.random.get_rng_state()
    views = augmented(pictures, seeded(1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(pictures, kept)
    assert not views.requires_grad
    assert views.shape == pictures.shape
    assert views.dtype == pictures.dtype
    assert views.min() >= 0
    assert views.max() <= 1
    assert torch.equal(views, augmented(pictures, seeded(1)))
    assert not torch.equal(views, augmented(pictures, seeded(2)))
    changed = (views - kept).abs().amax((1, 2, 3))
    assert bool((changed > 0.05).all())


def test_each_picture_has_its_own_view() -> None:
    pictures = torch.rand(1, 3, 24, 24, generator=seeded(0)).expand(5, -1, -1, -1)
    views = augmented(pictures, seeded(1))
    for i in range(5):
        for j in range(i):
            assert (views[i] - views[j]).abs().max() > 0.01


def test_views_keep_most_of_a_picture() -> None:
    """A view of a ramp is a ramp: mirrored in about half of the views, and seldom turned far."""
    ramp = torch.linspace(0.2, 0.8, 32).expand(400, 1, 32, 32)
    views = augmented(ramp, seeded(4))[:, 0]
    across = (views[:, :, -4:].mean((1, 2)) - views[:, :, :4].mean((1, 2))) / 0.6
    down = (views[:, -4:, :].mean((1, 2)) - views[:, :4, :].mean((1, 2))) / 0.6
    assert 0.4 < float((across > 0).float().mean()) < 0.6
    assert across.abs().min() > 0.35
    assert down.abs().max() < across.abs().mean()


def test_colours_change_in_colour_pictures_only() -> None:
    grey = torch.full((50, 1, 8, 8), 0.5)
    spread = augmented(grey, seeded(0)).amax((1, 2, 3)) - augmented(grey, seeded(0)).amin((1, 2, 3))
    assert spread.max() < 1e-6  # a plain picture stays plain
    colour = augmented(torch.full((50, 3, 8, 8), 0.5), seeded(0)).mean((2, 3))
    assert (colour.amax(1) - colour.amin(1)).mean() > 0.05
    brightness = colour.mean(1)
    assert brightness.std() > 0.03
    assert 0.4 < brightness.mean() < 0.6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_views_on_a_gpu_equal_those_on_the_cpu() -> None:
    pictures = torch.rand(4, 3, 32, 32, generator=seeded(0))
    views = augmented(pictures.cuda(), seeded(1))
    torch.testing.assert_close(views.cpu(), augmented(pictures, seeded(1)), rtol=1e-4, atol=1e-4)
