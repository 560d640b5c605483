"""The result container: its contract, its concatenation over blocks, its store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayestwas import names
from bayestwas.data.results import (
    blank_of_locus,
    blank_result,
    check_result,
    concat_results,
    open_priors,
    open_results,
    provenance,
    save_results,
)
from bayestwas.data.schema import locus
from bayestwas.errors import InputError, OutputError


def with_values(
    tree: xr.DataTree, path: str, change: Callable[[np.ndarray], np.ndarray | None]
) -> xr.DataTree:
    """A copy of `tree` in which one variable has been changed in place."""
    copy = tree.copy(deep=True)
    group, name = path.split("/")
    change(copy[group].dataset[name].values)
    return copy


def put(index: object, value: object) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[index] = value

    return change


def rebuilt(tree: xr.DataTree, **groups: xr.Dataset) -> xr.DataTree:
    parts = {name: node.to_dataset() for name, node in tree.children.items()} | groups
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=tree.attrs), **parts})


# ---- the check ------------------------------------------------------------------------------------------


def test_a_valid_result_passes_and_a_blank_failed_one_is_complete(synthetic_result: xr.DataTree) -> None:
    check_result(synthetic_result)
    genes = pd.DataFrame({"gene": ["g"], "chromosome": ["1"], "tss": [5]})
    blank = blank_result("b", "1", 0, 10, genes, ["liver"], ["EUR"], status="failed", reason="no variants")
    check_result(blank)
    assert blank["constant_data"].dataset["status"].values.tolist() == ["failed"]
    assert blank["constant_data"].dataset["reason"].values.tolist() == ["no variants"]


@pytest.mark.parametrize(
    ("path", "index", "value", "message"),
    [
        ("marginals/pip", 0, 1.5, "'marginals/pip' is 1.5 at gene B1-G1"),
        (
            "marginals/context_pip",
            (1, 0),
            -0.25,
            "'marginals/context_pip' is -0.25 at gene B1-G2, context liver",
        ),
        ("marginals/cis_h2", (0, 1), 2.0, "'marginals/cis_h2' is 2 at gene B1-G1, context blood"),
        ("marginals/effect_sd", (0, 0, 0), -1.0, "'marginals/effect_sd' is -1"),
        ("marginals/pip", 0, np.nan, "Gene 'B1-G1' has status 'ok' and no pip"),
        ("marginals/pip", 5, 0.5, "Gene 'B1-G6' has status 'skipped' and a pip"),
        ("constant_data/status", 0, "fine", "Gene 'B1-G1' has status 'fine'"),
        ("constant_data/status", 0, "warning", "Gene 'B1-G1' is 'warning' without a reason"),
        ("blocks/block_status", 0, "done", "Block 'b1' has status 'done'"),
        ("blocks/block_reason", 2, "", "Block 'b3' is 'failed' without a reason"),
        ("constant_data/gene_block", 0, "b9", "'constant_data/gene_block' holds 'b9'"),
        ("weights/gene_index", 0, 99, "'weights/gene_index' spans"),
        ("weights/variant_index", 0, -1, "'weights/variant_index' spans -1"),
    ],
)
def test_broken_values_are_named(
    synthetic_result: xr.DataTree, path: str, index: object, value: object, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        check_result(with_values(synthetic_result, path, put(index, value)))
    assert message in str(caught.value)


def test_missing_parts_are_named(synthetic_result: xr.DataTree) -> None:
    marginals = synthetic_result["marginals"].to_dataset()
    cases = {
        "no variable 'marginals/pip_ld'": rebuilt(synthetic_result, marginals=marginals.drop_vars("pip_ld")),
        "'marginals/effect' has dims": rebuilt(
            synthetic_result, marginals=marginals.assign(effect=marginals["effect"].transpose())
        ),
        "has values of type": rebuilt(
            synthetic_result, marginals=marginals.assign(pip=marginals["pip"].astype(str))
        ),
        "other labels": rebuilt(synthetic_result, marginals=marginals.isel(gene=slice(None, None, -1))),
        "'gene' has no labels": rebuilt(synthetic_result, marginals=marginals.drop_vars("gene")),
        "simulated": rebuilt(_without_attrs(synthetic_result)),
        "no group 'weights'": xr.DataTree.from_dict(
            {name: node.to_dataset() for name, node in synthetic_result.children.items() if name != "weights"}
        ),
    }
    for message, tree in cases.items():
        with pytest.raises(InputError) as caught:
            check_result(tree)
        assert message in str(caught.value)


def _without_attrs(tree: xr.DataTree) -> xr.DataTree:
    copy = tree.copy()
    copy.attrs = {}
    return copy


def test_the_explanation_is_optional(synthetic_result: xr.DataTree) -> None:
    marginals = synthetic_result["marginals"].to_dataset().drop_vars("explanation")
    check_result(rebuilt(synthetic_result, marginals=marginals))


# ---- joining --------------------------------------------------------------------------------------------


def with_priors(result: xr.DataTree, value: float) -> xr.DataTree:
    draws = xr.Dataset(
        {"coefficient": (("chain", "draw", "annotation"), np.full((1, 3, 1), value))},
        coords={"annotation": np.array(["coding"], dtype=object)},
        attrs={"settled": True, "rounds": 2, "status": "ok"},
    )
    result = result.copy()
    result["hyperparameters"] = xr.DataTree(draws)
    return result


def test_learned_priors_are_kept_when_joined_and_stored(
    block_results: list[xr.DataTree], tmp_path: Path
) -> None:
    first, second, failed = block_results
    joined = concat_results([failed, with_priors(first, 1.5), with_priors(second, 1.5)])
    expected = with_priors(first, 1.5)["hyperparameters"].to_dataset()
    xr.testing.assert_identical(joined["hyperparameters"].to_dataset(), expected)
    path = save_results(joined, tmp_path / "results.zarr")
    for opened in (open_results(path), open_priors(path)):
        xr.testing.assert_identical(opened["hyperparameters"].to_dataset(), expected)
        assert opened.attrs["simulated"] is True


def test_priors_of_different_runs_are_not_kept(block_results: list[xr.DataTree]) -> None:
    joined = concat_results([with_priors(block_results[0], 1.5), with_priors(block_results[1], 1.0)])
    assert "hyperparameters" not in joined.children
    assert "hyperparameters" not in concat_results(block_results).children


def test_priors_are_read_without_the_weights(synthetic_result: xr.DataTree, tmp_path: Path) -> None:
    path = save_results(synthetic_result, tmp_path / "results.zarr")
    assert set(open_priors(path).children) == {"marginals", "blocks"}
    with pytest.raises(InputError, match="not a folder"):
        open_priors(tmp_path / "other.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(InputError, match="cannot be read as a Zarr store"):
        open_priors(tmp_path / "empty.zarr")


def test_blocks_follow_one_another_and_labels_are_united(
    synthetic_result: xr.DataTree, block_results: list[xr.DataTree]
) -> None:
    marginals = synthetic_result["marginals"].dataset
    assert list(marginals["context"].values) == ["liver", "blood"]
    assert list(marginals["ancestry"].values) == ["EUR", "AFR", "EAS"]
    assert list(synthetic_result["blocks"].dataset["block"].values) == ["b1", "b2", "b3"]
    second = block_results[1]["marginals"].dataset
    joined = marginals.sel(gene=second["gene"].values)
    # the second block has ancestries AFR and EUR, in that order, and blood only
    np.testing.assert_array_equal(
        joined["effect"].sel(context="blood", ancestry=["AFR", "EUR"]).values, second["effect"].values[:, 0]
    )
    assert joined["effect"].sel(context="liver").isnull().all()
    assert joined["effect"].sel(ancestry="EAS").isnull().all()
    n_ref = synthetic_result["blocks"].dataset["n_ref"].sel(block="b2")
    assert n_ref.sel(ancestry="AFR") == 639
    assert np.isnan(n_ref.sel(ancestry="EAS"))
    z = synthetic_result["observed_data"].dataset["z"].values
    assert z.shape == (3, 900)
    np.testing.assert_array_equal(z[1, 300:600], block_results[1]["observed_data"].dataset["z"].values[0])
    assert synthetic_result["blocks"].dataset["converged"].dtype == bool


def test_sparse_weights_point_at_the_same_labels_after_joining(
    synthetic_result: xr.DataTree, block_results: list[xr.DataTree]
) -> None:
    def entries(tree: xr.DataTree) -> list[tuple]:
        weights, marginals = tree["weights"].dataset, tree["marginals"].dataset
        dims = ("gene", "context", "ancestry", "variant")
        labels = [marginals[dim].values[weights[f"{dim}_index"].values] for dim in dims]
        rest = [weights[name].values for name in ("draw_index", "probability", "weight")]
        return list(zip(*labels, *rest, strict=True))

    assert entries(synthetic_result) == [entry for block in block_results for entry in entries(block)]


def test_draws_are_padded_to_the_longest_block(build_block_result: Callable[..., xr.DataTree]) -> None:
    blocks = [build_block_result("b1"), build_block_result("b2", start=60_000_000)]
    short = blocks[1]["posterior"].to_dataset().isel(draw=slice(0, 5))
    joined = concat_results([blocks[0], rebuilt(blocks[1], posterior=short)])["posterior"].dataset[
        "gene_effect"
    ]
    assert joined.sizes["draw"] == 8
    fitted = joined.isel(gene=6, context=0, ancestry=0, chain=0).values
    assert np.isfinite(fitted[:5]).all()
    assert np.isnan(fitted[5:]).all()


def test_attributes_on_which_blocks_agree_are_kept(build_block_result: Callable[..., xr.DataTree]) -> None:
    blocks = [build_block_result("b1"), build_block_result("b2", start=60_000_000)]
    for number, block in enumerate(blocks):
        block.attrs |= {"seed": 3, "settings": {"L": 10}, "block_seed": number}
    assert concat_results(blocks).attrs == {"simulated": True, "seed": 3, "settings": {"L": 10}}


def test_joining_refuses_nothing_twice_and_mixtures(build_block_result: Callable[..., xr.DataTree]) -> None:
    block = build_block_result("b1")
    real = build_block_result("b2", simulated=False)
    for given, message in (([], "No result"), ([block, block], "present twice"), ([block, real], "mixed")):
        with pytest.raises(InputError, match=message):
            concat_results(given)


def test_joining_one_block_changes_nothing(build_block_result: Callable[..., xr.DataTree]) -> None:
    block = build_block_result("b1")
    xr.testing.assert_equal(concat_results([block]), block)


# ---- the store ------------------------------------------------------------------------------------------


def test_a_result_reads_back_as_it_was_written(synthetic_result: xr.DataTree, tmp_path: Path) -> None:
    files = {"a.tsv": "0" * 64}
    settings = {"L": 10, "n_ref": np.inf, "prior": {"gene": np.float64(0.1)}, "grid": np.array([1, 2])}
    synthetic_result.attrs |= provenance(np.int64(7), settings, files) | {"simulated": np.True_}
    path = save_results(synthetic_result, tmp_path / "results.zarr")
    back = open_results(path)
    for group in names.RESULT_VARIABLES:
        assert back[group].to_dataset().equals(synthetic_result[group].to_dataset())
    assert back["constant_data"].dataset["status"].dtype == object
    assert back["blocks"].dataset["converged"].dtype == bool
    assert back.attrs["seed"] == 7
    assert back.attrs["simulated"] is True
    assert json.loads(back.attrs["files"]) == files
    assert json.loads(back.attrs["settings"]) == {
        "L": 10,
        "n_ref": np.inf,
        "prior": {"gene": 0.1},
        "grid": [1, 2],
    }
    assert json.loads(back.attrs["versions"])["numpy"] == np.__version__
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.zarr"]
    save_results(back, tmp_path / "again.zarr")  # what was read can be written


def test_a_blank_result_without_entries_or_variants_is_stored(tmp_path: Path) -> None:
    genes = pd.DataFrame(
        {"gene": ["g"], "chromosome": ["1"], "tss": [5], "status": "skipped", "reason": "why"}
    )
    blank = blank_result("b", "1", 0, 10, genes, ["liver"], ["EUR"])
    back = open_results(save_results(blank, tmp_path / "results.zarr"))
    assert back["weights"].dataset.sizes == {"entry": 0}
    assert back["marginals"].dataset.sizes["variant"] == 0


def test_an_existing_store_is_kept_unless_told_otherwise(
    synthetic_result: xr.DataTree, tmp_path: Path
) -> None:
    path = save_results(synthetic_result, tmp_path / "results.zarr")
    with pytest.raises(OutputError, match="exists"):
        save_results(synthetic_result, path)
    save_results(with_values(synthetic_result, "marginals/pip", put(0, 0.125)), path, overwrite=True)
    assert open_results(path)["marginals"].dataset["pip"].values[0] == 0.125
    with pytest.raises(OutputError, match="not a folder"):
        save_results(synthetic_result, tmp_path / "absent" / "results.zarr")


def test_a_store_that_cannot_be_written_leaves_nothing(
    synthetic_result: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    path = save_results(synthetic_result, tmp_path / "results.zarr")
    monkeypatch.setattr(xr.DataTree, "to_zarr", fail)
    with pytest.raises(OSError, match="no space left"):
        save_results(synthetic_result, path, overwrite=True)
    with pytest.raises(InputError):
        save_results(with_values(synthetic_result, "marginals/pip", put(0, 2.0)), tmp_path / "other.zarr")
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.zarr"]
    open_results(path)


def _remove_group(path: Path) -> None:
    for file in sorted((path / "weights").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (path / "weights").rmdir()


def _corrupt_chunk(path: Path) -> None:
    (path / "marginals" / "pip" / "c" / "0").write_bytes(b"not a chunk")


def _corrupt_metadata(path: Path) -> None:
    (path / "marginals" / "zarr.json").write_text("{")


@pytest.mark.parametrize("damage", [_remove_group, _corrupt_chunk, _corrupt_metadata])
def test_a_damaged_store_is_an_input_error(
    synthetic_result: xr.DataTree, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = save_results(synthetic_result, tmp_path / "results.zarr")
    damage(path)
    with pytest.raises(InputError, match=r"results\.zarr"):
        open_results(path)


def test_what_is_no_store_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("folder", "file", "absent"):
        with pytest.raises(InputError, match=name):
            open_results(tmp_path / name)


# ---- from a locus ---------------------------------------------------------------------------------------


def test_a_blank_result_takes_what_the_locus_says() -> None:
    variants = pd.DataFrame(
        {
            "chromosome": "1",
            "position": [5, 9],
            "effect_allele": "T",
            "other_allele": "C",
            "source_id": ["rs1", "rs2"],
        },
        index=["1:5:C:T", "1:9:C:T"],
    )
    genes = pd.DataFrame({"chromosome": "1", "tss": [7], "status": "ok", "reason": ""}, index=["g"])
    dosage = np.array([[0, 1, 2], [2, 1, 0]], dtype=np.int8)
    expression = pd.DataFrame([[0.1, 0.2, -0.3]], index=["g"], columns=["d1", "d2", "d3"])
    panel = ("liver", "AFR", dosage, ["d1", "d2", "d3"], expression, None)
    z = np.array([1.0, np.nan])
    tree = locus("b", variants, {"EUR": (z, 100)}, {"EUR": dosage}, [panel], genes, "GRCh37", "s", True)
    failed = blank_of_locus(tree, status="failed", reason="the kernel diverged")
    check_result(failed)
    assert list(failed["marginals"].dataset["ancestry"].values) == ["EUR", "AFR"]
    assert list(failed["marginals"].dataset["context"].values) == ["liver"]
    np.testing.assert_array_equal(
        failed["observed_data"].dataset["z"].values, [[1.0, np.nan], [np.nan, np.nan]]
    )
    np.testing.assert_array_equal(failed["blocks"].dataset["n_ref"].values, [[3.0, np.nan]])
    assert failed.attrs == {"simulated": True, "study": "s", "build": "GRCh37"}
    assert failed["constant_data"].dataset["tss"].values.tolist() == [7.0]
