"""Small parts against what a reader can check: losses against autograd, windows and noise against the TypeScript side's own numbers."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from early_exit_distributed.checkpoint import Checkpoint, read_progress, write_tensors  # noqa: E402
from early_exit_distributed.clock import Clock  # noqa: E402
from early_exit_distributed.initial import _normal_numbers, correction, first_values, solve  # noqa: E402
from early_exit_distributed.job import Exit, JobError, Limits, Mesh, Parameter, Sample, read_job, way_on  # noqa: E402
from early_exit_distributed.model_files import find_model  # noqa: E402
from early_exit_distributed.objective import Head, HeadTask, Objective, Teacher, head_losses  # noqa: E402
from early_exit_distributed.pipeline import Layout  # noqa: E402
from early_exit_distributed.ranks import Ranks  # noqa: E402
from early_exit_distributed.reached import Position, Reached  # noqa: E402
from early_exit_distributed.schedule import exit_weights_at, improved, learning_rate_at  # noqa: E402
from early_exit_distributed.step import Sums  # noqa: E402
from early_exit_distributed.updates import update_to_the_end  # noqa: E402
from early_exit_distributed.windows import Windows, shared_evenly, windows_at  # noqa: E402


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


def test_replicas_have_equally_many_batches():
    assert [shared_evenly([7, 8, 9], 1, replica, 2) for replica in (0, 1)] == [[[7], [9]], [[8], []]]
    assert [shared_evenly([7], 4, replica, 2) for replica in (0, 1)] == [[[7]], [[]]]
    assert [shared_evenly([*range(6)], 2, replica, 2) for replica in (0, 1)] == [[[0, 2], [4]], [[1, 3], [5]]]


def test_a_batch_without_windows_has_no_target(tmp_path):
    entries, target = [3, 4, 5, 6], 1 << 31
    header = b"EETK".ljust(8, b"\0") + struct.pack("<3d", 4, len(entries), 1)
    words = struct.pack("<5I", entries[0], *(entry | target for entry in entries[1:]), 0)
    (tmp_path / "train.tokens").write_bytes(header.ljust(64, b"\0") + words)
    windows = Windows(tmp_path / "train.tokens")
    assert [each.tolist() for each in windows.batch([0])] == [[entries], [[4, 5, 6, -1]]]
    assert [each.tolist() for each in windows.batch([])] == [[entries], [[-1] * 4]]


def test_noise_is_the_other_sides():
    # initialiseExit of backend/exits/initialise.ts, seed 5, divided by its deviation.
    numbers = [0.5888056941330433, -0.015010355855338275, -1.8750319257378578, 0.8302130736410618, -0.5540025420486927]
    expected = torch.tensor(numbers, dtype=torch.float64)
    torch.testing.assert_close(_normal_numbers(5, "exits.2.norm.head.weight", 5), expected, rtol=1e-6, atol=1e-7)


def test_the_defer_class_begins_with_some_of_the_other_tokens():
    # As shortlistRows of backend/exits/initialise.ts has them: every third, of more than twice as many as are taken.
    values = torch.arange(9000.0)[:, None]
    exit = exit_of((Parameter("exits.1.norm.head.weight", (3, 1), "lm_head.weight"),), (0, 5))
    job = SimpleNamespace(options={"initialise": "copy"}, spec={"hidden": 1})
    [rows] = first_values(job, exit, SimpleNamespace(values=lambda _: values)).values()
    others = [token for token in range(9000) if token not in (0, 5)][::3]
    assert rows.flatten().tolist() == pytest.approx([0, 5, sum(others) / len(others)])


def exit_of(parameters: tuple[Parameter, ...], tokens: tuple[int, ...] = ()) -> Exit:
    return Exit(1, "norm", "shortlist" if tokens else "own", tokens, parameters, (), "1.end", False, False)


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


def test_a_job_with_a_checkpoint_goes_on_from_it(tmp_path):
    (tmp_path / "distributed").mkdir()
    nothing = dict.fromkeys(("model", "spec", "base", "continues", "train", "heldOut", "heldOutTokens", "data", "tuning", "options", "shard"), "")
    limits, mesh = {"steps": 1, "epochs": None, "seconds": None}, {"pp": 1, "dp": 1, "tp": 1}
    job = {**nothing, "version": 3, "files": {}, "sources": {}, "exits": [], "limits": limits, "mesh": mesh, "resume": False}
    (tmp_path / "distributed" / "job.json").write_text(json.dumps(job))
    assert (read_job(tmp_path).resume, way_on(tmp_path)) == (False, "Start it again")
    # As Slurm requeues it.
    (tmp_path / "exits.json").write_text("{}")
    assert (read_job(tmp_path).resume, way_on(tmp_path)) == (True, "Go on from its last state with --resume")


LIMITS = Limits(steps=1000, epochs=None, seconds=None)
SAVED = {
    "step": 500,
    "windows": 4000,
    "tokens": 9,
    "seconds": 60.5,
    "best": None,
    "before": [],
    "data": "hash",
    "finished": True,
    "evaluatedAt": 480,
    "updatesFrom": 3.5,
    "heldOut": {"tokens": 96},
    "ending": {"evaluation": 1, "saving": 2},
    "cost": {"numbers": {"backbone": 1, "whole": 2, "trained": 3}, "peakBytes": 4},
    "pool": 7,
}


def test_a_position_keeps_what_the_other_side_has_written():
    expected = {**SAVED, "finished": False, "end": {"steps": 1000, "epochs": None, "seconds": None}}
    # Beyond its end a run takes windows that it has not seen.
    del expected["pool"]
    assert Position.of(SAVED, LIMITS).stored() == expected
    assert Position.of({**SAVED, "finished": False}, LIMITS).stored() == {**expected, "pool": 7}
    assert replace(Position.of(SAVED, LIMITS), step=501).stored() == {**expected, "step": 501}


def test_a_position_of_an_earlier_version_gets_no_empty_entries():
    old = {name: value for name, value in SAVED.items() if name not in ("evaluatedAt", "updatesFrom", "heldOut", "ending", "cost", "pool")}
    stored = Position.of({**old, "heldOut": None}, LIMITS).stored()
    assert stored == {**old, "finished": False, "evaluatedAt": 500, "updatesFrom": 0, "end": {"steps": 1000, "epochs": None, "seconds": None}}


def test_a_clock_evaluates_as_often_as_the_other_side():
    # Math.round(25 / 10) of backend/tuning/trainer.ts is 3, not the even number.
    clock = Clock(Limits(25, None, None), 25, 0, 0, lambda: 0.0, True)
    assert [step for step in range(1, 13) if clock.is_evaluation_due(step, None)] == [3, 6, 9, 12]


def test_all_ranks_begin_at_the_first_ones_clock():
    seconds = [40.0, 60.0]
    clocks = [Clock(Limits(None, None, 100.0), None, 0, 0, lambda i=i: seconds[i], i == 0) for i in (0, 1)]
    share = sum(clock.share_now() for clock in clocks)
    for clock in clocks:
        clock.reach(share, 0)
    assert [clock.update(0) for clock in clocks] == pytest.approx([0.4 * 999] * 2)


class CountingLearner:
    """Learns nothing; every evaluation is the best so far."""

    ids = ["1:norm"]

    def __init__(self):
        self.evaluated, self.saved = [], []

    def passes(self, batches):
        return batches

    def learn(self, passed, weights):
        return 1

    def gather(self):
        return {"1:norm": Sums(1.0, 1.0, 1.0)}

    def update(self, moment, scale, norms):
        return 0.1

    def judged(self, reached):
        self.evaluated.append(reached.position.step)
        return replace(reached, position=replace(reached.position, best=0.0)), 0.0

    def save(self, checkpoint, position, metrics_bytes=None):
        self.saved.append(position)
        return 0.0

    def drain(self):
        pass

    def memory(self):
        return {}


def updated(stop_at: int, steps: int = 6, step: int = 0, evaluated_at: int = 0) -> tuple[dict, CountingLearner]:
    """A run that is asked to stop in update `stop_at`."""
    learner, emitted = CountingLearner(), []
    mesh = Mesh(1, 1, 1)
    options = {"batchSize": 1, "seed": 1, "evaluateEvery": 2, "exitWeights": {"kind": "static", "weights": [1.0]}}
    exits = (exit_of(()),)
    run = SimpleNamespace(
        job=SimpleNamespace(limits=Limits(steps, None, None), options=options, exits=exits),
        ranks=Ranks(mesh, torch.device("cpu"), 0, 0, 0, 0, None, None, None, None),
        per_step=1,
        train=SimpleNamespace(count=4),
        emit=emitted.append,
        elapsed=lambda: float(len(emitted)),
        stops=lambda: sum(each["type"] == "step" for each in emitted) + step + 1 == stop_at,
    )
    position = Position(step, step, step, 0.0, None, [], "hash", False, 0.0, evaluated_at)
    ended = update_to_the_end(run, learner, Reached(position, {}, {"scores": []}, None))
    return ended, learner


def test_a_run_that_is_stopped_has_the_evaluation_of_its_last_update():
    ended, learner = updated(stop_at=4)
    assert (ended["step"], ended["stopped"], learner.evaluated) == (4, True, [2, 4])
    assert (learner.saved[-1].evaluatedAt, learner.saved[-1].finished) == (4, False)


def test_a_run_that_is_stopped_between_evaluations_is_resumed_before_its_last():
    ended, learner = updated(stop_at=3)
    assert (ended["step"], ended["stopped"], learner.evaluated) == (3, True, [2, 3])
    assert learner.saved[-1].evaluatedAt == 2
    # If the rest of the run is nothing, its end is evaluated.
    assert updated(stop_at=-1, steps=3, step=3, evaluated_at=2)[1].evaluated == [3]


def test_a_run_that_is_stopped_in_its_last_update_is_finished():
    ended, learner = updated(stop_at=6)
    assert (ended["step"], ended["stopped"], learner.evaluated, learner.saved[-1].finished) == (6, False, [2, 4, 6], True)


def checkpoint_job(directory: Path) -> SimpleNamespace:
    exits = (exit_of((Parameter("exits.1.norm.head.weight", (2, 1), "lm_head.weight"),)),)
    return SimpleNamespace(directory=directory, base={"sha256": "0"}, exits=exits, tuning={}, data="hash")


def test_a_writer_that_was_killed_between_two_files_leaves_what_they_say_true(tmp_path):
    checkpoint = Checkpoint(checkpoint_job(tmp_path))
    values = {"exits.1.norm.head.weight": torch.ones(2, 1)}
    checkpoint.save_exits(values, {"step": 1})
    checkpoint.close()
    write_tensors(tmp_path / "exits.safetensors", values, {"progress": json.dumps({"step": 2})})
    (tmp_path / ".exits.json.123.tmp").write_text("{")
    (tmp_path / ".lock.123.tmp").write_text("of the command line")
    Checkpoint(checkpoint_job(tmp_path)).close()
    assert read_progress(tmp_path / "exits.safetensors") == {"step": 2}
    assert [file.name for file in tmp_path.glob(".*")] == [".lock.123.tmp"]
