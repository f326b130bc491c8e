"""What a few labels of the samples are worth: the product's way of asking and judging, and peers, replayed with the true labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.ranking.coda import coda
from bench.ranking.episodes import Episode
from gpuworker.core.labelling import Label, believe, contest, pick
from gpuworker.core.probes import settle
from gpuworker.core.scorers import FUNCTIONS

F64 = NDArray[np.float64]
Votes = NDArray[np.int64]
Scores = Mapping[int, F64]

BUDGETS = (0, 5, 10, 20, 40)
DRAWS = 3
EXPERTS = ("anchor", "a_only", "dawid_skene")
ERROR = 0.4  # Model Selector's share of wrong answers of the best model, as its authors' grids found it on most data sets


def label_scores(episode: Episode) -> Iterator[tuple[str, int, Scores]]:
    """Method, draw, and by number of labels the (M,) scores of the candidates. All draws are fixed."""
    votes = np.stack([view.log_probs.argmax(1) for view in episode.candidates if view.log_probs is not None])
    experts = expert_words(episode)
    methods: dict[str, Callable[[int], Scores]] = {
        "modelshop": lambda draw: product(votes, experts, episode.answers, len(episode.about.labels), draw),
        "random_labels": lambda draw: random_labels(votes, episode.answers, draw),
        "model_selector": lambda draw: model_selector(votes, episode.answers, len(episode.about.labels), draw),
    }
    for name, method in methods.items():
        for draw in range(DRAWS):
            yield name, draw, method(draw)
    # Seconds for each episode, and all but the same in every draw.
    yield "coda", 0, _held(coda(_probabilities(episode), episode.answers, BUDGETS, 0))


def _probabilities(episode: Episode) -> F64:
    """(M, n, C)."""
    table = np.exp(np.stack([view.log_probs for view in episode.candidates if view.log_probs is not None]).astype(np.float64))
    return np.asarray(table / table.sum(2, keepdims=True))


def expert_words(episode: Episode) -> dict[str, F64]:
    """(M,) what each expert of the product expects, NaN where it cannot tell."""
    target = settle(episode.target)
    told = {key: FUNCTIONS[key](target, episode.candidates) for key in EXPERTS}
    found = {key: np.array([np.nan if e.value is None else e.value for e in estimates]) for key, estimates in told.items()}
    return {key: values for key, values in found.items() if np.isfinite(values).any()}


def product(votes: Votes, experts: Mapping[str, F64], answers: NDArray[np.int64], n_labels: int, draw: int) -> Scores:
    """The labelling page's own loop: pick, label, believe."""
    given = contest(votes, experts, n_labels)
    labels: list[Label] = []
    belief, found = believe(given, labels), {}
    for budget in range(BUDGETS[-1] + 1):
        if budget in BUDGETS:
            found[budget] = belief.mean
        chosen = pick(given, belief, [label.item for label in labels], draw)
        if chosen is None:
            break
        labels.append(Label(chosen.item, int(answers[chosen.item]), chosen.weight))
        belief = believe(given, labels)
    return _held(found)


def random_labels(votes: Votes, answers: NDArray[np.int64], draw: int) -> Scores:
    """Accuracy on samples drawn evenly; nothing before the first label."""
    order = np.random.default_rng([draw, 1]).permutation(len(answers))
    right = votes[:, order] == answers[order]
    return {budget: right[:, :budget].mean(1) if budget else np.zeros(len(votes)) for budget in BUDGETS}


def model_selector(votes: Votes, answers: NDArray[np.int64], n_labels: int, draw: int) -> Scores:
    """Okanovic et al., AISTATS 2025: a posterior over which model is best, whose answers err with one fixed probability; the next
    sample is the one whose label tells most about it. The best is then the model most accurate on what was labelled."""
    m, n = votes.shape
    posterior = np.full(m, 1 / m)
    taken = np.zeros(n, dtype=bool)
    right, found = np.zeros(m), {}
    rng = np.random.default_rng([draw, 2])
    for budget in range(min(BUDGETS[-1], n) + 1):
        if budget in BUDGETS:
            found[budget] = right + 1e-6 * posterior
        if taken.all():
            break
        gain = np.where(taken, -np.inf, _information(votes, posterior, n_labels))
        best = np.flatnonzero(gain >= gain.max() - 1e-12)
        item = int(rng.choice(best))
        taken[item] = True
        hit = votes[:, item] == answers[item]
        right += hit
        posterior = posterior * np.where(hit, 1 - ERROR, ERROR)
        posterior /= posterior.sum()
    return _held(found)


def _information(votes: Votes, posterior: F64, n_labels: int) -> F64:
    """(n,) mutual information of the best model and each sample's label."""
    wrong = ERROR / max(1, n_labels - 1)
    said = np.stack([posterior @ (votes == label) for label in range(n_labels)])
    chance = said * (1 - ERROR) + (1 - said) * wrong
    # Given the best model, every label has the same entropy: what differs between samples is the entropy of the mixture.
    return np.asarray(-(chance * np.log(np.maximum(chance, 1e-300))).sum(0))


def _held(found: dict[int, F64]) -> Scores:
    """Budgets beyond the number of samples have the last scores."""
    last = max(found)
    return {budget: found.get(budget, found[last]) for budget in BUDGETS}


def label_figures(scores: Sequence[Scores], truth: F64, budget: int, figures: Callable[[F64, F64], dict[str, float]]) -> dict[str, float]:
    """Mean figures over the draws at one budget."""
    found = [figures(one[budget], truth) for one in scores]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}
