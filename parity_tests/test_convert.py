"""Weights travel both ways, and files that are not what they should be are refused in one line,
with nothing written.
"""

import argparse
import pickle
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from configs import MASK_RULES, InputError, ModelConfig
from jax_impl.cli import main, v121
from jax_impl.model.museformer import MuseFormer
from jax_impl.training.checkpoint import Checkpoints, load_model
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from parity_tests.convert import export_torch, import_torch
from parity_tests.pairs import jax_weights, magnified, torch_model
from tokenizer import vocabulary as vocab
from tokenizer.music import midi
from torch_ref import checkpoint as torch_file

CONFIG = ModelConfig(layers=2, width=64, ffn=96, max_bars=16, mask_rule=MASK_RULES["v121"], vocab_size=643)


@pytest.fixture(scope="module")
def weights():
    return magnified(CONFIG)


def saved(path: Path, weights, **changes) -> Path:
    content = {
        "model_state_dict": {name: torch.tensor(value) for name, value in weights.items()},
        "args": {"num_heads": 1},
        "epoch": 3,
    }
    torch.save(content | changes, path)
    return path


@pytest.mark.parametrize(
    "args", [{"num_heads": 1}, argparse.Namespace(num_heads=1, lr=1e-4)], ids=["dict", "namespace"]
)
def test_a_checkpoint_of_v121_becomes_a_run_with_the_same_weights(weights, tmp_path, args):
    config = import_torch(saved(tmp_path / "best.pt", weights, args=args), tmp_path / "run", "v121")
    assert (config.layers, config.width, config.ffn, config.max_bars) == (2, 64, 96, 16)
    model, record = load_model(tmp_path / "run", "best")
    assert model.config.mask_rule == MASK_RULES["v121"] and record.step == 0
    assert model.config.vocab_size == 643 and record.vocabulary == vocab.V121_FINGERPRINT
    for name, value in jax_weights(model).items():
        np.testing.assert_array_equal(value, weights[name], err_msg=name)


def test_there_and_back_is_the_same_file(weights, tmp_path):
    import_torch(saved(tmp_path / "best.pt", weights), tmp_path / "run", "span")
    export_torch(tmp_path / "run", tmp_path / "again.pt")
    again, args = torch_file.read(tmp_path / "again.pt")
    assert args["num_heads"] == 1
    assert again.keys() == weights.keys()
    for name, value in again.items():
        np.testing.assert_array_equal(value, weights[name], err_msg=name)
    torch_model(again, CONFIG)  # strict: every name is one of torch_ref's


def test_a_model_of_our_tokens_is_not_exported_and_is_told_why(tmp_path):
    model = MuseFormer(replace(CONFIG, vocab_size=724), nnx.Rngs(0))
    record = Record(5, plain(model.config), {}, 10, {}, "", {}, vocab.FINGERPRINT, versions())
    with Checkpoints(tmp_path / "run", keep_last=1) as checkpoints:
        checkpoints.save(TrainState(nnx.to_pure_dict(nnx.state(model)), {"count": jnp.zeros(())}, 5), record, 1.0)
    with pytest.raises(InputError, match=r"724 tokens, of which v1\.2\.1 has 643: .*`generate`.*import-torch") as told:
        export_torch(tmp_path / "run", tmp_path / "x.pt")
    assert "\n" not in str(told.value) and not (tmp_path / "x.pt").exists()


def test_names_of_compiled_and_distributed_models_are_understood(weights, tmp_path):
    wrapped = {f"_orig_mod.module.{name}": value for name, value in weights.items()}
    assert torch_file.read(saved(tmp_path / "best.pt", wrapped))[0].keys() == weights.keys()


