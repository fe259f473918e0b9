"""`--model FILE` in every command, the report of layers, and fine-tuning."""

import json

import pytest
from click.testing import CliRunner

from simulator.cli import cli
from simulator.errors import InputError
from simulator.model_file import names_file, workload_from_file
from workloads.catalog import model
from workloads.finetuning import lora, packed, trainable_parameters
from workloads.importers.layer_file import to_layer_file

LLAMA = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "rms_norm_eps": 1e-5,
}
JOB = ["--system", "selene", "--chips", "8", "--global-batch", "64"]


def run(*args):
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert "Traceback" not in result.output
    assert "a fault of ours" not in result.output
    assert all(line.startswith("trainyard: ") for line in result.stderr.splitlines() if line)
    return result


def refused(*args):
    result = run(*args)
    assert result.exit_code == 2, result.output
    return result.stderr.splitlines()


def answer(*args):
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA), encoding="utf-8")
    return path


@pytest.fixture
def layers(tmp_path):
    path = tmp_path / "net.toml"
    path.write_text(to_layer_file(model("vgg16")), encoding="utf-8")
    return path


# --- files --------------------------------------------------------------------------------------------------------


def test_a_configuration_is_planned_as_the_same_network_of_the_catalogue(config):
    own, shipped = answer("plan", "--model", config, *JOB), answer("plan", "--model", "Llama-2-7B", *JOB)
    assert own["job"]["parameters"] == shipped["job"]["parameters"] == 6_738_415_616
    assert own["ranked"][0]["step_s"] == pytest.approx(shipped["ranked"][0]["step_s"], rel=1e-9)
    assert own["question"]["model"] == "llama"


def test_a_folder_stands_for_its_configuration(config):
    assert answer("catalog", "--model", config.parent)["total"]["parameters"] == 6_738_415_616


def test_a_layer_file_gives_the_network_back(layers):
    own, shipped = answer("catalog", "--model", layers), answer("catalog", "--model", "vgg16")
    assert own["layers"] == shipped["layers"]
    assert own["total"] == shipped["total"]


@pytest.mark.parametrize("command", ["plan", "simulate", "scale", "roofline", "catalog"])
def test_every_command_takes_a_file(command, config, layers):
    own = {
        "plan": ["--model", layers, *JOB],
        "simulate": ["--model", layers, *JOB],
        "scale": ["--model", layers, "--system", "selene", "--chips", "8,16"],
        "roofline": ["--model", config, "--chip", "a100-sxm4-80gb", "--seq-len", "1024"],
        "catalog": ["--model", config, "--seq-len", "1024"],
    }[command]
    assert run(command, *own).exit_code == 0


def test_a_job_file_names_a_file_beside_it(config, tmp_path):
    job = tmp_path / "job.toml"
    job.write_text(
        f"[job]\nmodel = '{config.name}'\nsystem = 'selene'\nchips = 8\nglobal_batch = 64\n", encoding="utf-8"
    )
    assert answer("plan", job)["job"]["parameters"] == 6_738_415_616


def test_the_length_of_a_sequence_is_taken(config):
    assert answer("plan", "--model", config, "--seq-len", "2048", *JOB)["job"]["tokens_per_sample"] == 2048


def test_names_of_the_catalogue_stay_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vgg16").mkdir()
    (tmp_path / "vgg16" / "config.json").write_text("{}")
    assert not names_file("vgg16")
    assert not names_file("meta-llama/Llama-3-8B")
    assert names_file("./vgg16")
    assert names_file("x.JSON")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "not JSON"),
        ("a.json", "[]", "expected an object"),
        ("a.json", "{}", "holds no network"),
        ("a.json", '{"model_type": "lama"}', "lama"),
        ("a.toml", "[job]\nmodel = 'x'\n", "is a job"),
        ("a.toml", "x", "not TOML"),
        ("a.json", "\u00e9" * 3, "not JSON"),
        ("a.toml", "layers = 3\n", "holds no network"),
        ("a.toml", "[[layers]]\n", "family"),
        ("a.onnx", "x", ""),
        ("a.et", "x", "a trace lists"),
        ("a.json", '{"model_type": "llama", "hidden_size": 1e400}', "finite"),
        ("a.json", '{"a":' * 100 + "1" + "}" * 100, "nested too deeply"),
    ],
)
def test_bad_files_are_lines_that_name_them(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    for command in (["plan", *JOB], ["catalog"], ["roofline", "--chip", "v100"]):
        lines = refused(*command, "--model", path)
        assert any(said in line and str(path) in line for line in lines), lines
        assert all(line.startswith("trainyard: --model: ") for line in lines), lines


def test_problems_of_a_file_come_with_those_of_the_flags(tmp_path):
    lines = refused("plan", "--model", tmp_path / "none.json", "--system", "selne", "--global-batch", "0")
    assert [line.split(": ")[1] for line in lines] == ["--model", "--global-batch", "--system"]


def test_sizes_that_a_file_cannot_have_are_lines(layers, config):
    assert "leave seq_len out" in refused("catalog", "--model", layers, "--seq-len", "8")[0]
    assert "leave image_size out" in refused("catalog", "--model", config, "--image-size", "8")[0]
    with pytest.raises(InputError, match="seq_len out"):
        workload_from_file(str(layers), seq_len=8)


def test_sizes_of_an_onnx_file_stand_behind_its_name(monkeypatch):
    asked = {}

    def read(path, *, sizes):
        asked[path] = sizes
        return model("vgg16")

    monkeypatch.setattr("workloads.importers.onnx.workload_from_onnx", read)
    assert workload_from_file("a/net.onnx:batch=1,sequence=512").parameters == model("vgg16").parameters
    assert workload_from_file("a/net.ONNX").name == model("vgg16").name
    assert asked == {"a/net.onnx": {"batch": 1, "sequence": 512}, "a/net.ONNX": None}
    assert names_file("a/net.onnx:batch=1")
    for bad in ("net.onnx:", "net.onnx:batch", "net.onnx:batch=x", "net.onnx:batch=0", "net.onnx:=3"):
        with pytest.raises(InputError, match="is no size"):
            workload_from_file(bad)


# --- the report of layers -----------------------------------------------------------------------------------------


def test_the_report_of_layers_prints_the_numbers_of_its_json():
    text, value = run("catalog", "--model", "resnet50").stdout, answer("catalog", "--model", "resnet50")
    for layer in (*value["layers"], value["total"]):
        assert f"{layer['parameters']:,}" in text
    assert value["total"]["parameters"] == 25_557_032
    assert len(answer("catalog", "--model", "resnet50", "--ops")["layers"][0]["ops"]) > 1
    assert len(run("catalog", "--model", "resnet50", "--ops").stdout.splitlines()) > len(text.splitlines())


def test_sizes_and_changes_reach_the_report():
    short, long = (answer("catalog", "--model", "llama-3-8b", "--seq-len", n)["total"] for n in (1024, 2048))
    assert short["parameters"] == long["parameters"]
    assert short["forward_flop"] < long["forward_flop"] / 2
    small, large = (answer("catalog", "--model", "resnet50", "--image-size", n)["total"] for n in (160, 224))
    assert small["forward_flop"] < large["forward_flop"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--model", "llama-3-8b", "--seq-len", "x"], "--seq-len"),
        (["--model", "lama-3-8b"], "Did you mean"),
        (["models", "--model", "vgg16"], "one of them"),
        (["--ops"], "--ops: only with --model"),
        (["--model", "vgg16", "--seq-len", "8"], "--seq-len"),
        (["chips", "--lora-rank", "3"], "--lora-rank: only with --model"),
    ],
)
def test_bad_questions_about_layers_are_lines(args, said):
    assert any(said in line for line in refused("catalog", *args))


