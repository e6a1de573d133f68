"""Reads PromQL as far as the check needs it: which series an expression selects, and inside of which function."""

import re
from dataclasses import dataclass

TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
      | (?P<range>\[[^\]]*\])
      | (?P<number>\d[\w.]*(?:(?<=[eE])[-+]\d+)?)
      | (?P<name>[a-zA-Z_:][\w:]*)
      | (?P<selector>\{(?:[^{}"]|"(?:\\.|[^"\\])*")*\})
      | (?P<sign>==|!=|>=|<=|=~|!~|[-+*/%^(),<>=@])
    )""",
    re.VERBOSE,
)
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "and", "or", "unless", "atan2", "inf", "nan"}
LABEL_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
RATES = {"rate", "irate", "increase", "resets"}
FOR_GAUGES = {"deriv", "delta", "idelta", "predict_linear"}
MAKES_A_VALUE = re.compile(r"\babsent(_over_time)?\s*\(|\bclamp(_min|_max)?\s*\(|\bor\b(\s+on\s*\([^)]*\))?\s+vector\s*\(")


@dataclass(frozen=True)
class Selected:
    """A selector of an expression."""

    metric: str
    text: str  # without the range
    function: str  # the innermost function or aggregation around it, or ""
    is_range: bool


def tokens(expression):
    at, found = 0, []
    expression = expression.strip()
    while at < len(expression):
        match = TOKEN.match(expression, at)
        if not match:
            raise ValueError(f"cannot read {expression[at:at + 30]!r} in {expression!r}")
        found.append((match.lastgroup, match.group(match.lastgroup)))
        at = match.end()
    return found


def selectors(expression):
    """All selectors of the expression."""
    parts = tokens(expression) + [("end", "")] * 3
    found, around, caller, at = [], [], "", 0
    while at < len(parts):
        kind, text = parts[at]
        if kind == "name" and text.lower() in WORDS:
            if text in LABEL_LISTS and parts[at + 1][1] == "(":
                while parts[at][1] != ")":
                    at += 1
        elif kind == "name" and (parts[at + 1][1] == "(" or parts[at + 1][1] in ("by", "without")):
            caller = text
        elif kind == "name":
            selector, is_range = text, False
            if parts[at + 1][0] == "selector":
                at += 1
                selector += parts[at][1]
            if parts[at + 1][0] == "range":
                at += 1
                is_range = True
            functions = [name for name in around if name]
            found.append(Selected(text, selector, functions[-1] if functions else "", is_range))
        elif kind == "selector":
            raise ValueError(f"a selector without a name: {text}")
        elif text == "(":
            around.append(caller)
            caller = ""
        elif text == ")":
            around.pop()
        at += 1
    return found


def wrong_use(selected, kind):
    """What is wrong with the use of a series of this type, or None."""
    if kind == "counter" and not (selected.is_range and selected.function in RATES):
        return f"{selected.metric} is a counter and is used without rate or increase"
    if kind == "gauge" and selected.function in RATES:
        return f"{selected.metric} is a gauge and is used with {selected.function}"
    if kind == "counter" and selected.function in FOR_GAUGES:
        return f"{selected.metric} is a counter and is used with {selected.function}"
    return None


def without_thresholds(expression):
    """The expression with comparisons that drop nothing, so that it has a value whether or not an alert fires."""
    found = []
    for kind, text in tokens(expression):
        if kind == "sign" and text in ("==", "!=", ">", "<", ">=", "<="):
            text += " bool"
        elif kind == "name" and text == "unless":
            text = "and"
        found.append(text)
    return re.sub(r"(\w) (?=[{\[])", r"\1", " ".join(found)).replace(" [", "[")


if __name__ == "__main__":
    # The check of the check: what it has to find, and what it must not.
    def uses(expression, **kinds):
        return [wrong_use(each, kinds[each.metric]) is None for each in selectors(expression)]

    assert uses("sum by (a) (rate(x_total{a=\"}\"}[5m]))", x_total="counter") == [True]
    assert uses("sum(rate(x[5m])) by (le)", x="gauge") == [False]
    assert uses("x_total", x_total="counter") == [False]
    assert uses("sum(x_total) / rate(y_total[1m])", x_total="counter", y_total="counter") == [False, True]
    assert uses("time() - x > 300 and on(job) y != y", x="gauge", y="gauge") == [True, True, True]
    assert uses("max(deriv(x[1m])) > 0 or increase(y_total[1h]) > 0", x="gauge", y_total="counter") == [True, True]
    assert uses("deriv(x_total[1m])", x_total="counter") == [False]
    assert without_thresholds('up{job="a"} == 0') == 'up{job="a"} == bool 0'
    assert without_thresholds("rate(a[5m]) > 0 unless b") == "rate ( a[5m] ) > bool 0 and b"
    assert without_thresholds("a < 1.07e+09 or b") == "a < bool 1.07e+09 or b"
    assert MAKES_A_VALUE.search("a or vector(0)") and MAKES_A_VALUE.search("clamp_min(a, 0)") and not MAKES_A_VALUE.search("a or b")
