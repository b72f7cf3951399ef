from __future__ import annotations

import io
import math
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from likewise.data.batches import Media
from likewise.evaluation.verification import roc_from_trials
from likewise.learning import encoders, losses
from likewise.learning.diagnosis import collapsed
from likewise.learning.embedding import embed
from likewise.learning.feeds import ClassFeed
from likewise.learning.loss_base import averaged
from likewise.learning.losses import Loss, LossResult
from likewise.learning.memory import CrossBatchMemory
from likewise.learning.optimisation import OPTIMIZERS, SCHEDULES
from likewise.learning.training import Epoch, Fit, Settings, State, Step, TrainingError

CLASSES, EACH, SIDE = 4, 12, 6
LABELS = np.repeat(np.arange(CLASSES), EACH)
CPU = torch.device("cpu")
OPTIONS: dict[str, dict[str, Any]] = {"mlp": {"width": 16}, "conv": {"width": 8, "norm": "batch"}}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pictures() -> np.ndarray[Any, Any]:
    """A picture a class under so much noise that it has to be learnt."""
    draw = np.random.default_rng(0)
    means = draw.uniform(70, 180, (CLASSES, 1, SIDE, SIDE))
    return np.clip(draw.normal(means[LABELS], 50), 0, 255).astype(np.uint8)


MEDIA = Media(pictures(), device=CPU)
LEFT, RIGHT = np.triu_indices(len(LABELS), 1)
SAME = (LABELS[LEFT] == LABELS[RIGHT]).astype(int)


def eer(loss_distance: Any) -> Callable[[encoders.Network], float]:
    def measure(encoder: encoders.Network) -> float:
        found = embed(encoder, MEDIA, np.arange(len(LABELS)))
        return roc_from_trials(loss_distance.score(loss_distance.paired(found[LEFT], found[RIGHT])), SAME).eer

    return measure


def scripted(*values: float) -> Callable[[nn.Module], float]:
    left = iter(values)
    return lambda _: next(left)


def settings(**changes: Any) -> Settings:
    plain: dict[str, Any] = {
        "epochs": 3,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "weight_decay": 1e-4,
        "schedule": "constant",
        "keep": "best",
        "patience": 0,
        "clip": 1.0,
        "precision": "fp32",
        "seed": 0,
    }
    return Settings(**{**plain, **changes})


def make(
    *,
    loss: str | Loss = "triplet",
    encoder: str = "mlp",
    normalise: bool = True,
    validate: Callable[[encoders.Network], float] | None = None,
    seed: int = 0,
    media: Media = MEDIA,
    **changes: Any,
) -> Fit:
    made = losses.build(loss, classes=CLASSES, embedding=8) if isinstance(loss, str) else loss
    network = encoders.build(encoder, MEDIA.shape, 8, normalise=normalise, seed=seed, **OPTIONS[encoder])
    feed = ClassFeed(np.arange(len(LABELS)), LABELS, classes_per_batch=CLASSES, samples_per_class=4, seed=seed)
    judge = validate or eer(made.distance)
    return Fit(network, made, feed, media, validate=judge, settings=settings(seed=seed, **changes))


def epochs(fit: Fit) -> list[Epoch]:
    return [record for record in fit.run() if isinstance(record, Epoch)]


def stored(state: State) -> State:
    """What is left of a state after a save and a load, as a checkpoint does it."""
    content = io.BytesIO()
    torch.save(state, content)
    content.seek(0)
    loaded: State = torch.load(content, weights_only=True)
    return loaded


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


def test_the_loss_goes_down_and_the_twins_learn() -> None:
    fit = make(epochs=10, loss="contrastive")
    before = eer(fit.loss.distance)(fit.encoder)
    history = epochs(fit)
    assert history[-1].loss < 0.5 * history[0].loss
    assert fit.progress.best_val_eer < 0.5 * before


def test_records_are_every_step_and_then_the_epoch() -> None:
    records = list(make(epochs=2).run())
    kinds = [(record.epoch, record.step if isinstance(record, Step) else "end") for record in records]
    assert kinds == [(e, what) for e in (1, 2) for what in (1, 2, 3, "end")]
    assert all(record.steps == 3 for record in records if isinstance(record, Step))


def test_an_epoch_is_the_mean_of_its_steps() -> None:
    fit = make(epochs=1, schedule="cosine")
    *steps, last = list(fit.run())
    taken = [step for step in steps if isinstance(step, Step)]
    assert isinstance(last, Epoch)
    assert last.loss == pytest.approx(np.mean([step.loss.item() for step in taken]))
    assert last.zero_loss_share == pytest.approx(np.mean([step.zero_share.item() for step in taken]))
    assert last.learning_rate == pytest.approx(0.01 * SCHEDULES["cosine"](2 / 3))
    assert last.val_eer == fit.progress.best_val_eer == eer(fit.loss.distance)(fit.encoder)


