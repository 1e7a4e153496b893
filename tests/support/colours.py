"""How colours are seen: contrast as WCAG 2.2 defines it, and differences, with full and with deficient sight."""

from coloraide import Color

#: Sight without one kind of cone, as Machado, Oliveira and Fernandes model it (IEEE TVCG 15(6), 2009); for missing
#: S cones, where that model is an approximation, also Brettel, Viénot and Mollon's (JOSA A 14(10), 1997).
SIGHTS = {
    "full": None,
    "protanopia": ("protan", "machado"),
    "deuteranopia": ("deutan", "machado"),
    "tritanopia": ("tritan", "machado"),
    "tritanopia (Brettel)": ("tritan", "brettel"),
}


def contrast(one: str, other: str) -> float:
    """Ratio of the luminances of two colours, 1 to 21 (WCAG 2.2, success criterion 1.4.3)."""
    return Color(one).contrast(other, method="wcag21")


def seen(colour: str, sight: str) -> Color:
    """Simulate what is seen of a colour; `sight` is one of `SIGHTS`."""
    if SIGHTS[sight] is None:
        return Color(colour)
    cone, model = SIGHTS[sight]
    return Color(colour).filter(cone, method=model, space="srgb-linear").clip("srgb")


def difference(one: str, other: str, sight: str = "full") -> float:
    """CIEDE2000 between two colours (Sharma, Wu and Dalal, Color Res. Appl. 30(1), 2005): 1 is just noticeable."""
    return seen(one, sight).delta_e(seen(other, sight), method="2000")