class Command:
    def __reduce__(self):
        return (print, ("code from the file ran",))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path, w: None, "cannot be read .No such file"),
        (lambda path, w: path.write_bytes(b"MThd"), "not a PyTorch checkpoint, by its first bytes"),
        (lambda path, w: path.write_bytes(b""), "not a PyTorch checkpoint, it is empty"),
        (lambda path, w: path.mkdir(), "not a PyTorch checkpoint but a folder"),
        (lambda path, w: path.write_bytes(b"PK\3\4 and no more"), "not a PyTorch checkpoint, or .* copied in part"),
        (lambda path, w: zipfile.ZipFile(path, "w").writestr("a.txt", "a"), "not a PyTorch checkpoint but another zip"),
        (lambda path, w: path.write_bytes(b"\x80 and no more"), "not a PyTorch checkpoint, or a damaged one"),
        (
            lambda path, w: path.write_bytes(b"\x80\x02" + bytes(range(48, 256))),
            "not a PyTorch checkpoint .another pickle",
        ),
        (lambda path, w: path.write_bytes(saved(path, w).read_bytes()[:2000]), "copied in part"),
        (lambda path, w: saved(path, {"fc.weight": np.zeros(2)}), r"not of v1\.2\.1's model"),
        (lambda path, w: path.write_bytes(pickle.dumps(Command())), "refused"),
        (lambda path, w: saved(path, w, extra=Command()), "refused"),
        (lambda path, w: torch.save({"weights": 1}, path), "model_state_dict"),
        (
            lambda path, w: saved(path, {k: v for k, v in w.items() if k != "output_norm.bias"}),
            r"output_norm\.bias is missing",
        ),
        (lambda path, w: saved(path, w | {"extra.weight": np.zeros(2)}), r"extra\.weight"),
        (lambda path, w: saved(path, w, args={"num_heads": 4}), "num_heads 4.*1; that makes heads 16 wide"),
        (lambda path, w: saved(path, w, args={"embed_dim": 128}), "embed_dim 128, its weights 64"),
        (lambda path, w: saved(path, w, args={"mask_rule": "span"}), "give --mask-rule span"),
        (lambda path, w: saved(path, w, args=[1]), "args are a list"),
        (lambda path, w: torch.save({"model_state_dict": [1]}, path), "model_state_dict"),
        (
            lambda path, w: saved(path, w | {"token_embedding.weight": np.zeros((511, 64))}),
            "has 511 tokens, the vocabulary of v1.2.1 643 and that of this program 724",
        ),
        (
            lambda path, w: saved(path, magnified(replace(CONFIG, vocab_size=724))),
            "724 tokens are not those of v1.2.1, which has 643",
        ),
        (lambda path, w: saved(path, w | {"output_norm.bias": np.zeros(3)}), r"output_norm\.bias: shape"),
    ],
    ids=[
        "missing",
        "MIDI",
        "empty",
        "folder",
        "no zip",
        "another zip",
        "no pickle",
        "another pickle",
        "truncated",
        "another model",
        "pickle",
        "hidden code",
        "no weights",
        "missing key",
        "unknown key",
        "head width",
        "width",
        "rule",
        "args",
        "no dict",
        "vocabulary",
        "our vocabulary",
        "shape",
    ],
)
def test_other_files_are_refused_and_nothing_is_written(weights, tmp_path, capsys, make, reason):
    make(tmp_path / "best.pt", weights)
    with pytest.raises(InputError, match=reason) as caught:
        import_torch(tmp_path / "best.pt", tmp_path / "run", "v121")
    assert "best.pt" in str(caught.value) and "\n" not in str(caught.value)
    assert "code from the file ran" not in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_half_precision_weights_become_single_precision(weights, tmp_path):
    half = {name: torch.tensor(value).bfloat16() for name, value in weights.items()}
    torch.save({"model_state_dict": half, "args": {}}, tmp_path / "best.pt")
    import_torch(tmp_path / "best.pt", tmp_path / "run", "v121")
    ours = jax_weights(load_model(tmp_path / "run", "best")[0])
    np.testing.assert_array_equal(ours["output_norm.weight"], half["output_norm.weight"].float())


def test_an_imported_model_generates_is_compared_and_goes_back_by_the_command_line(
    weights, tmp_path, monkeypatch, capsys
):
    def run(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["hid-museformer", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            main()
        return exit_.value.code or 0

    saved(tmp_path / "best.pt", weights)
    assert run("import-torch", tmp_path / "best.pt", tmp_path / "run") == 0
    assert "2 layers x 64, 1 heads, FFN 96, 16 bars, rule v121" in capsys.readouterr().out
    assert run("generate", tmp_path / "run", "-o", tmp_path / "x.mid", "--max-length", 64) == 0
    assert midi.read(tmp_path / "x.mid").ticks_per_beat == 480
    assert run("parity", "--checkpoint", tmp_path / "run") == 0
    assert "step 0, rule v121" in (said := capsys.readouterr().out) and "all agree" in said
    assert run("export-torch", tmp_path / "run", tmp_path / "again.pt") == 0
    assert torch_file.read(tmp_path / "again.pt")[0].keys() == weights.keys()


def test_without_torch_the_verbs_say_what_to_install(monkeypatch):
    def no_torch(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(v121.importlib, "import_module", no_torch)
    with pytest.raises(InputError, match=r"pip install .hid-museformer\[torch\]"):
        v121.parity(size="tiny")


def test_an_existing_run_is_not_overwritten(weights, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="exists already"):
        import_torch(saved(tmp_path / "best.pt", weights), tmp_path / "run", "v121")