@pytest.mark.parametrize("loss", ["triplet", "contrastive", "binary", "proxy_nca"])
def test_the_share_of_zero_losses_is_a_share(loss: str) -> None:
    shares = [epoch.zero_loss_share for epoch in epochs(make(loss=loss, epochs=4))]
    assert all(0 <= share <= 1 for share in shares)
    if loss == "triplet":
        assert shares[-1] > shares[0]


def cut_after(epoch: int, fit: Fit) -> State:
    """Train to the end of an epoch and return the checkpoint, then go on for a step as a killed run does."""
    running = fit.run()
    if epoch:
        next(record for record in running if isinstance(record, Epoch) and record.epoch == epoch)
    state = stored(fit.state())
    next(running)
    return state


@pytest.mark.parametrize("cut", [0, 1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_cut_after_any_epoch_it_ends_bit_for_bit_the_same(optimizer: str, cut: int) -> None:
    def fit() -> Fit:
        return make(optimizer=optimizer, schedule="one_cycle", loss="proxy_nca")

    whole, again = fit(), fit()
    undisturbed = epochs(whole)
    again.restore(cut_after(cut, fit()))
    assert epochs(again) == undisturbed[cut:]
    assert again.progress.history == undisturbed
    assert same_weights(again.encoder, whole.encoder)
    assert same_weights(again.loss, whole.loss)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_cut_after_the_best_epoch_it_keeps_the_best_weights(cut: int) -> None:
    eers = (0.3, 0.1, 0.2, 0.2, 0.2)

    def fit(rest: tuple[float, ...]) -> Fit:
        return make(encoder="conv", loss="binary_l1", epochs=5, patience=2, validate=scripted(*rest))

    whole, again = fit(eers), fit(eers[cut:])
    epochs(whole)
    again.restore(cut_after(cut, fit(eers)))
    epochs(again)
    assert (again.progress.best_epoch, len(again.progress.history)) == (2, 4)
    assert same_weights(again.encoder, whole.encoder)


def test_a_finished_training_taken_up_again_only_hands_out_the_weights() -> None:
    whole, again = make(loss="binary_l1"), make(loss="binary_l1")
    epochs(whole)
    again.restore(stored(whole.state()))
    assert list(again.run()) == []
    assert same_weights(again.encoder, whole.encoder)


def test_other_seeds_give_other_weights_and_the_same_seed_the_same() -> None:
    one, same, other = make(), make(), make(seed=1)
    for fit in (one, same, other):
        epochs(fit)
    assert same_weights(one.encoder, same.encoder)
    assert not same_weights(one.encoder, other.encoder)


def test_the_best_weights_are_kept_and_given_back() -> None:
    seen: list[dict[str, Tensor]] = []
    eers = iter((0.3, 0.1, 0.2))

    def validate(encoder: nn.Module) -> float:
        seen.append({name: value.clone() for name, value in encoder.state_dict().items()})
        return next(eers)

    fit = make(validate=validate)
    epochs(fit)
    assert (fit.progress.best_epoch, fit.progress.best_val_eer) == (2, 0.1)
    for name, value in fit.encoder.state_dict().items():
        assert torch.equal(value, seen[1][name])
    assert not torch.equal(seen[1]["head.weight"], seen[2]["head.weight"])


@pytest.mark.parametrize(
    ("patience", "eers", "done", "best"),
    [
        (2, (0.3, 0.1, 0.2, 0.2, 0.0), 4, 2),
        (1, (0.1, 0.2, 0.0, 0.0, 0.0), 2, 1),
        (0, (0.1, 0.2, 0.3, 0.4, 0.5), 5, 1),
        (2, (0.1, 0.1, 0.1, 0.1, 0.1), 5, 5),
        (2, (0.5, 0.4, 0.3, 0.2, 0.1), 5, 5),
    ],
)
def test_it_stops_when_the_best_is_as_old_as_the_patience(
    patience: int, eers: tuple[float, ...], done: int, best: int
) -> None:
    fit = make(epochs=5, patience=patience, validate=scripted(*eers))
    assert len(epochs(fit)) == done
    assert fit.finished
    assert fit.progress.best_epoch == best


def test_the_last_epoch_is_kept_where_it_is_asked_for() -> None:
    fit = make(epochs=3, keep="last", validate=scripted(0.1, 0.2, 0.3))
    epochs(fit)
    assert (fit.progress.best_epoch, fit.progress.best_val_eer) == (3, 0.3)


def test_the_weights_that_a_loss_learns_are_folded_into_the_encoder() -> None:
    fit = make(loss="binary_l1", learning_rate=0.1)
    epochs(fit)
    assert len(set(fit.encoder.scale.tolist())) > 1
    assert eer(fit.loss.distance)(fit.encoder) == fit.progress.best_val_eer
    assert all((value == 1).all() for name, value in fit.progress.best_weights.items() if name == "encoder.scale")


class Hopeless(Loss):
    """Costs a number of its choice after a few steps."""

    def __init__(self, cost: float, *, after: int, gradient_only: bool = False) -> None:
        super().__init__()
        self.cost, self.after, self.gradient_only, self.steps = cost, after, gradient_only, 0

    def _batch(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        self.steps += self.training
        plain = averaged(embeddings.square().sum(dim=1), embeddings)
        if self.steps <= self.after or not self.training:
            return plain
        if self.gradient_only:
            embeddings.register_hook(lambda gradient: gradient * self.cost)  # type: ignore[no-untyped-call]
            return plain
        return LossResult(plain.loss * self.cost, plain.zero_share, plain.candidates)


@pytest.mark.parametrize("cost", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_what_to_try(cost: float) -> None:
    fit = make(loss=Hopeless(cost, after=3), epochs=5)
    with pytest.raises(ValueError, match=r"learning.rate"):
        epochs(fit)
    assert len(fit.progress.history) == 1
    assert all(torch.isfinite(value).all() for value in fit.progress.best_weights.values())


def test_a_loss_that_is_not_finite_in_the_last_step_is_named_with_its_epoch() -> None:
    fit = make(loss=Hopeless(math.nan, after=5), epochs=5)
    with pytest.raises(TrainingError, match=r"the loss is nan at epoch 2, step 3; try a lower train\.learning_rate"):
        epochs(fit)


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("after", [3, 5])
def test_a_gradient_that_is_not_finite_never_gets_into_the_best_weights(clip: float, after: int) -> None:
    fit = make(loss=Hopeless(math.inf, after=after, gradient_only=True), epochs=5, clip=clip)
    with pytest.raises(ValueError, match=r"learning.rate"):
        epochs(fit)
    assert len(fit.progress.history) == 1
    assert all(torch.isfinite(value).all() for value in fit.progress.best_weights.values())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_learning_rate_beyond_reason_is_refused_or_survived(optimizer: str) -> None:
    fit = make(optimizer=optimizer, learning_rate=1e30, weight_decay=0.0, normalise=False, clip=0.0, loss="contrastive")
    with pytest.raises(ValueError, match=r"learning.rate"):
        epochs(fit)


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_the_gradient_is_clipped_and_its_own_norm_told(clip: float) -> None:
    fit = make(loss="contrastive", normalise=False, clip=clip, epochs=1)
    norms, records = [], fit.run()
    for record in records:
        gradients = [p.grad for p in fit.encoder.parameters() if p.grad is not None]
        norms.append(torch.stack([g.norm() for g in gradients]).norm().item())
        if isinstance(record, Epoch):
            told = record.gradient_norm
    if clip:
        assert norms == pytest.approx([clip] * 4, rel=1e-3)
        assert told > 10 * clip
    else:
        assert told == pytest.approx(np.mean(norms[:-1]), rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_is_of_the_encoders_arithmetic_only(precision: str) -> None:
    seen: set[torch.dtype] = set()
    fit = make(precision=precision, epochs=4)
    fit.encoder.get_submodule("backbone").register_forward_hook(lambda _m, _i, output: seen.add(output.dtype))
    history = epochs(fit)
    assert seen == {torch.float32} | ({torch.bfloat16} if precision == "bf16" else set())
    assert all(math.isfinite(epoch.loss) for epoch in history)
    assert history[-1].loss < history[0].loss
    assert {value.dtype for value in fit.encoder.state_dict().values()} == {torch.float32}


def test_the_losss_own_parameters_are_trained_too() -> None:
    fit = make(loss="proxy_nca")
    before = {name: value.clone() for name, value in fit.loss.state_dict().items()}
    epochs(fit)
    assert before
    assert not any(torch.equal(before[name], value) for name, value in fit.loss.state_dict().items())


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_follows_the_schedule_step_by_step(schedule: str) -> None:
    fit = make(schedule=schedule, epochs=2)
    rates = [fit.state()["optimizer"]["param_groups"][0]["lr"] for record in fit.run() if isinstance(record, Step)]
    assert rates == pytest.approx([0.01 * SCHEDULES[schedule](step / 6) for step in range(6)])


def test_unknown_names_list_the_known_ones_nearest_first() -> None:
    with pytest.raises(ValueError, match="unknown optimizer 'adamv'; known: adam"):
        make(optimizer="adamv")
    with pytest.raises(ValueError, match="unknown schedule 'cosinus'; known: cosine, "):
        make(schedule="cosinus")


def test_the_rate_warms_up_besides_the_schedule() -> None:
    fit = make(schedule="cosine", epochs=3, warmup=2)
    rates = [fit.state()["optimizer"]["param_groups"][0]["lr"] for record in fit.run() if isinstance(record, Step)]
    expected = [0.01 * SCHEDULES["cosine"](step / 9) * min(1, (step + 1) / 6) for step in range(9)]
    assert rates == pytest.approx(expected)


def test_what_the_loss_learns_has_a_rate_of_its_own() -> None:
    fit = make(loss="proxy_anchor", loss_learning_rate=0.5, schedule="one_cycle", epochs=1)
    for record in fit.run():
        if isinstance(record, Step):
            *encoder, learnt = fit.state()["optimizer"]["param_groups"]
            assert {group["lr"] for group in encoder} == {learnt["lr"] / 50}


def test_the_average_is_what_is_judged_and_kept() -> None:
    judged: list[dict[str, Tensor]] = []

    def judge(encoder: nn.Module) -> float:
        judged.append({name: value.clone() for name, value in encoder.state_dict().items()})
        return 0.5

    fit, plain = make(ema=0.9, validate=judge, epochs=2), make(validate=lambda _: 0.5, epochs=2)
    trail: list[list[Tensor]] = []
    for record in fit.run():
        if isinstance(record, Step):
            trail.append([weight.detach().double().clone() for weight in fit.encoder.parameters()])
    expected = [weight.detach().double() for weight in make().encoder.parameters()]
    for step, weights in enumerate(trail, start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, weights, strict=True)]
    for weight, value in zip(fit.encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.detach().double(), value, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(judged[-1][name], value) for name, value in fit.encoder.state_dict().items())
    epochs(plain)
    assert not same_weights(fit.encoder, plain.encoder)


def test_a_batch_in_parts_teaches_the_same() -> None:
    whole, parted = make(epochs=2), make(epochs=2, accumulate=3)
    one, other = next(whole.run()), next(parted.run())
    assert isinstance(one, Step)
    assert isinstance(other, Step)
    torch.testing.assert_close(one.loss, other.loss)
    for ours, plain in zip(parted.encoder.parameters(), whole.encoder.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("encoder", ["conv", "mlp"])
def test_channels_last_is_another_order_in_memory_and_not_another_result(encoder: str) -> None:
    plain, last = make(encoder=encoder, epochs=1), make(encoder=encoder, epochs=1, channels_last=True)
    seen: list[bool] = []
    last.encoder.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].is_contiguous(memory_format=torch.channels_last))
    )
    one, other = next(plain.run()), next(last.run())
    assert isinstance(one, Step)
    assert isinstance(other, Step)
    assert seen[-1]
    torch.testing.assert_close(one.loss, other.loss, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch's compiler needs g++")
def test_compiled_it_learns_the_same() -> None:
    plain, compiled = make(epochs=1), make(epochs=1, compile=True)
    for fit in (plain, compiled):
        epochs(fit)
    for ours, theirs in zip(compiled.encoder.parameters(), plain.encoder.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_layers_are_looked_at_before_training_and_after_each_epoch() -> None:
    fit = make(epochs=3)
    history = epochs(fit)
    names = [name for name, layer in fit.encoder.named_modules() if not any(layer.children())]
    assert [(row["epoch"], row["layer"]) for row in fit.progress.layers] == [(e, n) for e in range(4) for n in names]
    first = [row for row in fit.progress.layers if row["epoch"] == 0]
    assert all(row["activation_var"] > 0 for row in first)
    # No gradient reaches what comes before the first weights.
    assert math.isnan(first[0]["gradient_var"])
    assert all(row["gradient_var"] > 0 for row in first[1:])
    again = make(epochs=3)
    again.restore(stored(cut_after(2, make(epochs=3))))
    epochs(again)
    pd.testing.assert_frame_equal(pd.DataFrame(again.progress.layers), pd.DataFrame(fit.progress.layers))
    assert [epoch.collapsed_loss for epoch in history] == pytest.approx([0.2] * 3, rel=0.02)


def test_a_training_that_collapses_is_noticed() -> None:
    """The hardest triplets of noise at a high rate: every embedding runs to one point (Hermans et al. 2017)."""
    noise = Media(np.random.default_rng(1).integers(0, 256, (48, 1, SIDE, SIDE)).astype(np.uint8), device=CPU)
    network = encoders.build("mlp", noise.shape, 8, width=16)
    loss = losses.build("triplet", classes=CLASSES, embedding=8, mining="hard", distance="squared_euclidean")
    feed = ClassFeed(np.arange(48), LABELS, classes_per_batch=CLASSES, samples_per_class=4, seed=0)
    fit = Fit(
        network, loss, feed, noise, validate=lambda _: 0.5, settings=settings(epochs=20, learning_rate=0.03, clip=0.0)
    )
    last = epochs(fit)[-1]
    spread = embed(network, noise, np.arange(48)).var(dim=0).sum().item()
    assert spread < 0.01
    assert collapsed(last.loss, last.collapsed_loss, last.val_eer)


def test_a_training_that_learns_is_not_said_to_collapse() -> None:
    for mining in ("semihard", "hard", "all"):
        loss = losses.build("triplet", classes=CLASSES, embedding=8, mining=mining)
        history = epochs(make(loss=loss, epochs=10))
        assert not any(collapsed(epoch.loss, epoch.collapsed_loss, epoch.val_eer) for epoch in history[2:])


def test_a_memory_goes_through_a_checkpoint() -> None:
    def fit() -> Fit:
        return make(loss=CrossBatchMemory(losses.TripletLoss(), size=20, embedding=8), epochs=4, ema=0.9)

    whole, again = fit(), fit()
    undisturbed = epochs(whole)
    again.restore(cut_after(2, fit()))
    assert epochs(again) == undisturbed[2:]
    assert same_weights(again.encoder, whole.encoder)
    assert undisturbed != epochs(make(loss=losses.TripletLoss(), epochs=4, ema=0.9))


class Watched(Media):
    """Five rows a sample, and what was gathered."""

    def __init__(self) -> None:
        noise = np.random.default_rng(4).normal(0, 20, (5, *pictures().shape))
        rows = np.clip(pictures() + noise, 0, 255).astype(np.uint8).swapaxes(0, 1).reshape(-1, 1, SIDE, SIDE)
        super().__init__(rows, np.arange(len(LABELS) + 1) * 5, device=CPU)
        self.gathered: list[list[int]] = []

    def gather(self, rows: np.ndarray[Any, Any]) -> Tensor:
        self.gathered.append(rows.tolist())
        return super().gather(rows)


def test_a_batch_takes_one_row_of_each_sample_another_in_each_epoch() -> None:
    media = Watched()
    fit = make(media=media, epochs=40, validate=lambda _: 0.5)
    epochs(fit)
    looked, *steps = media.gathered
    assert looked == steps[0]
    feed = ClassFeed(np.arange(len(LABELS)), LABELS, classes_per_batch=CLASSES, samples_per_class=4, seed=0)
    wanted = [batch.samples.tolist() for epoch in range(1, 41) for batch in feed.epoch(epoch)[1]]
    assert [[row // 5 for row in rows] for rows in steps] == wanted
    seen = np.bincount(np.concatenate(steps), minlength=5 * len(LABELS))
    assert (seen > 0).sum() > 0.98 * len(seen)
    # Of 1,920 draws each of five comes 384 times, give or take four deviations.
    assert (np.abs(seen.reshape(-1, 5).sum(axis=0) - 384) < 70).all()


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_rows_are_drawn_alike_in_a_training_that_is_taken_up_again(cut: int) -> None:
    whole, again = make(media=Watched()), make(media=Watched())
    undisturbed = epochs(whole)
    again.restore(cut_after(cut, make(media=Watched())))
    assert epochs(again) == undisturbed[cut:]
    assert same_weights(again.encoder, whole.encoder)


def test_val_sees_the_encoder_as_it_will_be_delivered_and_training_goes_on_with_its_own() -> None:
    seen: list[Tensor] = []

    def validate(encoder: encoders.Network) -> float:
        seen.append(encoder.scale.clone())
        return 0.5

    fit = make(loss="binary_l1", validate=validate)
    for record in fit.run():
        if isinstance(record, Epoch):
            weights = fit.loss.project(torch.ones(1, 8))[0].detach()
            torch.testing.assert_close(seen[-1], weights, rtol=0, atol=0)
            assert torch.equal(fit.encoder.scale, torch.ones(8))
    assert len(seen) == 3
    assert torch.equal(fit.encoder.scale, seen[-1])
