"""Equal values of an array, as numpy.unique finds them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterimg._distinct import distinct, first_equal
from clusterimg.clustering import first_members, number_by_appearance
from pictures import groups, save


@given(
    values=st.lists(st.integers(-3, 9)), dtype=st.sampled_from([np.int32, np.int64, np.uint8, "S2", "V16"])
)
def test_they_are_those_of_numpy(values: list[int], dtype: object) -> None:
    plain = np.array(values, np.int64)
    if dtype == "V16":
        array = np.ascontiguousarray(np.stack([plain, -plain], axis=1)).view("V16").reshape(-1)
    else:
        array = plain.astype(np.int8).astype(dtype)  # type: ignore[call-overload]
    wanted, first, group = np.unique(array, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(distinct(array), wanted)
    np.testing.assert_array_equal(first_equal(array), first[group.reshape(-1)])


@given(labels=st.lists(st.integers(-1, 6)))
def test_clusters_are_numbered_as_they_appear(labels: list[int]) -> None:
    seen: list[int] = []
    wanted = []
    for label in labels:
        seen += [label] if label >= 0 and label not in seen else []
        wanted.append(seen.index(label) if label >= 0 else -1)
    array = np.array(labels, np.int64)
    np.testing.assert_array_equal(number_by_appearance(array), wanted)
    firsts = [labels.index(label) if label >= 0 else -1 for label in labels]
    np.testing.assert_array_equal(first_members(array), firsts)


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="older ones import it themselves")
def test_a_run_imports_no_masked_arrays(tmp_path: Path) -> None:
    save(tmp_path / "photos", groups())
    code = f"""
import sys
from clusterimg.cli import main
assert main(["run", {str(tmp_path / "photos")!r}, "--quiet"]) == 0
assert "numpy.ma" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
