"""The book's interactive figures: ordinary ipywidgets that also run in a page without a kernel."""

from transformer_book.widgets._base import Widget
from transformer_book.widgets.alignment import Alignment
from transformer_book.widgets.cost_calculator import CostCalculator
from transformer_book.widgets.data_flow import DataFlow
from transformer_book.widgets.gradient_through_time import GradientThroughTime
from transformer_book.widgets.heads import Heads
from transformer_book.widgets.live_transformer import LiveTransformer
from transformer_book.widgets.matrix_walk import MatrixWalk
from transformer_book.widgets.next_token import NextToken
from transformer_book.widgets.position_clock import PositionClock
from transformer_book.widgets.soft_lookup import SoftLookup
from transformer_book.widgets.squeeze import Squeeze
from transformer_book.widgets.why_sqrt_d import WhySqrtD

__all__ = [
    "Alignment",
    "CostCalculator",
    "DataFlow",
    "GradientThroughTime",
    "Heads",
    "LiveTransformer",
    "MatrixWalk",
    "NextToken",
    "PositionClock",
    "SoftLookup",
    "Squeeze",
    "WhySqrtD",
    "Widget",
]
