#!/usr/bin/env python3
"""Draws the results of weir_bench: plot.py RESULTS.json FOLDER [--format svg]

One picture a workload, W11-over-time.svg of what the strategies of W11 did, and overview.svg with all that move values. The scale is logarithmic; a dot is a median, its
whisker goes from the fastest round to the slowest. The line is what the machine itself allows: the fastest round of the
mechanism without a channel.
"""

import argparse
import json
import math
import pathlib
import sys

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
except ImportError as error:
    sys.exit(f"plot.py: no plots: {error} (Debian: python3-matplotlib)")

PAYLOADS = {"u64": "8 bytes (u64)", "p64": "64 bytes (p64)"}
INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
WEIR, OTHER = "#0b6e99", "#8d99a6"

NAMES = {
    "raw_ring": "raw ring",
    "lamport_ring": "Lamport ring",
    "coroutine_switch": "coroutine switch",
    "mutex_condvar": "mutex, condition variable",
    "asio_channel": "Asio channel",
    "asio_channel_try_first": "Asio channel, try first",
    "tbb_bounded_queue": "oneTBB bounded queue",
    "tbb_pipeline": "oneTBB pipeline",
    "tbb_pipeline_batched": "oneTBB pipeline, batched",
    "ideal": "the work alone",
    "direct_call": "direct call",
    "mutex_vector": "mutex, swapped vector",
    "mutex_vector_unbounded": "mutex, swapped vector, unbounded",
    "std_priority_queue": "std::priority_queue",
    "tbb_priority_queue": "oneTBB priority queue",
    "fifo_lanes": "four FIFO lists",
    "plain_bus": "plain bus",
    "go": "Go",
    "tokio": "Tokio mpsc",
}

# What a picture of a workload shows, part by part: the fields that choose the results, and the part's name.
PARTS = {
    "W5": [
        ({"job": "hand_off", "threads": 1}, "hand-off, one thread"),
        ({"job": "hand_off", "threads": 2}, "hand-off, two threads"),
        ({"job": "request_reply", "threads": 1}, "request and reply, one thread"),
        ({"job": "request_reply", "threads": 2}, "request and reply, two threads"),
    ],
    "W6": [
        ({"work_ns": work, "collection": into}, f"{work} ns of work, into a {into}")
        for work in (0, 200, 2000)
        for into in ("vector", "map")
    ],
    "W7": [
        ({"job": "publish", "threads": threads, "handlers": handlers}, f"{handlers} handler{'s' * (handlers > 1)}, {name}")
        for threads, name in ((2, "another thread"), (1, "one thread"))
        for handlers in (1, 10)
    ]
    + [
        ({"job": job, "depth": depth}, f"{name}, {depth:,} queued")
        for job, name in (("depth", "publish and handle"), ("queue", "the bare queue"))
        for depth in (1, 1000, 100_000, 1_000_000)
    ],
    "W10": [
        ({"load_percent": load, "clock": clock}, f"critical, {load} %, {clock} time")
        for clock in ("virtual", "real")
        for load in (80, 95, 120)
    ],
    "promises": [({"promise": "response"}, "response time of urgent events")],
    "W11": [
        ({"phase": "cheap"}, "cheap, real time"),
        ({"phase": "cpu"}, "CPU-heavy, real time"),
        ({"phase": "waiting"}, "waiting, virtual time"),
        ({"phase": "calls"}, "calls for many, virtual time"),
        ({"phase": "mix"}, "a mix over time, virtual time"),
    ],
}
TITLES = {
    "W1": "one sender, one receiver, one thread",
    "W2": "one sender, one receiver, two threads",
    "W3": "four senders, one receiver, two threads",
    "W4": "four senders, four receivers, two threads",
    "W5": "capacity 1",
    "W6": "a stream with four receivers on two threads",
    "W7": "a bus",
    "W8": "100,000 idle channels, each with a suspended receiver",
    "W9": "a bus: from a cancel to the token, and to the end of a handler",
    "W10": "a bus: how long critical events wait beside low ones",
    "W11": "adaptive beside fixed strategies",
    "promises": "what is promised, beside the plain bus",
}


# What is drawn of a workload: the first of these that it has.
FIGURES = {
    "ns_per_event": "ns per event",
    "bytes": "bytes",
    "p99_ns": "p99, ns",
    "urgent_mean_ns": "mean, ns",
}


def limit_of(results, payload):
    """The subject that sets the limit, how often an event pays it, and what to call it."""
    for subject, variant, times, name in (
        ("raw_ring", None, 1, "raw ring"),
        ("ideal", None, 1, "the work alone"),
        ("coroutine_switch", None, 2, "two coroutine switches"),
        ("lamport_ring", "shared", 1, "two spinning threads"),
        ("lamport_ring", "shared_request", 1, "two spinning threads"),
        ("lamport_ring", "", 1, "Lamport ring, one to one"),
    ):
        for result in results:
            if result["subject"] == subject and result["payload"] == payload and variant in (None, result["variant"]):
                return times * result["ns_per_event"]["min"], name
    return None


