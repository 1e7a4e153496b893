"""The book's experiments: what is measured, the stored results, and the claims they decide.

Each module holds one experiment: ``measure(...) -> Result``, ``plot(result)``, and its ``CLAIMS``. Chapters run
a small ``measure`` live and show the stored full result beside it; ``transformer-book measure NAME`` makes the
stored one.
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from transformer_book.experiments import (
    attention_cost,
    attention_over_length,
    attention_overtakes,
    cache_speed,
    compiled_attention,
    context_vector,
    context_width,
    data_parallel,
    date_alignment,
    date_readers,
    decoding_agreement,
    first_symbol_recall,
    flop_count,
    gradient_through_time,
    head_cost,
    head_pruning,
    heads_against_one,
    induction,
    language_models,
    mask_properties,
    memory_use,
    mixed_precision,
    norm_order,
    parallel_time,
    parameter_count,
    path_length,
    permutation,
    position_encodings,
    pronunciation_twins,
    published_models,
    published_pronunciation,
    recipe_parts,
    rotary_distance,
    score_classes,
    score_comparison,
    score_cost,
    score_variance,
    sequential_time,
    softmax_scaling,
    translation,
    unscaled_training,
)
from transformer_book.experiments._result import Claim, Result, Verdict

__all__ = ["REGISTRY", "Claim", "Result", "Row", "Verdict", "all_verdicts", "load_result", "results_folder"]

#: Name → module of each experiment, in the order of their claims.
REGISTRY: dict[str, ModuleType] = {
    "gradient_through_time": gradient_through_time,
    "first_symbol_recall": first_symbol_recall,
    "context_vector": context_vector,
    "context_width": context_width,
    "published_pronunciation": published_pronunciation,
    "attention_over_length": attention_over_length,
    "date_alignment": date_alignment,
    "sequential_time": sequential_time,
    "pronunciation_twins": pronunciation_twins,
    "score_comparison": score_comparison,
    "score_cost": score_cost,
    "score_classes": score_classes,
    "score_variance": score_variance,
    "softmax_scaling": softmax_scaling,
    "unscaled_training": unscaled_training,
    "mask_properties": mask_properties,
    "attention_cost": attention_cost,
    "head_cost": head_cost,
    "heads_against_one": heads_against_one,
    "head_pruning": head_pruning,
    "permutation": permutation,
    "rotary_distance": rotary_distance,
    "position_encodings": position_encodings,
    "parameter_count": parameter_count,
    "path_length": path_length,
    "norm_order": norm_order,
    "date_readers": date_readers,
    "translation": translation,
    "decoding_agreement": decoding_agreement,
    "cache_speed": cache_speed,
    "recipe_parts": recipe_parts,
    "parallel_time": parallel_time,
    "published_models": published_models,
    "language_models": language_models,
    "induction": induction,
    "flop_count": flop_count,
    "attention_overtakes": attention_overtakes,
    "memory_use": memory_use,
    "data_parallel": data_parallel,
    "mixed_precision": mixed_precision,
    "compiled_attention": compiled_attention,
}

#: Number of a chapter, as in its claims' ids → its slug.
CHAPTERS: dict[int, str] = {
    1: "recurrence",
    2: "bottleneck",
    3: "looking_back",
    4: "scoring",
    5: "scaled_dot_product",
    6: "multi_head",
    7: "positions",
    8: "transformer",
    9: "training_and_decoding",
    10: "descendants",
    11: "scaling",
}


@dataclass(frozen=True)
class Row:
    """One line of the page *Claims*: a claim, and the verdict of one stored result."""

    claim: Claim
    verdict: Verdict
    result: Result
    chapter: str


def results_folder() -> Path:
    """Where stored results lie: inside an installed package, or in ``book/results`` of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "results"
    return installed if installed.is_dir() else package.parents[1] / "book" / "results"


def result_file(name: str, device: str = "cpu") -> str:
    """File name of a stored result: ``NAME.json`` for the CPU, ``NAME.DEVICE.json`` for another device.

    Raises
    ------
    ValueError
        There is no experiment of that name.
    """
    if name not in REGISTRY:
        raise ValueError(f"experiment: expected one of {', '.join(REGISTRY)}; got {name!r}")
    return f"{name}.json" if device == "cpu" else f"{name}.{device}.json"


def load_result(name: str, device: str = "cpu") -> Result:
    """Read the stored full result of an experiment.

    Parameters
    ----------
    name
        Name of the experiment.
    device
        ``"cpu"``, or another device type a result was stored for.

    Raises
    ------
    ValueError
        There is no experiment of that name, or the file is no result.
    FileNotFoundError
        Nothing is stored for that device; the message has the command that measures it.
    """
    path = results_folder() / result_file(name, device)
    if not path.exists():
        raise FileNotFoundError(f"{path}: not measured; run: transformer-book measure {name} --device {device}")
    return Result.load(path)


def all_verdicts() -> list[Row]:
    """Judge every claim on every stored result, ordered by claim; CPU before other devices."""
    rows = []
    for name, module in REGISTRY.items():
        paths = [results_folder() / result_file(name), *sorted(results_folder().glob(f"{name}.*.json"))]
        results = [Result.load(path) for path in paths if path.exists()]
        for result in results or [load_result(name)]:  # which says what is missing, and how to measure it
            for claim in module.CLAIMS.values():
                chapter = CHAPTERS[int(claim.id.removeprefix("C").partition(".")[0])]
                rows.append(Row(claim, claim.judge(result), result, chapter))
    return sorted(rows, key=lambda row: tuple(map(int, row.claim.id.removeprefix("C").split("."))))
