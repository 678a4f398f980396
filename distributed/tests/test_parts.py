"""Small parts against what a reader can check: losses against autograd, windows and noise against the TypeScript side's own numbers."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from early_exit_distributed.initial import _normal_numbers, correction, solve  # noqa: E402
from early_exit_distributed.job import JobError, Sample  # noqa: E402
from early_exit_distributed.model_files import find_model  # noqa: E402
from early_exit_distributed.objective import Head, HeadTask, Objective, Teacher, head_losses  # noqa: E402
from early_exit_distributed.pipeline import Layout  # noqa: E402
from early_exit_distributed.schedule import exit_weights_at, improved, learning_rate_at  # noqa: E402
from early_exit_distributed.windows import windows_at  # noqa: E402


@pytest.mark.parametrize("cross_entropy, distillation", [(1.0, 0.0), (0.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("listed", [None, [5, 2, 9]])
def test_losses_and_gradients_are_autograds(cross_entropy, distillation, dynamic, softcap, listed):
    torch.manual_seed(1)
    tokens, hidden, vocabulary = 150, 8, 20
    states = torch.randn(tokens, hidden, requires_grad=True)
    shortlist = None if listed is None else torch.tensor(listed)
    classes_count = vocabulary if listed is None else len(listed) + 1
    weight = torch.randn(classes_count, hidden, requires_grad=True)
    bias = torch.randn(classes_count, requires_grad=True)
    teacher = Teacher(torch.randn(tokens, hidden), Head(torch.randn(vocabulary, hidden), torch.randn(vocabulary)))
    classes = torch.randint(-1, classes_count, (tokens,))

    def capped(z):
        return z if softcap is None else torch.tanh(z / softcap) * softcap

    log_q = capped(states @ weight.T + bias).log_softmax(-1)
    p = capped(teacher.states @ teacher.head.weight.T + teacher.head.bias).softmax(-1)
    if listed is not None:
        p = torch.cat((p[:, listed], 1 - p[:, listed].sum(-1, keepdim=True)), -1)
    each = cross_entropy * F.nll_loss(log_q, classes.clamp_min(0), reduction="none") + distillation * (p * (p.log() - log_q)).sum(-1)
    counted = (classes >= 0).float()
    sure = (log_q if listed is None else log_q[:, :-1]).detach().exp().amax(-1) if dynamic else 1
    expected = (counted * sure * each).sum()
    expected.backward()

    gradient, bias_gradient = torch.zeros_like(weight), torch.zeros_like(bias)
    task = HeadTask(states.detach(), Head(weight.detach(), bias.detach()), classes, shortlist, gradient, 1.0, bias_gradient)
    objective = Objective(cross_entropy, distillation, dynamic, softcap)
    [result] = head_losses([task], teacher if distillation else None, objective)
    assert float(result.loss) == pytest.approx(float(expected), rel=1e-5)
    torch.testing.assert_close(result.state_gradient, states.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient, weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bias_gradient, bias.grad, rtol=1e-4, atol=1e-4)


def test_windows_come_in_the_order_of_the_other_side():
    # windowsAt(7, 10, 8, 5) and windowsAt(4294967295, 1000, 0, 6) of backend/tuning/trainer-order.ts.
    assert windows_at(7, 10, 8, 5) == [3, 8, 7, 6, 8]
    assert windows_at(4294967295, 1000, 0, 6) == [859, 89, 198, 860, 423, 988]
    assert sorted(windows_at(3, 37, 0, 37)) == list(range(37))


def test_noise_is_the_other_sides():
    # initialiseExit of backend/exits/initialise.ts, seed 5, divided by its deviation.
    numbers = [0.5888056941330433, -0.015010355855338275, -1.8750319257378578, 0.8302130736410618, -0.5540025420486927]
    expected = torch.tensor(numbers, dtype=torch.float64)
    torch.testing.assert_close(_normal_numbers(5, "exits.2.norm.head.weight", 5), expected, rtol=1e-6, atol=1e-7)


def test_a_correction_learns_what_there_is_and_no_noise():
    torch.manual_seed(2)
    x = torch.randn(400, 6, dtype=torch.float64)
    truth = torch.randn(6, 3, dtype=torch.float64)
    learned, apart = x[:300], x[300:]
    noise = torch.randn(400, 3, dtype=torch.float64)
    residual = x @ truth + 0.1 * noise
    delta = correction([p.T @ p for p in (learned, apart)], [learned.T @ residual[:300], apart.T @ residual[300:]])
    torch.testing.assert_close(delta, truth, rtol=0.05, atol=0.05)
    # What the tokens apart contradict is not learned.
    assert correction([p.T @ p for p in (learned, apart)], [learned.T @ residual[:300], -apart.T @ residual[300:]]) is None
    exact = torch.linalg.lstsq(x, residual).solution
    torch.testing.assert_close(solve(x.T @ x, x.T @ residual, 1e-9), exact, rtol=1e-6, atol=1e-6)


def test_schedules():
    options = {"learningRate": 1.0, "finalLearningRate": 0.1, "schedule": "linear", "warmupFraction": 0.2}
    assert [learning_rate_at(options, update, 10) for update in (0, 1, 2, 9)] == pytest.approx([0.5, 1.0, 1.0, 0.1])
    ramp = {"kind": "ramp", "from": [0.0], "to": [1.0, 2.0], "shape": "linear"}
    assert exit_weights_at(ramp, 2, 5, 11) == pytest.approx([0.5, 1.0])


def test_an_exit_that_disagrees_more_than_at_first_is_not_kept():
    def scores(loss, agreement):
        return [{"exit": "3:mlp", "loss": loss, "agreement": agreement}, {"exit": "final", "loss": 0.0, "agreement": 1.0}]

    assert improved(scores(1.0, 0.5), scores(2.0, 0.5), scores(3.0, 0.5)) == {"3:mlp"}
    assert improved(scores(1.0, 0.4), scores(2.0, 0.5), scores(3.0, 0.5)) == set()
    assert improved(scores(2.0, 0.6), scores(2.0, 0.5), scores(3.0, 0.5)) == set()


def test_an_exit_belongs_to_the_stage_of_its_layer():
    layout = Layout(((1, 3), (4, 8)))
    assert [layout.stage_of(layer) for layer in (1, 3, 4, 8)] == [0, 0, 1, 1]


def test_a_model_is_known_by_sizes_and_samples(tmp_path, monkeypatch):
    # As sampleFiles of backend/cluster/model-files.ts has it: the file thrice, since it is shorter than a sample.
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    files = {file.name: Sample(7, hashlib.sha256(b"weights" * 3).hexdigest())}
    assert find_model(str(tmp_path), files) == tmp_path
    file.write_bytes(b"Weights")
    with pytest.raises(JobError, match="is another model"):
        find_model(str(tmp_path), files)
    with pytest.raises(JobError, match="/nowhere is not there"):
        find_model("/nowhere", files)


def test_a_model_of_the_hub_is_found_by_its_name(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def downloaded(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", downloaded)
    assert find_model("someone/model-7B", {}) == tmp_path
    assert asked == [("someone/model-7B", ["config.json", "*.safetensors", "*.safetensors.index.json"])]

    def fails(name, allow_patterns):
        raise OSError("no network\nhere")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    with pytest.raises(JobError, match="someone/model-7B could not be downloaded on .*: no network here. Name a folder"):
        find_model("someone/model-7B", {})