def label_of(result):
    variant = result["variant"].replace("_", " ")
    name = NAMES.get(result["subject"], result["subject"])
    # These say only which part of the picture it is.
    if (result["subject"] != "weir" and result["id"] == "W5") or (result["id"] == "W7" and result["job"] == "publish"):
        variant = ""
    if result["id"] == "W5":
        variant = variant.removesuffix(" request")
    return f"{name}, {variant}" if variant else name


def figure_text(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def short_text(value):
    """For between the bars: 2.5k is as wide as one."""
    return f"{value / 1000:.0f}k" if value >= 9950 else f"{value / 1000:.1f}k" if value >= 999.5 else figure_text(value)


# Keeps a figure readable where the limit's line or a grid line runs through it.
BEHIND_TEXT = {"boxstyle": "square,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}


def style(axis):
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(axis="x", color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(length=0, which="both", labelsize=8, colors=INK)
    for spine in axis.spines.values():
        spine.set_visible(False)


def present(results):
    return [result for result in results if not result.get("absent")]


def draw_part(axis, results, payload, figure, title):
    """A row a subject, the fastest on top."""
    rows = sorted((r for r in results if r["payload"] == payload), key=lambda r: -r[figure]["median"])
    style(axis)
    for y, result in enumerate(rows):
        spread = result[figure]
        is_weir = result["subject"] == "weir"
        colour = WEIR if is_weir else OTHER
        axis.plot([spread["min"], spread["max"]], [y, y], color=colour, linewidth=1.6, alpha=0.55, solid_capstyle="round")
        axis.plot(spread["median"], y, "o", color=colour, markersize=7 if is_weir else 6)
        right_end = max(spread["max"], result["resident_bytes"]["max"] if figure == "bytes" else 0)
        axis.annotate(
            figure_text(spread["median"]),
            (right_end, y),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=colour if is_weir else INK,
            fontweight="bold" if is_weir else "normal",
            bbox=BEHIND_TEXT,
        )
        if figure == "bytes":
            axis.plot(result["resident_bytes"]["median"], y, "|", color=INK, markersize=11, markeredgewidth=1.4)
    axis.set_yticks(range(len(rows)), [label_of(r) for r in rows])
    for tick, result in zip(axis.get_yticklabels(), rows):
        if result["subject"] == "weir":
            tick.set_color(WEIR)
            tick.set_fontweight("bold")
    axis.set_ylim(-0.7, len(rows) - 0.3)
    low, high = axis.get_xlim()
    limit = limit_of(results, payload) if figure == "ns_per_event" else None
    if limit:
        low = min(low, limit[0] * 0.8)
    low, high = low * 0.85, high * 10 ** (0.16 * math.log10(high / low))
    axis.set_xlim(low, high)
    decades = math.log10(high / low)
    subs = (1, 2, 5) if decades < 1.7 else (1, 3) if decades < 3 else (1,)
    axis.xaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=30))
    if limit:
        value, name = limit
        on_the_right = math.log10(value / low) > 0.55 * decades
        axis.axvline(value, color=INK, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1)
        axis.annotate(
            f"limit: {name}, {figure_text(value)}",
            (value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, 1) if not on_the_right else (-4, 1),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
            ha="right" if on_the_right else "left",
            va="bottom",
        )
    axis.set_title(title, fontsize=9.5, color=INK, loc="left", pad=16 if limit else 8)
    return len(rows)


def machine_line(machine):
    return f"{machine['cpu']}, {machine['cores']} cores · {machine['compiler']} · Asio {machine['asio']}"


def finish(figure, heading, subtitle, machine, path):
    height = figure.get_size_inches()[1]
    figure.suptitle(heading, x=0.012, y=1 - 0.12 / height, ha="left", va="top", fontsize=13, fontweight="bold", color=INK)
    figure.text(0.012, 1 - 0.42 / height, subtitle, ha="left", va="top", fontsize=8.5, color=FAINT)
    figure.text(0.012, 0.08 / height, machine_line(machine), ha="left", va="bottom", fontsize=7.5, color=FAINT)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def draw_workload(workload, all_results, machine, path):
    results = present(all_results)
    if not results:
        return False
    figure_name = next(name for name in FIGURES if name in results[0])
    parts = []
    for fields, name in PARTS.get(workload, [({}, "")]):
        chosen = [r for r in results if all(r.get(key) == value for key, value in fields.items())]
        if chosen:
            parts.append((chosen, name))

    rows = [max(sum(r["payload"] == payload for r in chosen) for payload in PAYLOADS) for chosen, _ in parts]
    heights = [0.25 * count + 1.05 for count in rows]
    figure = plt.figure(figsize=(11.5, sum(heights) + 1.05))
    total = figure.get_size_inches()[1]
    payloads = {payload: name for payload, name in PAYLOADS.items() if any(r["payload"] == payload for r in results)}
    grid = figure.add_gridspec(
        len(parts), 2, height_ratios=heights, left=0.185, right=0.985, wspace=0.62, hspace=0.34 if len(parts) > 1 else 0,
        top=1 - 1.15 / total, bottom=0.62 / total,
    )
    for row, (chosen, name) in enumerate(parts):
        for column, (payload, payload_name) in enumerate(payloads.items()):
            if not any(r["payload"] == payload for r in chosen):
                continue
            axis = figure.add_subplot(grid[row, column])
            draw_part(axis, chosen, payload, figure_name, f"{name}, {payload_name}" if name else payload_name)
    if figure_name == "bytes":
        subtitle = "bytes a channel with its receiver, log scale · dot: given out by the allocator · tick: resident in memory"
    else:
        subtitle = f"{FIGURES[figure_name]}, log scale · dot: median · whisker: fastest to slowest round · further left is better"
    finish(figure, f"{workload}: {TITLES.get(workload, '')}", subtitle, machine, path)
    return True


# What is drawn over time: the strategies that adapt, and of the fixed ones those that are best somewhere.
OVER_TIME = {
    "adaptive": ("adaptive", "#0b6e99", 2.0),
    "adaptive_batched": ("adaptive, batched", "#63b3d1", 1.4),
    "parallel_4": ("parallel(4)", "#8aa17c", 1.0),
    "parallel_8": ("parallel(8)", "#d9a066", 1.0),
    "parallel_32": ("parallel(32)", "#c1693c", 1.0),
    "batched_64_parallel_8": ("batched(64).parallel(8)", "#b58aa5", 1.0),
}


def draw_over_time(results, machine, path):
    drawn = {r["variant"]: r["timeline"] for r in present(results) if r["variant"] in OVER_TIME and "timeline" in r}
    if not drawn:
        return False
    figure, axes = plt.subplots(3, 1, figsize=(12.5, 8.8), sharex=True)
    total = figure.get_size_inches()[1]
    figure.subplots_adjust(left=0.065, right=0.985, top=1 - 1.15 / total, bottom=0.85 / total, hspace=0.2)
    rows = (
        ("events_per_second", "events a second"),
        ("concurrency", "concurrency"),
        ("batch", "events a batch, at most"),
    )
    for axis, (figure_name, title) in zip(axes, rows):
        axis.set_yscale("log")
        for variant, (name, colour, width) in OVER_TIME.items():
            if variant not in drawn:
                continue
            timeline = drawn[variant]
            steps = figure_name != "events_per_second"
            values = [value if value > 0 else float("nan") for value in timeline[figure_name]]
            axis.plot(
                timeline["seconds"], values, color=colour, linewidth=width, label=name,
                drawstyle="steps-pre" if steps else "default", zorder=4 if variant.startswith("adaptive") else 2,
            )
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.grid(color=GRID, linewidth=0.8, zorder=0)
        axis.tick_params(length=0, which="both", labelsize=8.5, colors=INK)
        axis.set_title(title, fontsize=9.5, color=INK, loc="left", pad=5)
        for spine in axis.spines.values():
            spine.set_visible(False)
    axes[-1].set_xlabel("seconds, virtual", fontsize=8.5, color=INK)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="upper left", bbox_to_anchor=(0.005, 1 - 0.55 / total), ncol=10, frameon=False, fontsize=8
    )
    subtitle = "the same events for each: cheap, two processors, a server, the same degraded, and again · who ends first is best"
    finish(figure, "W11: the mix over time", subtitle, machine, path)
    return True


