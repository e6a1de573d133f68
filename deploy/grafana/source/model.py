"""Makes Grafana's JSON from short descriptions of panels. What is in the panels: overview.py, edge.py, gate.py, servers.py.

A query writes {$} for the instances that the viewer has chosen, and [~] for the interval of a rate.
"""

CHOSEN = 'job=~"$job", instance=~"$instance"'
COLUMNS = 24
HEIGHT = 7
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def expand(query):
    """The query as Grafana gets it."""
    return query.replace("{$", "{" + CHOSEN).replace("[~]", "[$__rate_interval]")


def targets(queries, **more):
    """queries: pairs of query and legend."""
    return [
        {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": expand(query), "legendFormat": legend, **more}
        for at, (query, legend) in enumerate(queries)
    ]


def panel(kind, title, about, unit, queries, defaults=None, options=None, **more):
    field = {"defaults": {"unit": unit, **(defaults or {})}, "overrides": []}
    return {
        "type": kind, "title": title, "description": about, "datasource": SOURCE, "fieldConfig": field,
        "options": options or {}, "targets": targets(queries, **more),
    }


def graph(title, about, unit, *queries, stack=False, highest=None):
    """Values over time. A missing value is a gap, never a zero."""
    custom = {"lineWidth": 1, "fillOpacity": 20 if stack else 0, "showPoints": "auto", "spanNulls": False}
    if stack:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    defaults = {"custom": custom, "min": 0}
    if highest is not None:
        defaults["max"] = highest
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, about, unit, queries, defaults, options)


def number(title, about, unit, *queries, good=None, bad=None):
    """One number for each series, as it is now. good: green from this value on, red below; bad: red from this value on."""
    if good is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": good}]
    elif bad is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": bad}]
    else:
        steps = [{"color": "text", "value": None}]
    options = {
        "colorMode": "value", "graphMode": "none", "textMode": "auto", "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("stat", title, about, unit, queries, {"thresholds": {"mode": "absolute", "steps": steps}}, options)


def states(title, about, *queries):
    """Series of 0 and 1 as bars over time."""
    mappings = [{"type": "value", "options": {
        "0": {"text": "no", "color": "transparent", "index": 0}, "1": {"text": "yes", "color": "orange", "index": 1},
    }}]
    defaults = {"mappings": mappings, "custom": {"fillOpacity": 80, "lineWidth": 0}, "color": {"mode": "thresholds"}}
    options = {"showValue": "never", "rowHeight": 0.8, "mergeValues": True, "legend": {"showLegend": False}}
    return panel("state-timeline", title, about, "bool", queries, defaults, options)


def table(title, about, unit, query, hide=()):
    """A row for each series, as it is now."""
    hidden = {name: True for name in ("Time", "__name__", *hide)}
    result = panel("table", title, about, unit, [(query, "")], options={"showHeader": True, "cellHeight": "sm"},
                   instant=True, range=False, format="table")
    result["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return result


def percentiles(metric, by=""):
    """Median and 99th percentile of a histogram, over all chosen pods."""
    keep = f"le, {by}" if by else "le"
    return [
        (f"histogram_quantile({q}, sum by ({keep}) (rate({metric}_bucket{{$}}[~])))", (f"{{{{{by}}}}} " if by else "") + name)
        for q, name in (("0.5", "median"), ("0.99", "99 %"))
    ]


def variable(name, label, query, **more):
    return {
        "type": "query", "name": name, "label": label, "datasource": SOURCE, "definition": query,
        "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": True, "includeAll": True,
        "allValue": ".+", "current": {"text": "All", "value": "$__all"}, "options": [], "hide": 0, **more,
    }


def dashboard(uid, title, about, rows, series="surgetank_build_info", topics=False):
    """rows: pairs of a title and its panels. series: the series whose jobs can be chosen."""
    variables = [
        {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "hide": 0,
         "current": {}, "options": [], "refresh": 1, "regex": "", "multi": False, "includeAll": False},
        variable("job", "Job", f"label_values({series}, job)"),
        variable("instance", "Instance", f'label_values({series}{{job=~"$job"}}, instance)'),
    ]
    if topics:
        variables.append(variable("topic", "Topic", 'label_values(surgetank_log_end_offset{job=~"$job"}, topic)'))
    panels, y = [], 0
    for heading, content in rows:
        panels.append({"type": "row", "title": heading, "collapsed": False, "panels": [],
                       "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y}})
        y += 1
        for first in range(0, len(content), 4):
            line = content[first:first + 4]
            width = COLUMNS // len(line)
            for at, each in enumerate(line):
                panels.append({**each, "gridPos": {"h": HEIGHT, "w": width, "x": at * width, "y": y}})
            y += HEIGHT
    for number_, each in enumerate(panels, 1):
        each["id"] = number_
    return {
        "uid": uid, "title": title, "description": about, "tags": ["surgetank"], "schemaVersion": 39, "version": 1,
        "editable": False, "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser", "annotations": {"list": []}, "templating": {"list": variables}, "panels": panels,
        "links": [{"type": "dashboards", "title": "Surgetank", "tags": ["surgetank"], "asDropdown": True,
                   "includeVars": True, "keepTime": True, "icon": "external link", "targetBlank": False}],
    }
