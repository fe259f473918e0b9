"""Notebook 11 runs from top to bottom, and its answers hold."""


def test_a_network_for_tensor_parallelism_needs_domains_and_one_for_resnet_is_any(results_of):
    results = results_of("11_which_network")
    names, llama = results["names"], dict(zip(results["names"], results["llama_s"], strict=True))
    assert len(names) == 6
    # What exchanges among neighbours all the time wants its money near the chips: a domain, or a torus cut into cubes.
    assert set(results["best_llama"]) <= {"NVLink for all", "torus 4x4x4"}
    assert results["best_llama"][-1] == "NVLink for all"  # a third of the torus' links are optical
    assert llama["NVLink for all"] < llama["NVLink in eights"] < llama["fat tree 2:1"] < llama["fat tree"]
    assert llama["torus 4x4x4"] < llama["fat tree 2:1"]
    assert 2.0 < results["layout_gain"] < 4.0
    assert max(llama.values()) < 2 * min(llama.values())
    # Gradients of 51 MB hide everywhere; a torus runs them on all its links at once.
    assert max(results["resnet_exposed"]) == 0.0
    slack = dict(zip(names, results["resnet_slack"], strict=True))
    assert min(slack.values()) > 10
    assert max(slack, key=slack.get) == "torus 4x4x4"
    # Far exchanges of many groups are where a dragonfly on shortest routes and cards of one server lose.
    far = {name: found[1] for name, found in zip(names, results["seconds"], strict=True)}
    assert far["dragonfly"] > 3 * far["fat tree"]
    assert far["NVLink in eights"] > 3 * far["fat tree"]
    # Measured collectives get half of what the graph allows, or more; a sum in switches more than a ring can.
    assert 0.4 < min(results["shares"].values()) < 0.6
    assert 1.0 < results["shares"]["64 GB200, all_reduce"] < 1.1
    assert len(results["shares"]) == 7
    assert results["figures"] == 3
