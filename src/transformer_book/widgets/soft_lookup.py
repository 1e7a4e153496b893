"""Soft lookup: a query among keys in the plane, four scores, the weights and the blend they give."""

import math
from collections.abc import Sequence

import torch
import traitlets
from torch import Tensor

from transformer_book.attention import masked_softmax
from transformer_book.scoring import AdditiveScore, BilinearScore, DotScore, ScaledDotScore
from transformer_book.widgets._base import Widget, check_choice, check_integer

SCORES = ("dot", "scaled_dot", "bilinear", "additive")
EDGE = 2.0  # the plane reaches from −EDGE to EDGE
KEYS = ((-1.2, -1.0), (-1.0, 1.2), (1.2, -1.0), (1.0, 1.1), (0.0, 0.0))
MAX_KEYS = 8
_SCORE_TEXT = {
    "dot": "the dot product",
    "scaled_dot": "the scaled dot product",
    "bilinear": "a bilinear score",
    "additive": "an additive score",
}


def closeness_network() -> AdditiveScore:
    """Make an additive score of eight hidden units whose largest value lies where query and key are one point.

    Two units of opposite sign make a ridge along a line, tanh(x + c) − tanh(x − c), highest at x = 0, where x is
    the difference of query and key in one direction. Four directions, summed, make a hill. The constant c stands
    on the third coordinate of the query, which is always 1.
    """
    score = AdditiveScore(3, 3, 8)
    steep, offset, height = 1.8, 0.7, 2.2
    with torch.no_grad():
        for unit in range(8):
            angle, sign = math.pi * (unit // 2) / 4, 1.0 if unit % 2 == 0 else -1.0
            direction = [steep * math.cos(angle), steep * math.sin(angle)]
            score.query.weight[unit] = torch.tensor([*direction, sign * offset])
            score.key.weight[unit] = torch.tensor([-direction[0], -direction[1], 0.0])
            score.value.weight[0, unit] = sign * height
    return score


class SoftLookup(Widget):
    """Drag a query among keys, switch the score, and watch the weights and the blended output follow.

    Queries and keys are points of the plane with a constant third coordinate, 1. The value of a key is the key's
    own place, so that the output, the blend of the values, can be drawn beside them. Regions of the plane are
    marked with the key that has the largest weight for a query there.

    Parameters
    ----------
    query
        Place of the query ``(x, y)``, each in −2 … 2.
    score
        ``"dot"``, ``"scaled_dot"``, ``"bilinear"`` or ``"additive"``. The bilinear score's matrix turns the query
        by `turn`; the additive one is a network of eight hidden units that measures closeness, see
        `closeness_network`.
    key
        Places of 2 … 8 keys; by default four on the corners of a square and one between them.
    turn
        Degrees by which the bilinear score turns the query, −180 … 180.

    Attributes
    ----------
    query, score, key, turn
        As above; synced both ways, so that Python sees what the reader dragged.
    network : dict
        The additive score's weights: ``query`` and ``key`` ``(8, 3)``, ``value`` ``(8,)``.

    Raises
    ------
    TypeError
        `turn` is not an integer.
    ValueError
        A point is not two numbers in the plane, there are too few or too many keys, or there is no such score.

    Notes
    -----
    Source: Bahdanau, Cho & Bengio 2015, appendix A.1.2; Luong, Pham & Manning 2015, equation 8; Vaswani et al.
    2017, section 3.2.1.
    """

    query = traitlets.List(traitlets.Float()).tag(sync=True)
    key = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    score = traitlets.Unicode("dot").tag(sync=True)
    turn = traitlets.Int(90).tag(sync=True)
    network = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(
        self,
        query: Sequence[float] = (1.2, 0.4),
        score: str = "dot",
        key: Sequence[Sequence[float]] = KEYS,
        turn: int = 90,
    ) -> None:
        self._additive = closeness_network()
        check_integer("turn", turn, -180, 180)
        parts = {
            "query": self._additive.query.weight.tolist(),
            "key": self._additive.key.weight.tolist(),
            "value": self._additive.value.weight[0].tolist(),
        }
        self.set_trait("network", parts)
        places = [list(map(float, place)) for place in key]
        super().__init__(query=list(map(float, query)), key=places, score=score, turn=turn)

    @traitlets.validate("query")
    def _check_query(self, proposal: traitlets.Bunch) -> list[float]:
        return _check_point("query", proposal["value"])

    @traitlets.validate("key")
    def _check_key(self, proposal: traitlets.Bunch) -> list[list[float]]:
        keys = proposal["value"]
        if not 2 <= len(keys) <= MAX_KEYS:
            raise ValueError(f"key: expected 2 … {MAX_KEYS} points, got {len(keys)}")
        return [_check_point("key", key) for key in keys]

    @traitlets.validate("score")
    def _check_score(self, proposal: traitlets.Bunch) -> object:
        return check_choice("score", proposal["value"], SCORES)

    @traitlets.validate("turn")
    def _check_turn(self, proposal: traitlets.Bunch) -> int:
        return check_integer("turn", proposal["value"], -180, 180)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return the query ``(1, 1, 3)`` and the keys ``(1, S, 3)``, with their constant third coordinate."""
        query = torch.tensor([[[*self.query, 1.0]]])
        return query, torch.tensor([[[*key, 1.0] for key in self.key]])

    def module(self) -> AdditiveScore | BilinearScore | DotScore | ScaledDotScore:
        """Make the score in use, a module of `transformer_book.scoring`."""
        if self.score == "additive":
            return self._additive
        if self.score == "bilinear":
            bilinear = BilinearScore(3, 3)
            angle = math.radians(self.turn)
            turned = [[math.cos(angle), math.sin(angle), 0.0], [-math.sin(angle), math.cos(angle), 0.0]]
            with torch.no_grad():
                bilinear.weight.copy_(torch.tensor([*turned, [0.0, 0.0, 1.0]]))
            return bilinear
        return DotScore() if self.score == "dot" else ScaledDotScore()

    def scores(self) -> Tensor:
        """Return the score of each key: ``(S,)``."""
        with torch.no_grad():
            return self.module()(*self.tensors())[0, 0]

    def weights(self) -> Tensor:
        """Return the weight of each key: ``(S,)``."""
        return masked_softmax(self.scores())

    def output(self) -> Tensor:
        """Return the blend of the values, which are the keys' places: ``(2,)``."""
        return self.weights() @ torch.tensor(self.key)

    def describe(self) -> str:
        """Say where the query stands, which score compares it, and what weights and output follow."""
        weights = self.weights().tolist()
        shares = ", ".join(f"{letter(i)} {weight:.2f}" for i, weight in enumerate(weights))
        x, y = self.output().tolist()
        return (
            f"a query at ({self.query[0]:.1f}, {self.query[1]:.1f}) among {len(weights)} keys, compared by "
            f"{_SCORE_TEXT[self.score]}. Weights: {shares}. Output: ({x:.2f}, {y:.2f})."
        )


def letter(index: int) -> str:
    """Name a key: A, B, C, …."""
    return chr(ord("A") + index)


def _check_point(name: str, point: Sequence[float]) -> list[float]:
    if len(point) != 2 or not all(-EDGE <= number <= EDGE for number in point):
        raise ValueError(f"{name}: expected two numbers in {-EDGE:g} … {EDGE:g}, got {list(point)}")
    return list(point)