# The groups of the overview, and in each the bars: one colour a system everywhere.
OVERVIEW = [
    ("W1", {}, "W1\n1 to 1\none thread"),
    ("W2", {}, "W2\n1 to 1\ntwo threads"),
    ("W3", {}, "W3\n4 to 1\ntwo threads"),
    ("W4", {}, "W4\n4 by 4\ntwo threads"),
    ("W5", {"job": "hand_off", "threads": 1}, "W5\nhand-off\none thread"),
    ("W5", {"job": "hand_off", "threads": 2}, "W5\nhand-off\ntwo threads"),
]
SYSTEMS = [
    ("weir", ("local", "shared"), "weir", "#0b6e99"),
    ("weir", ("local_bulk", "shared_bulk"), "weir, in bulk", "#63b3d1"),
    ("go", None, "Go", "#7a6c9d"),
    ("tokio", None, "Tokio mpsc", "#b58aa5"),
    ("moodycamel", None, "moodycamel", "#8aa17c"),
    ("tbb_bounded_queue", None, "oneTBB", "#c2b280"),
    ("mutex_condvar", None, "mutex", "#9aa5b1"),
    ("asio_channel_try_first", None, "Asio, try first", "#d9a066"),
    ("asio_channel", None, "Asio", "#c1693c"),
]