# --- fine-tuning --------------------------------------------------------------------------------------------------


def test_adapters_are_those_of_the_library():
    value = answer("catalog", "--model", "llama-3-8b", "--lora-rank", "16", "--lora-targets", "qkv,projection")["total"]
    expected = lora(model("llama-3-8b"), rank=16, targets=("qkv", "projection"))
    assert value["parameters"] == expected.parameters
    assert value["trained_parameters"] == trainable_parameters(expected)
    assert value["trained_parameters"] < value["parameters"] / 100


def test_adapters_take_less_memory_and_less_time():
    whole, adapted = (
        answer("plan", "--model", "llama-3-8b", *JOB, *more)["ranked"][0] for more in ([], ["--lora-rank", "16"])
    )
    assert adapted["step_s"] < whole["step_s"]


def test_documents_shorter_than_the_sequence_take_less_work():
    value = answer("catalog", "--model", "llama-3-8b", "--mean-length", "1000", "--length-variation", "0.5")["total"]
    assert value["forward_flop"] == packed(model("llama-3-8b"), mean_length=1000, variation=0.5).forward_flop
    assert value["forward_flop"] < model("llama-3-8b").forward_flop


def test_frozen_layers_get_no_gradient():
    value = answer("catalog", "--model", "llama-3-8b", "--frozen", "embedding,block")
    trained = {layer["name"]: layer["trained_parameters"] for layer in value["layers"]}
    assert trained["embedding"] == trained["block"] == 0
    assert trained["head"] == value["total"]["trained_parameters"] == model("llama-3-8b").layers[-1].parameters


def test_a_job_file_says_the_same(tmp_path):
    job = tmp_path / "job.toml"
    job.write_text(
        "[job]\nmodel = 'llama-3-8b'\nsystem = 'selene'\nchips = 8\nglobal_batch = 64\nlora_rank = 16\n"
        "lora_targets = ['qkv', 'projection']\n",
        encoding="utf-8",
    )
    flags = answer("plan", "--model", "llama-3-8b", *JOB, "--lora-rank", "16", "--lora-targets", "qkv, projection")
    assert answer("plan", job)["ranked"] == flags["ranked"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--lora-rank", "0"], "--lora-rank"),
        (["--lora-rank", "1.5"], "--lora-rank"),
        (["--lora-rank", "x"], "whole number"),
        (["--lora-rank", "16", "--lora-targets", "qvk"], "--lora-targets"),
        (["--lora-targets", "qkv"], "without lora_rank"),
        (["--lora-rank", "16", "--frozen", "head"], "one of them"),
        (["--frozen", "heads"], "Legal: embedding, block, head"),
        (["--frozen", "embedding,block,head"], "nothing is left"),
        (["--mean-length", "9999999"], "--mean-length"),
        (["--length-variation", "1"], "without mean_length"),
        (["--mean-length", "nan"], "--mean-length"),
        (["--frozen", ","], "--frozen"),
        (["--lora-rank", "1" * 400], "--lora-rank"),
        (["--lora-rank", "１６"], "--lora-rank"),
    ],
)
def test_bad_changes_are_lines(args, said):
    for command in (["plan", *JOB], ["catalog"]):
        assert any(said in line for line in refused(*command, "--model", "llama-3-8b", *args))


def test_images_have_no_documents():
    assert "no attention" in refused("plan", "--model", "resnet50", *JOB, "--mean-length", "8")[0]