def of_system(results, subject, variants, payload):
    mine = [r for r in results if r["subject"] == subject and r["payload"] == payload]
    if variants is None:
        return mine[0] if mine else None
    return next((r for variant in variants for r in mine if r["variant"] == variant), None)


def draw_overview(by_workload, machine, path):
    groups = []
    for workload, fields, name in OVERVIEW:
        results = [
            r
            for r in present(by_workload.get(workload, []))
            if all(r.get(key) == value for key, value in fields.items())
        ]
        if results:
            groups.append((results, name))
    if len(groups) < 2:
        return False

    figure, axes = plt.subplots(len(PAYLOADS), 1, figsize=(12.5, 8.6), sharex=True)
    total = figure.get_size_inches()[1]
    figure.subplots_adjust(left=0.05, right=0.99, top=1 - 1.25 / total, bottom=1.0 / total, hspace=0.16)
    drawn = {}
    limit_name = "the limit of the machine"
    for axis, (payload, payload_name) in zip(axes, PAYLOADS.items()):
        axis.set_yscale("log")
        left = 0.0
        centres = []
        for results, _ in groups:
            bars = [
                (result, name, colour)
                for subject, variants, name, colour in SYSTEMS
                if (result := of_system(results, subject, variants, payload))
            ]
            for i, (result, name, colour) in enumerate(bars):
                spread = result["ns_per_event"]
                drawn[name] = axis.bar(left + i, spread["median"], width=0.86, color=colour, zorder=2)
                axis.plot([left + i] * 2, [spread["min"], spread["max"]], color=INK, linewidth=0.8, alpha=0.6, zorder=3)
                axis.annotate(
                    short_text(spread["median"]),
                    (left + i, max(spread["max"], spread["median"])),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize=6.8,
                    color=INK,
                    bbox=BEHIND_TEXT,
                    zorder=5,
                )
            limit = limit_of(results, payload)
            if limit:
                (line,) = axis.plot([left - 0.6, left + len(bars) - 0.4], [limit[0]] * 2, color=INK, linewidth=1.8, zorder=4)
                drawn[limit_name] = line
            centres.append(left + (len(bars) - 1) / 2)
            left += len(bars) + 1.4
        axis.set_xlim(-1.2, left - 1.2)
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, 0.3), high * 1.6)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.grid(axis="y", color=GRID, linewidth=0.8, zorder=0)
        axis.tick_params(length=0, which="both", labelsize=8.5, colors=INK)
        axis.set_title(payload_name, fontsize=9.5, color=INK, loc="left", pad=5)
        for spine in axis.spines.values():
            spine.set_visible(False)
        axis.set_xticks(centres, [name for _, name in groups])
    named = [name for *_, name, _ in SYSTEMS if name in drawn] + ([limit_name] if limit_name in drawn else [])
    figure.legend(
        [drawn[name] for name in named], named, loc="upper left", bbox_to_anchor=(0.005, 1 - 0.58 / total), ncol=10, frameon=False,
        fontsize=8, handlelength=1.1, columnspacing=1.3, handletextpad=0.5,
    )
    subtitle = "ns per value, log scale · bar: median · line in it: fastest to slowest round · lower is better"
    finish(figure, "weir's channel beside others", subtitle, machine, path)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--format", default="svg", help="svg, png, pdf")
    arguments = parser.parse_args()

    plt.rcParams.update({"font.family": "DejaVu Sans", "svg.hashsalt": "weir", "savefig.dpi": 130})
    document = json.loads(arguments.results.read_text())
    by_workload = {}
    for result in document["results"]:
        by_workload.setdefault(result["id"], []).append(result)

    arguments.folder.mkdir(parents=True, exist_ok=True)
    machine = document["machine"]
    overview = arguments.folder / f"overview.{arguments.format}"
    drawn = [overview] if draw_overview(by_workload, machine, overview) else []
    for workload, results in by_workload.items():
        path = arguments.folder / f"{workload}.{arguments.format}"
        if draw_workload(workload, results, machine, path):
            drawn.append(path)
        over_time = arguments.folder / f"{workload}-over-time.{arguments.format}"
        if draw_over_time(results, machine, over_time):
            drawn.append(over_time)
    for path in drawn:
        print(path)


if __name__ == "__main__":
    main()
